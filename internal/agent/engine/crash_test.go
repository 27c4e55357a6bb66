package engine_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/edge/flow"
)

const (
	crashDir = "SLUICE_TEST_CRASH_DIR" // set in the child
	crashOut = "SLUICE_TEST_CRASH_OUT"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		child(dir, os.Getenv(crashOut))
		return
	}
	os.Exit(m.Run())
}

// child runs requests → text → bins → files until it is killed.
func child(dir, out string) {
	e, err := engine.Open(context.Background(), engine.Config{Dir: filepath.Join(dir, "repository")},
		engine.Deps{Definitions: component.Catalogue(), Log: slog.New(slog.NewJSONHandler(os.Stdout, nil)), Clock: clock.System{}})
	if err == nil {
		in := "org.apache.nifi.processors.standard."
		http := processor("http", in+"ListenHTTP", map[string]string{"Listening Port": "0", "Local Network Address": "127.0.0.1"})
		http.Yield = "1 sec"
		text := processor("text", in+"ReplaceText", map[string]string{"Replacement Strategy": "Append", "Replacement Value": "\n", "Evaluation Mode": "Entire text"})
		text.Tasks = 2
		bins := processor("bins", in+"MergeContent", map[string]string{"Maximum Number of Entries": "7", "Minimum Number of Entries": "3", "Max Bin Age": "50 ms"})
		bins.AutoTerminated = []string{"original", "failure"}
		name := processor("name", "org.apache.nifi.processors.attributes.UpdateAttribute", map[string]string{"filename": "${UUID()}"})
		file := processor("file", in+"PutFile", map[string]string{"Directory": out})
		file.AutoTerminated = []string{"success", "failure"}
		err = e.Apply(context.Background(), &flow.Flow{Root: &flow.Group{
			Processors: []*flow.Processor{http, text, bins, name, file},
			Connections: []*flow.Connection{
				connection("1", "http", "text", "success"), connection("2", "text", "bins", "success", "failure"),
				connection("3", "bins", "name", "merged"), connection("4", "name", "file", "success"),
			},
		}})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	select {}
}

// spawn starts a child and returns its address.
func spawn(t *testing.T, dir, out string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir, crashOut+"="+out)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "listening" {
			go func() { _, _ = io.Copy(io.Discard, pipe) }()
			return cmd, "http://" + line.Address + "/contentListener"
		}
		t.Log(lines.Text())
	}
	t.Fatal("the child does not listen")
	return nil, ""
}

// delivered counts the messages in the files.
func delivered(t *testing.T, out string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	names, err := filepath.Glob(filepath.Join(out, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasPrefix(filepath.Base(name), ".") {
			continue // it is being written
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			seen[strings.TrimSpace(line)]++
		}
	}
	return seen
}

func TestKillNineLosesNothingThatWasAnswered(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	var mu sync.Mutex
	answered := map[string]bool{}
	client := &http.Client{Timeout: 5 * time.Second}
	for life := range 5 {
		cmd, url := spawn(t, dir, out)
		var senders sync.WaitGroup
		for s := range 8 {
			senders.Go(func() {
				for i := 0; ; i++ {
					id := fmt.Sprintf("%d-%d-%d", life, s, i)
					resp, err := client.Post(url, "text/plain", strings.NewReader(id))
					if err != nil {
						return // it was killed
					}
					_ = resp.Body.Close()
					if resp.StatusCode == http.StatusOK {
						mu.Lock()
						answered[id] = true
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(time.Duration(100+rand.IntN(300)) * time.Millisecond)
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		senders.Wait()
	}
	spawn(t, dir, out) // the last one delivers what waits
	var missing int
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		seen := delivered(t, out)
		missing = 0
		for id := range answered {
			if seen[id] == 0 {
				missing++
			}
		}
		if missing == 0 {
			double := 0
			for _, n := range seen {
				double += n - 1
			}
			t.Logf("%d answered, all delivered, %d of them again", len(answered), double)
			if len(answered) < 50 {
				t.Error("too few for a test")
			}
			return
		}
	}
	t.Errorf("%d of %d that were answered are lost", missing, len(answered))
}

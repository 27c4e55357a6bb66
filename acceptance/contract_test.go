package acceptance_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// refuse runs the program, which must say one line with all words and fail.
func refuse(t *testing.T, env, args []string, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	cmd := plat.Command(env, args...)
	var out, log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-ctx.Done():
		_ = cmd.Process.Kill() // it may end in this moment
		<-ended
		t.Fatalf("sluice %s did not end\n%s", strings.Join(args, " "), log.String())
	}
	if cmd.ProcessState.ExitCode() == 0 {
		t.Fatalf("sluice %s: exit status 0\n%s", strings.Join(args, " "), log.String())
	}
	text := log.String()
	if strings.Count(strings.TrimSpace(text), "\n") != 0 {
		t.Errorf("more than one line:\n%s", text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not speak of %q", text, w)
		}
	}
	if strings.Contains(text, "sesame-secret") {
		t.Errorf("a password is shown: %s", text)
	}
}

func serve(t *testing.T, dir string) []string {
	return []string{"serve", "--data", dir, "--port-base", strconv.Itoa(plat.FreePorts(t))}
}

func TestWhatItRefuses(t *testing.T) {
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("unknown key in the file", func(t *testing.T) {
		refuse(t, nil, append(serve(t, t.TempDir()), "--config", write("dta: /x\n")), "dta")
	})
	t.Run("unknown nested key", func(t *testing.T) {
		refuse(t, nil, append(serve(t, t.TempDir()), "--config", write("disk:\n  reserve: 1\n")), "reserve")
	})
	t.Run("unknown variable", func(t *testing.T) {
		refuse(t, []string{"SLUICE_DTA=/x"}, serve(t, t.TempDir()), "SLUICE_DTA")
	})
	t.Run("no such file", func(t *testing.T) {
		refuse(t, nil, append(serve(t, t.TempDir()), "--config", "/nonexistent.yaml"), "/nonexistent.yaml")
	})
	t.Run("a negative reserve", func(t *testing.T) {
		refuse(t, []string{"SLUICE_DISK_RESERVE_MB=-1"}, serve(t, t.TempDir()), "disk.reserve_mb")
	})
	t.Run("an open Admin API", func(t *testing.T) {
		refuse(t, nil, append(serve(t, t.TempDir()), "--host", "0.0.0.0"), "kong.admin_token")
	})
	t.Run("a port in use", func(t *testing.T) {
		base := plat.FreePorts(t)
		l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(base+3))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		dir := filepath.Join(t.TempDir(), "data")
		refuse(t, nil, []string{"serve", "--data", dir, "--port-base", strconv.Itoa(base)}, strconv.Itoa(base+3), "aws", "in use")
		if _, err := os.Stat(dir); err == nil {
			t.Error("a data directory was made all the same")
		}
	})
	t.Run("a directory in use", func(t *testing.T) {
		n := plat.Start(t, plat.Options{})
		refuse(t, nil, serve(t, n.Dir), "in use by another node")
	})
	t.Run("a newer format", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "root.key"), []byte(`{"format":99,"kdf":"none","key":""}`), 0o600); err != nil {
			t.Fatal(err)
		}
		refuse(t, nil, serve(t, dir), "99", "newer")
	})
	t.Run("a lost root key", func(t *testing.T) {
		n := plat.Start(t, plat.Options{})
		n.Stop()
		if err := os.Remove(filepath.Join(n.Dir, "root.key")); err != nil {
			t.Fatal(err)
		}
		refuse(t, nil, serve(t, n.Dir), "root.key")
	})
	t.Run("another root key", func(t *testing.T) {
		a, b := plat.Start(t, plat.Options{}), plat.Start(t, plat.Options{})
		a.Stop()
		b.Stop()
		raw, err := os.ReadFile(filepath.Join(a.Dir, "root.key"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(b.Dir, "root.key"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		refuse(t, nil, serve(t, b.Dir), "root key")
	})
	t.Run("a wrong passphrase", func(t *testing.T) {
		right := "SLUICE_ROOT_PASSPHRASE_FILE=" + write("open sesame\n")
		n := plat.Start(t, plat.Options{Env: []string{right}})
		n.Stop()
		refuse(t, []string{"SLUICE_ROOT_PASSPHRASE_FILE=" + write("sesame-secret\n")}, serve(t, n.Dir), "passphrase")
		refuse(t, nil, serve(t, n.Dir), "passphrase")
		n.Launch()
	})
	t.Run("a passphrase that seals nothing", func(t *testing.T) {
		n := plat.Start(t, plat.Options{})
		n.Stop()
		refuse(t, []string{"SLUICE_ROOT_PASSPHRASE_FILE=" + write("open sesame\n")}, serve(t, n.Dir), "passphrase")
	})
	t.Run("no control store", func(t *testing.T) {
		for _, url := range []string{"postgres://joe:sesame-secret@127.0.0.1:1/x", "mysql://joe:sesame-secret@127.0.0.1:1/x",
			"postgres://joe:sesame-secret@127.0.0.1:port/x", "postgres://joe:sesame-secret@%zz/x", "oracle://joe:sesame-secret@h/x", "mysql://joe:sesame-secret@h"} {
			refuse(t, []string{"SLUICE_STORE_URL=" + url}, serve(t, t.TempDir()), "control store")
		}
	})
}

func TestStartsInAMountPoint(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "root.key.123"), []byte("{"), 0o600); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	plat.Start(t, plat.Options{Dir: dir})
}

func TestStartsInAShellThatHasTheEnvOfAnother(t *testing.T) {
	plat.Start(t, plat.Options{Env: []string{"SLUICE_PROXY=http://127.0.0.1:1", "SLUICE_KONG_ADMIN=http://127.0.0.1:2", "SLUICE_STATUS=http://127.0.0.1:3"}})
}

func TestReadyFastAndSmall(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	first := n.Took
	n.Stop()
	best := time.Hour
	for range 3 {
		n.Launch()
		best = min(best, n.Took)
		n.Stop()
	}
	n.Launch()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	if err != nil {
		t.Skip("no /proc here")
	}
	rss := 0
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmRSS:" {
			rss, _ = strconv.Atoi(f[1]) // zero is below too, and shown
		}
	}
	t.Logf("ready after %s the first time, %s on an existing directory; %d MiB resident", first, best, rss>>10)
	if best > 500*time.Millisecond {
		t.Errorf("ready after %s, want less than 500 ms", best)
	}
	if rss > 150<<10 || rss == 0 {
		t.Errorf("%d KiB resident, want less than 150 MiB", rss)
	}
}

// slow gives its bytes one by one, and tells when the first was taken.
type slow struct {
	left  int
	begun chan struct{}
	gate  chan struct{}
}

func (s *slow) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if s.begun != nil {
		close(s.begun)
		s.begun = nil
		p[0] = 'x'
		s.left--
		return 1, nil
	}
	<-s.gate
	n := min(len(p), s.left)
	for i := range n {
		p[i] = 'x'
	}
	s.left -= n
	return n, nil
}

func TestDrainsWhatIsUnderWay(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	c := n.AWS(n.Root)
	bucket, key := "drained", "slow"
	if _, err := c.S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	body := &slow{left: 300_000, begun: make(chan struct{}), gate: make(chan struct{})}
	begun := body.begun
	answered := make(chan error, 1)
	go func() {
		_, err := c.S3.PutObject(t.Context(), &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: awswire.NewBody(body, 300_000)})
		answered <- err
	}()
	<-begun
	time.Sleep(200 * time.Millisecond) // there is no telling from outside that the node has read the head
	n.Terminate()
	plat.Until(t, "no new connections", func() error {
		conn, err := net.Dial("tcp", strings.TrimPrefix(n.Endpoints.AWS, "http://"))
		if err != nil {
			return nil
		}
		_ = conn.Close() // only tried
		return fmt.Errorf("%s still takes connections", n.Endpoints.AWS)
	})
	close(body.gate)
	if err := <-answered; err != nil {
		t.Errorf("the request under way: %v", err)
	}
	if code := n.Wait(); code != 0 {
		t.Fatalf("exit status %d, want 0", code)
	}
	n.Launch()
	o, err := n.AWS(n.Root).S3.HeadObject(t.Context(), &s3.HeadObjectInput{Bucket: &bucket, Key: &key})
	if err != nil || *o.ContentLength != 300_000 {
		t.Fatalf("the object after the restart: %v %v", o, err)
	}
}

func TestEnvWorksInSh(t *testing.T) {
	psql := plat.Need(t, "psql")
	n := plat.Start(t, plat.Options{})
	fakeAWS := t.TempDir()
	if err := os.WriteFile(filepath.Join(fakeAWS, "aws"), []byte("#!/bin/sh\necho \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("/bin/sh", "-euc", `eval "$("$0" env --data "$1")"; "$2" -Atc 'select 40+2'; echo "$AWS_ENDPOINT_URL"; PATH="$3"; aws s3 ls`, plat.Program(), n.Dir, psql, fakeAWS)
	out, err := sh.CombinedOutput()
	if want := "42\n" + n.Endpoints.AWS + "\n--endpoint-url " + n.Endpoints.AWS + " s3 ls\n"; err != nil || string(out) != want {
		t.Fatalf("%v, %q, want %q", err, out, want)
	}
}

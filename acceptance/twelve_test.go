package acceptance_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/handout"
)

// twelve is the cluster of the example's recipe.
type twelve struct {
	t   *testing.T
	dir string
	env []string
}

func (w *twelve) recipe(action string) (string, error) {
	cmd := exec.Command("../examples/twelve/cluster.sh", action, w.dir)
	cmd.Env = w.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// maprcli runs a command at a node, and returns what it prints and its status.
func (w *twelve) maprcli(node string, args ...string) (string, int) {
	w.t.Helper()
	out, err := plat.Command([]string{"SLUICE_DATA=" + filepath.Join(w.dir, node)}, append([]string{"maprcli"}, args...)...).Output()
	var ended *exec.ExitError
	if err != nil && !errors.As(err, &ended) {
		w.t.Fatal(err)
	}
	if ended != nil {
		return string(out), ended.ExitCode()
	}
	return string(out), 0
}

// kill ends a node's process at once.
func (w *twelve) kill(node string) {
	w.t.Helper()
	raw, err := os.ReadFile(filepath.Join(w.dir, node+".pid"))
	if err != nil {
		w.t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
}

// The recipe brings twelve nodes up, MapR's commands list them, any of them serves what one of
// them keeps, and two of the three control nodes may fall.
func TestTwelveNodesByTheRecipe(t *testing.T) {
	plat.Need(t, "ip")
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	net := plat.FreeNetwork(t)
	w := &twelve{t: t, dir: filepath.Join(os.TempDir(), fmt.Sprintf("sluice-twelve-%d", os.Getpid())), // which the database's user can reach
		env: append(os.Environ(), "SLUICE="+plat.Program(), "NET="+net, fmt.Sprintf("NAME=t%05d", rand.IntN(100_000)))}
	t.Cleanup(func() {
		if out, err := w.recipe("down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Error(err)
		}
	})
	if out, err := w.recipe("up"); err != nil || strings.Count(out, "healthy") != 12 {
		t.Fatalf("up: %v\n%s", err, out)
	}

	out, code := w.maprcli("edge3", "node", "list", "-columns", "hostname,ip")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != 0 || len(lines) != 13 || !slices.Equal(strings.Fields(lines[0]), []string{"hostname", "ip"}) || !slices.Equal(strings.Fields(lines[1]), []string{"control1", net + ".1"}) {
		t.Errorf("%d\n%s", code, out)
	}
	out, code = w.maprcli("control2", "node", "list", "-columns", "ip,svc,health")
	if code != 0 || strings.Count(out, "streams") != 1 || !strings.Contains(out, net+".4 ") {
		t.Errorf("%d\n%s", code, out)
	}
	out, code = w.maprcli("gate1", "service", "list", "-node", "data1", "-json")
	var services struct {
		Status string
		Total  int
		Data   []struct {
			Name  string
			State int
		}
	}
	if err := json.Unmarshal([]byte(out), &services); err != nil || code != 0 || services.Status != "OK" || services.Total != len(services.Data) {
		t.Errorf("%d, %v\n%s", code, err, out)
	}
	for _, s := range services.Data {
		if s.State != 2 {
			t.Errorf("%s is in state %d on the data node", s.Name, s.State)
		}
	}
	for _, bad := range [][]string{{"node", "list", "-columns", "weight"}, {"service", "list", "-node", "nobody"}, {"volume", "list"}} {
		if out, code := w.maprcli("gate1", bad...); code == 0 || !strings.HasPrefix(out, "ERROR (") {
			t.Errorf("maprcli %s: %d\n%s", strings.Join(bad, " "), code, out)
		}
	}

	// A bucket made at one gate is seen at another, while the data node has it.
	aws := func(node string, args ...string) (string, error) {
		at, _, err := handout.Read(filepath.Join(w.dir, node))
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(plat.Need(t, "aws"), append([]string{"--endpoint-url", at.AWS, "--region", "us-east-1"}, args...)...)
		cmd.Env = append(os.Environ(), "AWS_SHARED_CREDENTIALS_FILE="+filepath.Join(w.dir, node, "credentials"))
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := aws("gate5", "s3", "mb", "s3://lake"); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	w.kill("control1")
	w.kill("control2")
	if out, err := aws("gate1", "s3", "ls"); err != nil || !strings.Contains(out, "lake") {
		t.Errorf("%v\n%s", err, out)
	}
	plat.Until(t, "the two are missed", func() error {
		if out, code := w.maprcli("control3", "node", "list", "-columns", "hostname,health"); code != 0 || strings.Count(out, " 4\n") != 2 || strings.Count(out, " 0\n") != 10 {
			return fmt.Errorf("%d\n%s", code, out)
		}
		return nil
	})
}

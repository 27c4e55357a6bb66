package plat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a node.
const patience = 60 * time.Second

// Endpoints are those of endpoints.json.
type Endpoints struct {
	Proxy     string `json:"proxy"`
	ProxyTLS  string `json:"proxy_tls"`
	KongAdmin string `json:"kong_admin"`
	AWS       string `json:"aws"`
	SQL       string `json:"sql"`
	Console   string `json:"console"`
	Status    string `json:"status"`
}

// Key is what somebody signs in with.
type Key struct{ ID, Secret string }

// Options say what is special about a node.
type Options struct {
	Dir  string   // data directory; a new one if empty
	Env  []string // more environment, SLUICE_…=…
	Base int      // first of ten ports; free ones if zero
	// Host is where the node runs, on its ordinary ports; the test's own machine if nil. Kong's
	// Admin API is then open to others, and needs a token or kong.admin_auth.
	Host *Host
	// Program is the program that it runs; the one under test if empty.
	Program string
	// Config is the configuration file, which says addresses and ports if it is set.
	Config string
	// Args are more arguments of the first launch alone.
	Args []string
}

// Node is a running node.
type Node struct {
	Dir       string
	Endpoints Endpoints
	Root      Key
	Took      time.Duration // from start to ready, the last time

	t    testing.TB
	opt  Options
	base int
	log  *Log
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	exit error
}

// Start starts a node and waits until it is ready. It is killed when the test ends.
func Start(t testing.TB, opt Options) *Node {
	t.Helper()
	n := &Node{t: t, opt: opt, Dir: opt.Dir, log: new(Log)}
	if n.Dir == "" {
		n.Dir = t.TempDir()
	}
	if n.base = opt.Base; n.base == 0 && opt.Host == nil && opt.Config == "" {
		n.base = FreePorts(t)
	}
	t.Cleanup(func() {
		n.Kill()
		if t.Failed() {
			t.Logf("the end of the node's log:\n%s", tail(n.log.String(), 6000))
		}
	})
	n.Launch()
	return n
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// FreePorts finds ten ports in a row that nobody listens on.
func FreePorts(t testing.TB) int {
	t.Helper()
search:
	for range 200 {
		base := 20_000 + 10*rand.IntN(1200) // below the range that outgoing connections use
		for port := base; port < base+10; port++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				continue search
			}
			_ = l.Close() // only asked
		}
		return base
	}
	t.Fatal("no ten free ports in a row")
	return 0
}

// Command is a command of the program, with an environment of its own.
func Command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "SLUICE_") && !strings.HasPrefix(pair, "AWS_") && !strings.HasPrefix(pair, "PG") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// Launch starts a node that was stopped or killed.
func (n *Node) Launch() {
	n.t.Helper()
	if err := n.TryLaunch(); err != nil {
		n.t.Fatalf("%v\n%s", err, tail(n.log.String(), 4000))
	}
}

// Upgrade has the node run the program under test from its next launch on.
func (n *Node) Upgrade() { n.opt.Program = "" }

// TryLaunch is Launch for a node that may refuse to start.
func (n *Node) TryLaunch() error {
	began := time.Now()
	args := []string{"serve", "--data", n.Dir}
	switch {
	case n.opt.Config != "":
		args = append(args, "--config", n.opt.Config)
	case n.opt.Host != nil:
		args = append(args, "--host", n.opt.Host.Address)
	default:
		args = append(args, "--port-base", strconv.Itoa(n.base))
	}
	args = append(args, n.opt.Args...)
	n.opt.Args = nil
	cmd := Command(n.opt.Env, args...)
	if n.opt.Program != "" {
		cmd.Path, cmd.Args[0] = n.opt.Program, n.opt.Program
	}
	if n.opt.Host != nil {
		cmd = n.opt.Host.Run(cmd)
	}
	// A parent that dies takes its nodes along.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = n.log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	n.cmd, n.done = cmd, make(chan struct{})
	ready := make(chan struct{})
	go func(done chan struct{}) {
		var seen bytes.Buffer
		buf := make([]byte, 1024)
		told := false
		for {
			k, err := out.Read(buf)
			if !told {
				seen.Write(buf[:k])
				if strings.Contains(seen.String(), "sluice is ready\n") {
					told = true
					close(ready)
				}
			}
			if err != nil {
				break
			}
		}
		n.exit = cmd.Wait()
		close(done)
	}(n.done)
	select {
	case <-ready:
	case <-n.done:
		return fmt.Errorf("the node ended: %w", errors.Join(errors.New(strings.TrimSpace(tail(n.log.String(), 2000))), n.exit))
	case <-time.After(patience):
		n.Kill()
		return errors.New("the node did not become ready")
	}
	n.Took = time.Since(began)
	return n.readHandouts()
}

func (n *Node) readHandouts() error {
	raw, err := os.ReadFile(filepath.Join(n.Dir, "endpoints.json"))
	if err == nil {
		err = json.Unmarshal(raw, &n.Endpoints)
	}
	if err != nil {
		return err
	}
	if raw, err = os.ReadFile(filepath.Join(n.Dir, "credentials")); err != nil {
		return err
	}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " = ")
		switch name {
		case "aws_access_key_id":
			n.Root.ID = value
		case "aws_secret_access_key":
			n.Root.Secret = value
		}
	}
	return nil
}

// PID is the process id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

// Kill ends the node as a power cut would.
func (n *Node) Kill() {
	if n.cmd == nil {
		return
	}
	_ = n.cmd.Process.Kill() // it may have ended by itself
	<-n.done
}

// Pause stops the node's process for a while, as a machine does that is busy with others.
func (n *Node) Pause(during time.Duration) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	time.Sleep(during)
	if err := n.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		n.t.Fatal(err)
	}
}

// Terminate asks the node to stop, and does not wait.
func (n *Node) Terminate() {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		n.t.Fatal(err)
	}
}

// Wait waits for the process to end and returns its exit status.
func (n *Node) Wait() int {
	n.t.Helper()
	select {
	case <-n.done:
	case <-time.After(patience):
		n.t.Fatal("the node did not end")
	}
	return n.cmd.ProcessState.ExitCode()
}

// Stop stops the node in good order.
func (n *Node) Stop() {
	n.t.Helper()
	n.Terminate()
	if code := n.Wait(); code != 0 {
		n.t.Fatalf("SIGTERM: exit status %d, want 0\n%s", code, tail(n.log.String(), 4000))
	}
}

// Running reports whether the process is there.
func (n *Node) Running() bool {
	select {
	case <-n.done:
		return false
	default:
		return true
	}
}

// LogText is what the node has logged.
func (n *Node) LogText() string { return n.log.String() }

// Status asks the status port.
func (n *Node) Status(path string) (int, string) {
	n.t.Helper()
	res, err := http.Get(n.Endpoints.Status + path)
	if err != nil {
		n.t.Fatal(err)
	}
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // read already
	if err != nil {
		n.t.Fatal(err)
	}
	return res.StatusCode, string(raw)
}

// Log gathers the output of processes. The newest mebibyte is kept.
type Log struct {
	mu  sync.Mutex
	buf []byte
}

// Write adds to the log.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, p...)
	if over := len(l.buf) - 1<<20; over > 0 {
		l.buf = append(l.buf[:0], l.buf[over:]...)
	}
	return len(p), nil
}

// String returns the log.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.buf)
}

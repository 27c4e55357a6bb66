package rig

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/base/handout"
)

// Config says how a node is started.
type Config struct {
	Program string
	Data    string   // its data directory; its log lies beside it
	Base    int      // the first of its ten ports; free ones if 0
	Env     []string // more environment
}

// Node is a running program.
type Node struct {
	URLs handout.Endpoints
	Key  handout.Key
	Took time.Duration // from start to ready

	cfg   Config
	cmd   *exec.Cmd
	ended chan error
}

// Start starts a node and waits until it is ready.
func Start(ctx context.Context, c Config) (*Node, error) {
	if c.Base == 0 {
		bases, err := FreePorts(1)
		if err != nil {
			return nil, err
		}
		c.Base = bases[0]
	}
	program, err := filepath.Abs(c.Program)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: c, ended: make(chan error, 1), cmd: exec.CommandContext(ctx, program, "serve", "--data", c.Data, "--port-base", strconv.Itoa(c.Base))}
	n.cmd.Env = append(os.Environ(), c.Env...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(c.Data+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the child has its own
	n.cmd.Stderr = log
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "sluice is ready\n" {
		end, _ := os.ReadFile(log.Name()) // to be shown only
		return nil, fmt.Errorf("the node did not start: %q, %w, %s", line, err, end[max(0, len(end)-2000):])
	}
	n.Took = time.Since(began)
	go func() { n.ended <- n.cmd.Wait() }()
	n.URLs, n.Key, err = handout.Read(c.Data)
	return n, err
}

// Again starts a node again that has ended.
func (n *Node) Again(ctx context.Context) (*Node, error) { return Start(ctx, n.cfg) }

// FreePorts finds runs of ten ports that nobody listens on, and returns the first of each.
func FreePorts(runs int) (bases []int, err error) {
search:
	for base := 23000 + os.Getpid()%1000*10; base < 60000; base += 10 {
		for port := base; port < base+10; port++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				continue search
			}
			_ = l.Close() // only asked
		}
		if bases = append(bases, base); len(bases) == runs {
			return bases, nil
		}
	}
	return nil, errors.New("no ten free ports in a row")
}

// Stop ends the node by a signal.
func (n *Node) Stop(sig syscall.Signal) error {
	if err := n.cmd.Process.Signal(sig); err != nil {
		return err
	}
	err := <-n.ended
	if sig == syscall.SIGKILL {
		return nil // it ended as asked
	}
	return err
}

// CPU is what the node itself has used, without its SQL workers.
func (n *Node) CPU() (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond, err // USER_HZ is 100 on Linux
}

// RSS is the node's resident memory in MB.
func (n *Node) RSS() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb * 1024 / 1e6, err
		}
	}
	return 0, errors.New("no VmRSS")
}

// Admin sends JSON to the Kong Admin API.
func (n *Node) Admin(method, path string, body any) error {
	return n.call(method, n.URLs.KongAdmin+path, body, nil)
}

// Call asks the console's port as root, with JSON if in is not nil, and decodes the answer
// into out if that is not nil.
func (n *Node) Call(method, path string, in, out any) error {
	return n.call(method, n.URLs.Console+path, in, out)
}

func (n *Node) call(method, url string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, url, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasPrefix(url, n.URLs.Console) {
		req.SetBasicAuth(n.Key.ID, n.Key.Secret)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // read already
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %d %.500s", method, url, res.StatusCode, answer)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(answer, out)
}

// PID is the process id.
func (n *Node) PID() int { return n.cmd.Process.Pid }

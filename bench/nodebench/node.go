package main

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

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/handout"
)

// node is a running program.
type node struct {
	cmd   *exec.Cmd
	base  int
	data  string
	took  time.Duration // to ready
	urls  handout.Endpoints
	aws   *awswire.Client
	ended chan error
}

func startNode(ctx context.Context, o options, data string) (*node, error) {
	base, err := freePorts()
	if err != nil {
		return nil, err
	}
	n := &node{base: base, data: data, ended: make(chan error, 1)}
	program, err := filepath.Abs(o.program)
	if err != nil {
		return nil, err
	}
	n.cmd = exec.CommandContext(ctx, program, "serve", "--data", data, "--port-base", strconv.Itoa(base))
	log, err := os.Create(filepath.Join(o.dir, "node.log"))
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
		return nil, fmt.Errorf("the node did not start: %q, %w (see %s)", line, err, log.Name())
	}
	n.took = time.Since(began)
	go func() { n.ended <- n.cmd.Wait() }()
	urls, key, err := handout.Read(data)
	if err != nil {
		return nil, err
	}
	n.urls = urls
	n.aws = &awswire.Client{Endpoint: urls.AWS, Region: key.Region, AccessKeyID: key.ID, Secret: key.Secret}
	return n, nil
}

func freePorts() (int, error) {
search:
	for base := 23000 + os.Getpid()%1000*10; base < 60000; base += 10 {
		for port := base; port < base+10; port++ {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				continue search
			}
			_ = l.Close() // only asked
		}
		return base, nil
	}
	return 0, errors.New("no ten free ports in a row")
}

func (n *node) stop(sig syscall.Signal) error {
	if err := n.cmd.Process.Signal(sig); err != nil {
		return err
	}
	err := <-n.ended
	if sig == syscall.SIGKILL {
		return nil // it ended as asked
	}
	return err
}

// cpu is what the node itself has used, without its SQL workers.
func (n *node) cpu() (time.Duration, error) {
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

// rss is the node's memory in MB.
func (n *node) rss() (float64, error) {
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

// admin sends JSON to the Kong Admin API.
func (n *node) admin(method, path string, body any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequest(method, n.urls.KongAdmin+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(res.Body)
	_ = res.Body.Close() // read already
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode, answer)
	}
	return err
}

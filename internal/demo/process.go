package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/base/handout"
)

// process is a node that runs as a program of its own.
type process struct {
	program, data string
	log           string // path of what the node logs
	base          int
	endpoints     handout.Endpoints
	key           handout.Key
	took          time.Duration

	mu  sync.Mutex
	cmd *exec.Cmd
}

// start starts a node and waits until it is ready.
func start(ctx context.Context, program, data string) (*process, error) {
	base, err := freePorts()
	if err != nil {
		return nil, err
	}
	p := &process{program: program, data: data, base: base}
	if err := p.launch(ctx); err != nil {
		return nil, err
	}
	p.endpoints, p.key, err = handout.Read(data)
	return p, err
}

// freePorts finds ten ports in a row that nobody listens on.
func freePorts() (int, error) {
	const n = 10
search:
	for base := 20000 + os.Getpid()%2000*20; base < 62000; base += n {
		for port := base; port < base+n; port++ {
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

// launch runs the program until it says that it is ready.
func (p *process) launch(ctx context.Context) error {
	began := time.Now()
	p.log = filepath.Join(os.TempDir(), fmt.Sprintf("sluice-demo-%d.log", p.base))
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the child has its own
	cmd := exec.Command(p.program, "serve", "--data", p.data, "--port-base", strconv.Itoa(p.base))
	ready := &readyLine{seen: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = ready, log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the node: %w", err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ready.ended = ended
	select {
	case <-ready.seen:
		p.took = time.Since(began)
		return nil
	case err := <-ended:
		return fmt.Errorf("the node did not start (its log is %s): %w", log.Name(), err)
	case <-time.After(defaultWait):
		return errors.Join(errors.New("the node did not become ready"), cmd.Process.Kill())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), cmd.Process.Kill())
	}
}

// kill ends the node as a power cut would.
func (p *process) kill() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	<-p.cmd.Stdout.(*readyLine).ended
	return nil
}

// stop ends the node in good order.
func (p *process) stop() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return <-p.cmd.Stdout.(*readyLine).ended
}

// readyLine waits for the line that says the node is ready.
type readyLine struct {
	buf   bytes.Buffer
	once  sync.Once
	seen  chan struct{}
	ended chan error
}

func (r *readyLine) Write(b []byte) (int, error) {
	if r.buf.Len() < 4096 {
		r.buf.Write(b)
	}
	if strings.Contains(r.buf.String(), "sluice is ready\n") {
		r.once.Do(func() { close(r.seen) })
	}
	return len(b), nil
}

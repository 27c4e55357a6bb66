package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// pool starts worker processes, keeps some warm and bounds how many work at a time.
//
// A process that has run a query serves the same identity for the rest of its life, so
// that even an exploited engine holds nothing of another's.
type pool struct {
	cfg Config
	log *slog.Logger

	slots   chan struct{} // one per statement that may run
	waiting atomic.Int64

	mu        sync.Mutex
	idle      []*process // oldest first
	returning []*process // being reset
	closed    bool

	spawns  chan spawn
	spawner sync.Once
	plain   atomic.Bool // namespaces are not permitted here
	starts  atomic.Int64
}

type spawn struct {
	cmd *exec.Cmd
	out chan error
}

func newPool(cfg Config, log *slog.Logger) *pool {
	return &pool{
		cfg: cfg, log: log,
		slots:  make(chan struct{}, cfg.Concurrency),
		spawns: make(chan spawn),
	}
}

// process is one worker.
type process struct {
	cmd    *exec.Cmd
	conn   *wire.Conn
	owner  string // ARN of the identity it served; empty while fresh
	stderr *tail
	exited chan struct{} // closed when it is gone
	back   chan struct{} // closed when its reset has ended
	since  time.Time     // of its last use
	timer  *time.Timer   // ends it when idle too long
}

// acquire waits for a slot and returns a ready worker for owner.
func (p *pool) acquire(ctx context.Context, owner string) (*process, error) {
	if p.waiting.Add(1) > int64(p.cfg.Queue) {
		p.waiting.Add(-1)
		return nil, TooManyQueries.new("%d statements are waiting already", p.cfg.Queue)
	}
	select {
	case p.slots <- struct{}{}:
		p.waiting.Add(-1)
	case <-ctx.Done():
		p.waiting.Add(-1)
		return nil, canceled(ctx)
	}
	w, err := p.take(owner)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return w, nil
}

func (p *pool) take(owner string) (*process, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, ShuttingDown.new("the warehouse is shutting down")
	}
	i := slices.IndexFunc(p.idle, func(w *process) bool { return w.owner == owner })
	if i < 0 {
		i = slices.IndexFunc(p.idle, func(w *process) bool { return w.owner == "" })
	}
	if i >= 0 {
		w := p.idle[i]
		p.idle = slices.Delete(p.idle, i, i+1)
		p.mu.Unlock()
		w.timer.Stop()
		if w.gone() {
			return p.take(owner)
		}
		w.owner = owner
		return w, nil
	}
	// One of this owner that is being reset will be there sooner than a new one.
	i = slices.IndexFunc(p.returning, func(w *process) bool { return w.owner == owner })
	if i >= 0 {
		back := p.returning[i].back
		p.mu.Unlock()
		<-back
		return p.take(owner)
	}
	p.mu.Unlock()
	w, err := p.start()
	if err != nil {
		return nil, err
	}
	w.owner = owner
	return w, nil
}

// release gives a worker back after a statement. One that is healthy is reset and kept
// warm; the caller does not wait for it.
func (p *pool) release(w *process, healthy bool) {
	if !healthy {
		w.kill()
		<-p.slots
		return
	}
	back := make(chan struct{})
	p.mu.Lock()
	w.back = back
	p.returning = append(p.returning, w)
	p.mu.Unlock()
	go func() {
		defer func() { <-p.slots }()
		err := w.reset()
		p.mu.Lock()
		i := slices.Index(p.returning, w)
		p.returning = slices.Delete(p.returning, i, i+1)
		p.mu.Unlock()
		if err != nil {
			w.kill()
		} else {
			p.keep(w)
		}
		close(back)
	}()
}

// keep puts a ready worker among the idle ones and ends the oldest when there are too many.
func (p *pool) keep(w *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.cfg.Idle == 0 {
		w.kill()
		return
	}
	w.timer = time.AfterFunc(p.cfg.IdleTime, func() { p.retire(w) })
	p.idle = append(p.idle, w)
	if len(p.idle) > p.cfg.Idle {
		p.idle[0].timer.Stop()
		p.idle[0].kill()
		p.idle = slices.Delete(p.idle, 0, 1)
	}
}

func (p *pool) retire(w *process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.idle, w); i >= 0 {
		p.idle = slices.Delete(p.idle, i, i+1)
		w.timer.Stop()
		w.kill()
	}
}

// warm starts one fresh worker in the background where none is idle, so that the next
// statement need not wait for it. Called when a session begins.
func (p *pool) warm() {
	p.mu.Lock()
	enough := p.closed || len(p.idle) > 0 || p.cfg.Idle == 0
	p.mu.Unlock()
	if enough {
		return
	}
	go func() {
		if w, err := p.start(); err == nil {
			p.keep(w)
		} else {
			p.log.Warn("a query worker did not start", "error", err)
		}
	}()
}

// close ends all idle workers; busy ones end with their statements.
func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	for _, w := range p.idle {
		w.timer.Stop()
		w.kill()
	}
	p.idle = nil
}

// start runs a new worker and waits until it is ready.
func (p *pool) start() (*process, error) {
	w, err := p.fork(!p.plain.Load())
	if err != nil && !p.plain.Load() && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC)) {
		if w, err = p.fork(false); err == nil && p.plain.CompareAndSwap(false, true) {
			p.log.Warn("query workers run without namespaces of their own: the machine does not permit them")
		}
	}
	if err != nil {
		return nil, WorkerLost.wrap(err, "a query worker could not be started")
	}
	p.starts.Add(1)
	if err := w.ready(p.cfg.StartTime); err != nil {
		w.kill()
		return nil, WorkerLost.wrap(fmt.Errorf("%w (%s)", err, w.stderr), "a query worker did not become ready")
	}
	return w, nil
}

// fork starts the process. With isolate it gets its own network, process and IPC
// namespaces, and a user namespace where the node is not root.
func (p *pool) fork(isolate bool) (*process, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(fds[1]), "worker")
	defer theirs.Close()
	ours := os.NewFile(uintptr(fds[0]), "node")
	conn, err := net.FileConn(ours)
	ours.Close()
	if err != nil {
		return nil, err
	}
	limits := p.cfg.limits()
	attr := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if isolate {
		attr.Cloneflags = syscall.CLONE_NEWNET | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC
		if os.Getuid() != 0 {
			attr.Cloneflags |= syscall.CLONE_NEWUSER
			attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
			attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
			limits.UID = 0
		}
	} else if os.Getuid() == 0 {
		// Without a process namespace, workers under one user could reach each other.
		limits.UID = 0
	}
	cmd := exec.Command(p.cfg.Worker[0], append(slices.Clone(p.cfg.Worker[1:]), limits.Argument())...)
	cmd.Env = []string{fmt.Sprintf("GOMAXPROCS=%d", p.cfg.Threads+1)}
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = attr
	w := &process{cmd: cmd, conn: wire.NewConn(conn.(*net.UnixConn)), stderr: &tail{}, exited: make(chan struct{})}
	cmd.Stderr = w.stderr
	if err := p.onSpawner(cmd); err != nil {
		conn.Close()
		return nil, err
	}
	go func() {
		_ = cmd.Wait()
		close(w.exited)
		conn.Close()
		p.retire(w)
	}()
	return w, nil
}

// onSpawner starts cmd on one thread that lives as long as the pool: the kernel ends a
// child with Pdeathsig when the thread that made it ends, and Go's threads come and go.
func (p *pool) onSpawner(cmd *exec.Cmd) error {
	p.spawner.Do(func() {
		go func() {
			runtime.LockOSThread()
			for s := range p.spawns {
				s.out <- s.cmd.Start()
			}
		}()
	})
	s := spawn{cmd, make(chan error)}
	p.spawns <- s
	return <-s.out
}

// ready reads the frame a worker sends when it can take a statement.
func (w *process) ready(within time.Duration) error {
	defer time.AfterFunc(within, w.kill).Stop()
	for {
		f, err := w.conn.Read()
		if err != nil {
			return err
		}
		if f.Kind == wire.FrameReady {
			w.since = time.Now()
			return nil
		}
	}
}

func (w *process) reset() error {
	const within = 10 * time.Second
	defer time.AfterFunc(within, w.kill).Stop() // a worker that reads nothing more would hold the writer
	if err := w.conn.Write(wire.FrameReset, nil); err != nil {
		return err
	}
	return w.ready(within)
}

// gone reports whether the process has ended.
func (w *process) gone() bool {
	select {
	case <-w.exited:
		return true
	default:
		return false
	}
}

// kill ends the process and everything in its group.
func (w *process) kill() {
	_ = unix.Kill(-w.cmd.Process.Pid, unix.SIGKILL)
	_ = w.cmd.Process.Kill()
	_ = w.conn.Close()
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

var _ io.Writer = (*tail)(nil)

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if len(t.buf) > 4096 {
		t.buf = slices.Clone(t.buf[len(t.buf)-2048:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.buf)
}

package filelog

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
)

const (
	// gather is how long lines wait for others to be written with.
	gather = 50 * time.Millisecond
	// enough is how many bytes are written without waiting.
	enough = 256 << 10
	// maxBuffered bounds the bytes that wait; beyond, lines are dropped.
	maxBuffered = 8 << 20
	// maxKept is the largest buffer that is kept while there is nothing to write.
	maxKept = 64 << 10
	// lookAgain is how often a path is looked at for a file that was moved away.
	lookAgain = time.Second
)

// files are the files that instances write to, by path.
type files struct {
	mu   sync.Mutex
	open map[string]*file
}

func newFiles() *files { return &files{open: map[string]*file{}} }

// get returns the file of a path for one more instance. How the newest of them is
// configured counts.
func (fs *files) get(path string, reopen bool, env gateway.Env) *file {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.open[path]
	if f == nil {
		f = &file{files: fs, path: path, clock: env.Clock, log: env.Log, wake: make(chan struct{}, 1)}
		f.idle = sync.NewCond(&f.mu)
		fs.open[path] = f
	}
	f.users++
	f.mu.Lock()
	f.reopen = reopen
	f.mu.Unlock()
	return f
}

// file is one path with what waits to be written to it.
type file struct {
	files *files
	path  string
	clock clock.Clock
	log   *slog.Logger
	users int // under files.mu

	mu      sync.Mutex
	buf     []byte
	spare   []byte
	writing bool // the writer exists
	flush   bool // do not wait for more
	reopen  bool
	dropped int64 // since the last write
	idle    *sync.Cond
	wake    chan struct{}

	// Of the writer.
	out     io.WriteCloser
	info    os.FileInfo
	looked  time.Time
	failing bool
}

// add appends a line.
func (f *file) add(record []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.buf)+len(record)+1 > maxBuffered {
		if f.dropped++; f.dropped == 1 {
			f.log.Warn("lines of the log are dropped: they come faster than the file takes them", "path", f.path)
		}
		return
	}
	before := len(f.buf)
	f.buf = append(f.buf, record...)
	f.buf = append(f.buf, '\n')
	switch {
	case !f.writing:
		f.writing = true
		go f.write()
	case before < enough && len(f.buf) >= enough:
		f.hurry()
	}
}

func (f *file) hurry() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// write writes what gathers until nothing does.
func (f *file) write() {
	timer := time.NewTimer(gather)
	defer timer.Stop()
	for {
		f.mu.Lock()
		hurry := f.flush || len(f.buf) >= enough
		f.mu.Unlock()
		if !hurry {
			timer.Reset(gather)
			select {
			case <-timer.C:
			case <-f.wake:
			}
		}
		f.mu.Lock()
		lines, dropped, reopen := f.buf, f.dropped, f.reopen
		if len(lines) == 0 {
			f.writing = false
			if cap(f.buf)+cap(f.spare) > maxKept {
				f.buf, f.spare = nil, nil
			}
			f.idle.Broadcast()
			f.mu.Unlock()
			return
		}
		f.buf, f.spare, f.dropped = f.spare[:0], nil, 0
		f.mu.Unlock()
		f.put(lines, reopen)
		if dropped > 0 {
			f.log.Warn("lines of the log were dropped", "path", f.path, "lines", dropped)
		}
		f.mu.Lock()
		f.spare = lines[:0]
		f.mu.Unlock()
	}
}

// put writes lines to the file, or tells once that it cannot.
func (f *file) put(lines []byte, reopen bool) {
	err := f.ensure(reopen)
	if err == nil {
		_, err = f.out.Write(lines)
	}
	if err == nil {
		f.failing = false
		return
	}
	f.shut()
	if !f.failing {
		f.failing = true
		f.log.Error("the log cannot be written; its lines are lost until it can", "path", f.path, "err", err)
	}
}

// ensure makes out the file that is at the path now.
func (f *file) ensure(reopen bool) error {
	if now := f.clock.Now(); f.out != nil && f.info != nil && (reopen || now.Sub(f.looked) >= lookAgain) {
		f.looked = now
		if info, err := os.Stat(f.path); reopen || err != nil || !os.SameFile(info, f.info) {
			f.shut()
		}
	}
	if f.out != nil {
		return nil
	}
	switch f.path {
	case "/dev/stdout": // as a path it cannot be opened where it is a socket
		f.out = inherited{os.Stdout}
		return nil
	case "/dev/stderr":
		f.out = inherited{os.Stderr}
		return nil
	}
	out, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return errors.Join(err, out.Close())
	}
	f.out, f.info, f.looked = out, info, f.clock.Now()
	return nil
}

func (f *file) shut() {
	if f.out != nil {
		if err := f.out.Close(); err != nil {
			f.log.Warn("closing the log", "path", f.path, "err", err)
		}
	}
	f.out, f.info = nil, nil
}

// inherited is a file of the process, which outlives its use here.
type inherited struct{ io.Writer }

func (inherited) Close() error { return nil }

// release gives the file back for one instance. The last one waits until all lines are
// written, or ctx ends, and closes the file.
func (f *file) release(ctx context.Context) error {
	f.files.mu.Lock()
	f.users--
	last := f.users == 0
	if last {
		delete(f.files.open, f.path)
	}
	f.files.mu.Unlock()
	if !last {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flush = true
	f.hurry()
	broken := context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.idle.Broadcast()
	})
	defer broken()
	for f.writing {
		if ctx.Err() != nil {
			return ctx.Err() // a writer that hangs keeps the file
		}
		f.idle.Wait()
	}
	f.shut()
	return nil
}

package segment

import (
	"context"
	"sync"
)

// Target is where a log's frames go: it encodes a group of entries and writes them.
type Target[E any] interface {
	// Write makes the entries durable, all or none, and fills in whatever their owners
	// wait for. Only one call is under way at a time.
	Write(entries []E) error
}

// LogConfig bounds a Committer.
type LogConfig struct {
	MaxEntries int   // in one group; 4,096 if zero
	MaxBytes   int64 // in one group, by the sizes given to Append; 8 MiB if zero
	MaxQueued  int64 // bytes waiting before Append says Full; 64 MiB if zero
}

// Committer gathers the entries of many goroutines into groups and hands each group to
// the target, one after the other: while one group is being synced the next one fills.
// That is group commit, and it needs no timer: an entry that comes alone goes at once.
type Committer[E any] struct {
	cfg    LogConfig
	target Target[E]

	mu      sync.Mutex
	wake    *sync.Cond
	queue   []pending[E]
	queued  int64
	closed  bool
	stopped chan struct{}
}

type pending[E any] struct {
	entry E
	size  int64
	done  chan error
}

// NewCommitter starts a committer. Close ends it.
func NewCommitter[E any](cfg LogConfig, target Target[E]) *Committer[E] {
	if cfg.MaxEntries == 0 {
		cfg.MaxEntries = 4096
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 8 << 20
	}
	if cfg.MaxQueued == 0 {
		cfg.MaxQueued = 64 << 20
	}
	c := &Committer[E]{cfg: cfg, target: target, stopped: make(chan struct{})}
	c.wake = sync.NewCond(&c.mu)
	go c.run()
	return c
}

var doneChans = sync.Pool{New: func() any { return make(chan error, 1) }}

// Append returns when the entry is durable. size is what it counts towards the bounds in
// bytes. An error of ctx means that the outcome is not known: the entry may be written.
func (c *Committer[E]) Append(ctx context.Context, entry E, size int64) error {
	done := doneChans.Get().(chan error)
	c.mu.Lock()
	switch {
	case c.closed:
		c.mu.Unlock()
		return Closed.New("the log is closed")
	case c.queued+size > c.cfg.MaxQueued && len(c.queue) > 0:
		c.mu.Unlock()
		return Full.New("the log has %d bytes waiting to be written; try again", c.cfg.MaxQueued)
	}
	c.queue = append(c.queue, pending[E]{entry, size, done})
	c.queued += size
	if len(c.queue) == 1 {
		c.wake.Signal()
	}
	c.mu.Unlock()
	select {
	case err := <-done:
		doneChans.Put(done)
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close writes what is queued and ends.
func (c *Committer[E]) Close() {
	c.mu.Lock()
	c.closed = true
	c.wake.Signal()
	c.mu.Unlock()
	<-c.stopped
}

func (c *Committer[E]) run() {
	defer close(c.stopped)
	var group []pending[E]
	var entries []E
	for {
		c.mu.Lock()
		for len(c.queue) == 0 && !c.closed {
			c.wake.Wait()
		}
		if len(c.queue) == 0 {
			c.mu.Unlock()
			return
		}
		n, bytes := 0, int64(0)
		for n < len(c.queue) && n < c.cfg.MaxEntries && (n == 0 || bytes+c.queue[n].size <= c.cfg.MaxBytes) {
			bytes += c.queue[n].size
			n++
		}
		group = append(group[:0], c.queue[:n]...)
		rest := copy(c.queue, c.queue[n:])
		clear(c.queue[rest:])
		c.queue = c.queue[:rest]
		c.queued -= bytes
		c.mu.Unlock()

		entries = entries[:0]
		for i := range group {
			entries = append(entries, group[i].entry)
		}
		err := c.target.Write(entries)
		for i := range group {
			group[i].done <- err
		}
		clear(group)
		clear(entries)
	}
}

// Waiting is how many entries wait for their group, for metrics.
func (c *Committer[E]) Waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.queue)
}

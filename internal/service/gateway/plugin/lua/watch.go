package lua

import (
	"context"
	"errors"
	"runtime/metrics"
	"sync"
	"time"
)

// watch bounds calls. To the Lua machine it is the context that is asked before each
// instruction; it is done when the call has used up what it may. One watch serves all
// calls of a state, so that a call costs a timer's start and stop and no memory. Time is
// the machine's own: the bound protects the node, whatever clock it was given.
type watch struct {
	limit  time.Duration
	memory uint64
	done   chan struct{}
	timer  *time.Timer

	mu       sync.Mutex
	active   bool
	paused   int           // waits under way
	waited   time.Duration // of the call, for others
	began    time.Time
	heap     uint64 // when the call was first looked at; 0 before
	err      error
	children map[int]func() // what ends with the call: coroutines
	next     int
}

// glance is how often a running call is looked at. Most calls end before the first time.
const glance = 20 * time.Millisecond

// maxCoroutines bounds how many coroutines one call may make.
const maxCoroutines = 1000

var (
	errSlow    = errors.New("the code takes too long")
	errHungry  = errors.New("the code takes too much memory")
	errThreads = errors.New("the code makes too many coroutines")
	errOver    = errors.New("the call is over")
)

func newWatch(limit time.Duration, memory int64) *watch {
	w := &watch{limit: limit, memory: uint64(memory), done: make(chan struct{})}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Stop()
	return w
}

func (w *watch) begin() {
	w.mu.Lock()
	w.active, w.began, w.heap, w.waited = true, time.Now(), 0, 0
	w.mu.Unlock()
	w.timer.Reset(min(glance, w.limit))
}

// end ends the call and everything that belongs to it, and tells why it was stopped.
func (w *watch) end() error {
	w.timer.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.active = false
	w.cancel()
	return w.err
}

// pause runs what waits for others; its time does not count as the call's. All that a call
// waits so is bounded by most: wait is given what is left of it.
func (w *watch) pause(most time.Duration, wait func(left time.Duration) error) error {
	began := time.Now()
	w.mu.Lock()
	left := most - w.waited
	w.paused++
	w.mu.Unlock()
	defer func() {
		took := time.Since(began)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.paused--
		w.waited += took
		w.began = w.began.Add(took)
	}()
	if left <= 0 {
		return context.DeadlineExceeded
	}
	return wait(left)
}

func (w *watch) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.active {
		return
	}
	heap := heapSize()
	if w.heap == 0 {
		w.heap = heap
	}
	left := w.limit - time.Since(w.began)
	switch {
	case left <= 0 && w.paused > 0: // it will be looked at again
		w.timer.Reset(glance)
	case left <= 0:
		w.stop(errSlow)
	case heap > w.heap+w.memory:
		w.stop(errHungry)
	default:
		w.timer.Reset(min(glance, left))
	}
}

// stop makes the context done. It is called under mu.
func (w *watch) stop(why error) {
	if w.err == nil {
		w.err = why
		close(w.done)
		w.cancel()
	}
}

func (w *watch) cancel() {
	for _, f := range w.children {
		go f() // it asks Err, which takes mu
	}
	clear(w.children)
}

func heapSize() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// Deadline implements context.Context.
func (w *watch) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements context.Context.
func (w *watch) Done() <-chan struct{} { return w.done }

// Err implements context.Context.
func (w *watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && !w.active {
		return errOver // to coroutines that are resumed after the call that made them
	}
	return w.err
}

// Value implements context.Context.
func (w *watch) Value(any) any { return nil }

// AfterFunc lets package context hang a coroutine's context on this one without a goroutine.
func (w *watch) AfterFunc(f func()) (stop func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.children) >= maxCoroutines {
		w.stop(errThreads)
	}
	if w.err != nil || !w.active {
		go f()
		return func() bool { return false }
	}
	if w.children == nil {
		w.children = map[int]func(){}
	}
	id := w.next
	w.next++
	w.children[id] = f
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, there := w.children[id]
		delete(w.children, id)
		return there
	}
}

var _ context.Context = (*watch)(nil)

package batch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/work"
)

// maxWorkers bounds the batches under way at once where nothing else does.
const maxWorkers = 64

// Deps is what a queue needs from others.
type Deps[T any] struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Send sends a batch. It must return when ctx ends. The slice is reused afterwards.
	Send func(ctx context.Context, batch []T) error
	// Size returns the bytes of an entry; needed where MaxBytes is set.
	Size func(entry T) int
}

// Stats are counted since the queue was made.
type Stats struct {
	Added   int64
	Sent    int64
	Dropped int64 // given up for newer ones
	Lost    int64 // given up after retries
	Waiting int
}

// Queue holds entries until they are sent. The methods may be called at the same time.
type Queue[T any] struct {
	c    Config
	d    Deps[T]
	ctx  context.Context //nolint:containedctx // ends what is under way when Close runs out of time
	stop context.CancelFunc

	mu      sync.Mutex
	ring    []T // grows up to MaxEntries
	head, n int
	bytes   int
	workers int
	full    bool // said so, and no batch has been sent since
	closing chan struct{}
	closed  bool
	more    chan struct{} // wakes a worker that waits for a batch to fill
	idle    *sync.Cond    // no worker
	stats   Stats

	retry work.Retry // of batches, for what is logged
}

// New returns an empty queue.
func New[T any](c Config, d Deps[T]) *Queue[T] {
	q := &Queue[T]{c: c.withDefaults(), d: d, closing: make(chan struct{}), more: make(chan struct{}, 1)}
	q.retry.Log, q.retry.What = d.Log, "sending log entries"
	q.idle = sync.NewCond(&q.mu)
	q.ctx, q.stop = context.WithCancel(context.Background())
	return q
}

// Stats returns the counters.
func (q *Queue[T]) Stats() Stats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.stats
	s.Waiting = q.n
	return s
}

// Add puts an entry at the end of the queue. After Close it drops it.
func (q *Queue[T]) Add(entry T) {
	size := 0
	if q.c.MaxBytes > 0 {
		size = q.d.Size(entry)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stats.Added++
	if q.closed {
		q.stats.Dropped++
		return
	}
	if q.c.MaxBytes > 0 && size > q.c.MaxBytes {
		q.drop(1)
		return
	}
	for q.n > 0 && (q.n == q.c.MaxEntries || q.c.MaxBytes > 0 && q.bytes+size > q.c.MaxBytes) {
		q.pop()
		q.drop(1)
	}
	q.push(entry)
	q.bytes += size
	switch {
	case q.workers == 0 || q.c.Unlimited && q.workers < maxWorkers:
		q.workers++
		go q.work()
	case q.n == q.c.MaxBatchSize:
		select {
		case q.more <- struct{}{}:
		default:
		}
	}
}

func (q *Queue[T]) drop(n int) {
	q.stats.Dropped += int64(n)
	if !q.full {
		q.full = true
		q.d.Log.Warn("the log queue is full; its oldest entries are dropped until a batch has been sent",
			"max_entries", q.c.MaxEntries, "max_bytes", q.c.MaxBytes)
	}
}

func (q *Queue[T]) push(entry T) {
	if q.n == len(q.ring) {
		grown := make([]T, min(max(2*len(q.ring), 16), q.c.MaxEntries))
		for i := range q.n {
			grown[i] = q.ring[(q.head+i)%len(q.ring)]
		}
		q.ring, q.head = grown, 0
	}
	q.ring[(q.head+q.n)%len(q.ring)] = entry
	q.n++
}

func (q *Queue[T]) pop() T {
	var none T
	entry := q.ring[q.head]
	q.ring[q.head] = none
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	if q.c.MaxBytes > 0 {
		q.bytes -= q.d.Size(entry)
	}
	return entry
}

// work sends batches until nothing is left.
func (q *Queue[T]) work() {
	var batch []T
	for {
		q.fill()
		q.mu.Lock()
		if q.ctx.Err() != nil {
			q.abandon()
		}
		batch = batch[:0]
		for q.n > 0 && len(batch) < q.batchSize() {
			batch = append(batch, q.pop())
		}
		if len(batch) == 0 {
			q.workers--
			q.idle.Broadcast()
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		q.deliver(batch)
		clear(batch)
	}
}

// abandon gives up what waits, because there is no time left to send it.
func (q *Queue[T]) abandon() {
	if q.n == 0 {
		return
	}
	q.d.Log.Error("log entries are lost: there was no time to send them before the end", "entries", q.n)
	q.stats.Lost += int64(q.n)
	for q.n > 0 {
		q.pop()
	}
}

func (q *Queue[T]) batchSize() int {
	if q.c.Unlimited {
		return 1
	}
	return q.c.MaxBatchSize
}

// fill waits until a whole batch is there, it has waited for long enough, or the queue
// closes.
func (q *Queue[T]) fill() {
	if q.batchSize() == 1 || q.c.MaxCoalescingDelay <= 0 {
		return
	}
	timer := time.NewTimer(q.c.MaxCoalescingDelay)
	defer timer.Stop()
	for {
		q.mu.Lock()
		n := q.n
		q.mu.Unlock()
		if n == 0 || n >= q.c.MaxBatchSize {
			return
		}
		select {
		case <-q.more:
		case <-timer.C:
			return
		case <-q.closing:
			return
		}
	}
}

// deliver sends a batch, again and again where it fails.
func (q *Queue[T]) deliver(batch []T) {
	started := q.d.Clock.Now()
	delay := min(q.c.InitialRetryDelay, q.c.MaxRetryDelay)
	for try := 0; ; try++ {
		err := q.d.Send(q.ctx, batch)
		if err == nil {
			q.mu.Lock()
			q.stats.Sent += int64(len(batch))
			q.full = false
			q.mu.Unlock()
			q.retry.Worked()
			return
		}
		if q.ctx.Err() != nil || q.d.Clock.Now().Sub(started) >= q.c.MaxRetryTime {
			q.mu.Lock()
			q.stats.Lost += int64(len(batch))
			q.mu.Unlock()
			q.d.Log.Error("log entries could not be sent and are lost", "entries", len(batch), "retries", try, "err", err)
			return
		}
		q.retry.Failed(err, "entries", len(batch))
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-q.ctx.Done():
			timer.Stop()
		}
		delay = min(2*delay, q.c.MaxRetryDelay)
	}
}

// Close sends what waits and returns when that is done. When ctx ends before, what is
// under way is broken off, and the rest is lost; Close then returns ctx's error.
func (q *Queue[T]) Close(ctx context.Context) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.closed = true
		close(q.closing)
	}
	broken := context.AfterFunc(ctx, q.stop)
	defer broken()
	for q.workers > 0 {
		q.idle.Wait()
	}
	q.stop()
	if q.stats.Lost > 0 {
		return ctx.Err()
	}
	return nil
}

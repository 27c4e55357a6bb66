package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/service/edge/flow"
)

// node is a processor in its flow: its tasks, its connections, its figures.
type node struct {
	engine   *Engine
	spec     *flow.Processor // as the flow has it
	group    string
	def      *Definition
	settings *Settings
	schedule *flow.Cron // or
	period   time.Duration
	penalty  time.Duration
	yield    time.Duration
	tasks    int
	log      *slog.Logger

	in  []*queue
	fed bool // one of them comes from another processor
	out map[string][]*queue

	turn     atomic.Uint64 // over in
	yielded  atomic.Int64  // until, ms
	counters counters
	wake     signal

	mu       sync.Mutex // of what follows
	proc     Processor  // while it runs
	used     bool       // proc ran: the next start makes another
	running  bool
	halt     context.CancelFunc // no more triggers
	kill     context.CancelFunc // end those that run
	working  *sync.WaitGroup    // tasks
	sessions map[*Session]struct{}
}

// signal tells waiters that something changed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func (s *signal) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}

func (n *node) wakeUp() {
	if n != nil {
		n.wake.notify()
	}
}

func (n *node) session() *Session { return &Session{n: n} }

func (n *node) remember(s *Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sessions[s] = struct{}{}
}

func (n *node) forget(s *Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sessions, s)
}

func (n *node) pause() {
	n.yielded.Store(n.engine.clock.Now().Add(n.yield).UnixMilli())
}

// source reports whether flow files begin here.
func (n *node) source() bool { return !n.fed }

// passes reports a funnel or port.
func (n *node) passes() bool { return n.spec.Type == funnelType || n.spec.Type == portType }

// idle reports a funnel or port that leads nowhere: what comes waits.
func (n *node) idle() bool {
	return n.passes() && (len(n.in) == 0 || len(n.out[""]) == 0)
}

// blocked reports whether a connection behind the processor is full. One that leads back to
// it does not count, or a retry loop would stand still for good.
func (n *node) blocked() bool {
	for _, queues := range n.out {
		for _, q := range queues {
			if q.holds(n) {
				return true
			}
		}
	}
	return false
}

// start prepares the processor and begins its tasks.
func (n *node) start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.running {
		return nil
	}
	if n.used {
		p, err := n.def.New(n.settings)
		if err != nil {
			return n.fault(err)
		}
		n.proc = p
	}
	n.used = true
	if s, ok := n.proc.(Starter); ok {
		if err := guard(func() error { return s.Start(ctx, &Host{n}) }); err != nil {
			return n.fault(err)
		}
	}
	n.running = true
	halted, halt := context.WithCancel(context.Background())
	killed, kill := context.WithCancel(context.Background())
	n.halt, n.kill, n.working = halt, kill, &sync.WaitGroup{}
	if n.idle() {
		return nil
	}
	for range n.tasks {
		n.working.Go(func() { n.run(halted, killed, n.proc) })
	}
	return nil
}

func (n *node) fault(err error) error {
	return NotStarted.Wrap(err, "processor %s (%s) does not start: %s", n.spec.Name, n.spec.ID, err.Error())
}

// stop ends the tasks: those that are at work have the grace to end by themselves.
func (n *node) stop(grace time.Duration) {
	n.mu.Lock()
	if !n.running {
		n.mu.Unlock()
		return
	}
	n.running = false
	proc, tasks := n.proc, n.working
	n.mu.Unlock()

	n.halt()
	ended := make(chan struct{})
	go func() {
		tasks.Wait()
		if s, ok := proc.(Stopper); ok {
			_ = guard(func() error { s.Stop(); return nil })
		}
		close(ended)
	}()
	if !within(ended, grace) {
		n.kill()
		if !within(ended, grace/2+time.Second) {
			n.log.Warn("the processor does not end; its session is taken from it")
		}
	}
	n.kill()
	n.mu.Lock()
	var left []*Session
	for s := range n.sessions {
		left = append(left, s)
	}
	n.mu.Unlock()
	for _, s := range left {
		s.abandon()
	}
}

func within(ch <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ch:
		return true
	case <-t.C:
		return false
	}
}

// run is one task.
func (n *node) run(halted, killed context.Context, proc Processor) {
	next := n.engine.clock.Now()
	if n.schedule != nil {
		next = n.schedule.Next(next)
	}
	for halted.Err() == nil {
		changed := n.wake.wait()
		now := n.engine.clock.Now()
		if wait, ok := n.due(now, next); !ok {
			sleep(halted, changed, wait)
			continue
		}
		slots := n.engine.threads() // if this task does not end in time, the next flow has others
		select {
		case slots <- struct{}{}:
		case <-halted.Done():
			return
		}
		n.trigger(killed, proc)
		<-slots
		switch now = n.engine.clock.Now(); {
		case n.schedule != nil:
			next = n.schedule.Next(now)
		case n.period > 0:
			next = now.Add(n.period)
		}
	}
}

// forever is a wait that only a signal ends.
const forever = time.Hour

// due reports whether the processor has work to do now, or how long to wait for it at most.
func (n *node) due(now, next time.Time) (wait time.Duration, ok bool) {
	if next.IsZero() {
		return forever, false
	}
	if y := time.UnixMilli(n.yielded.Load()); y.After(next) {
		next = y
	}
	if now.Before(next) {
		return next.Sub(now), false
	}
	if n.blocked() {
		return forever, false
	}
	if n.source() {
		return forever, !n.engine.repo.full()
	}
	if n.def.WhenEmpty {
		return 0, true
	}
	wait = forever
	for _, q := range n.in {
		ready, due := q.waiting(now)
		if ready {
			return 0, true
		}
		if due != 0 {
			wait = min(wait, time.UnixMilli(due).Sub(now))
		}
	}
	return max(wait, time.Millisecond), false
}

// sleep waits for a change, at most d.
func sleep(ctx context.Context, changed <-chan struct{}, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-changed:
	case <-t.C:
	}
}

// trigger runs the processor once, in a session of its own.
func (n *node) trigger(ctx context.Context, proc Processor) {
	s := n.session()
	began := time.Now()
	n.counters.active.Add(1)
	err := guard(func() error { return proc.Trigger(ctx, s) })
	if err == nil {
		err = s.Commit()
	}
	n.counters.active.Add(-1)
	n.counters.invocations.Add(1)
	n.counters.nanos.Add(time.Since(began).Nanoseconds())
	if err == nil {
		return
	}
	s.Rollback(true)
	if ctx.Err() == nil && !Ended.Is(err) {
		n.pause()
		n.log.Error("the processor failed; its session is rolled back", "error", err)
	}
}

var errPanic = errors.New("the processor panicked")

// guard keeps a component's panic from ending the agent.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanic, r, debug.Stack())
		}
	}()
	return f()
}

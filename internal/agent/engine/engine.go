package engine

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// Config says where an engine keeps what waits, and how much of it.
type Config struct {
	Dir        string        // of the repository
	Key        [32]byte      // of the repository
	MaxBytes   int64         // in the repository before sources wait; 1 GiB if zero
	MaxContent int64         // of one flow file; 256 MiB if zero
	Grace      time.Duration // for tasks to end; 10 s if zero
}

// Deps is what an engine works with.
type Deps struct {
	Definitions []Definition
	Log         *slog.Logger
	Clock       clock.Clock
}

// defaultThreads work at one time where the flow does not say.
const defaultThreads = 10

// Engine runs one flow at a time.
type Engine struct {
	defs       []Definition
	log        *slog.Logger
	clock      clock.Clock
	repo       repository
	maxContent int64
	grace      time.Duration
	bulletins  bulletins
	slots      atomic.Pointer[chan struct{}]

	change sync.Mutex // one change at a time
	closed bool       // under change

	mu      sync.Mutex
	flow    *flow.Flow
	nodes   []*node
	queues  map[string]*queue
	running bool
}

// Open opens the repository. No flow runs.
func Open(ctx context.Context, c Config, d Deps) (*Engine, error) {
	if c.MaxBytes == 0 {
		c.MaxBytes = 1 << 30
	}
	if c.MaxContent == 0 {
		c.MaxContent = 256 << 20
	}
	if c.Grace == 0 {
		c.Grace = 10 * time.Second
	}
	db, err := kv.Open(kv.Config{Dir: c.Dir, Key: c.Key, Log: d.Log})
	if err != nil {
		return nil, err
	}
	e := &Engine{defs: append(ownDefinitions(), d.Definitions...), log: d.Log, clock: d.Clock, maxContent: c.MaxContent, grace: c.Grace,
		queues: map[string]*queue{}, repo: repository{db: db, limit: c.MaxBytes}}
	err = e.repo.recover(ctx, func(conn string, it item, attributes map[string]string) {
		it.rank = attributes["priority"]
		e.queue(conn).add(d.Clock.Now(), it)
	})
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return e, nil
}

// Close stops the flow and closes the repository. A second call does nothing.
func (e *Engine) Close() error {
	e.change.Lock()
	defer e.change.Unlock()
	if e.closed {
		return nil
	}
	e.closed = true
	e.halt()
	return e.repo.db.Close()
}

// queue returns the queue of a connection; it makes it if it is not there. The caller holds
// mu, or is alone.
func (e *Engine) queue(id string) *queue {
	q := e.queues[id]
	if q == nil {
		q = newQueue(id)
		e.queues[id] = q
	}
	return q
}

// definition finds a kind of component by its full type or by the last part of it.
func (e *Engine) definition(t string) *Definition {
	for i := range e.defs {
		if e.defs[i].Type == t {
			return &e.defs[i]
		}
	}
	for i := range e.defs {
		if !strings.Contains(t, ".") && e.defs[i].Name() == t {
			return &e.defs[i]
		}
	}
	return nil
}

func (e *Engine) threads() chan struct{} { return *e.slots.Load() }

// Validate says what is wrong with a flow, if anything is.
func (e *Engine) Validate(f *flow.Flow) error {
	_, err := e.prepare(f)
	return err
}

// Apply runs a flow in the place of the one that runs. If the new one is not valid or does
// not start, the old one goes on and the error says why.
func (e *Engine) Apply(ctx context.Context, f *flow.Flow) error {
	p, err := e.prepare(f)
	if err != nil {
		return err
	}
	e.change.Lock()
	defer e.change.Unlock()
	e.mu.Lock()
	old, was := e.flow, e.running
	e.mu.Unlock()
	e.halt()
	e.install(p)
	if err = e.launch(ctx); err == nil {
		return nil
	}
	e.halt()
	if old == nil {
		e.install(&plan{threads: defaultThreads})
		return err
	}
	before, again := e.prepare(old)
	if again != nil {
		return errors.Join(err, again)
	}
	e.install(before)
	if was {
		again = e.launch(context.WithoutCancel(ctx))
	}
	return errors.Join(err, again)
}

// install makes a plan the engine's flow. Nothing runs.
func (e *Engine) install(p *plan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	keep := map[string]bool{}
	for _, l := range p.links {
		q := e.queue(l.id)
		for _, r := range l.relationships {
			l.from.out[r] = append(l.from.out[r], q)
		}
		l.to.in = append(l.to.in, q)
		l.to.fed = l.to.fed || l.from != l.to
		q.become(l)
		keep[l.id] = true
	}
	for id, q := range e.queues {
		if keep[id] {
			continue
		}
		q.become(link{})
		if n := q.count; n > 0 {
			e.log.Warn("a connection is no more; what waits on it is kept until it comes back or is cleared", "connection", id, "flow_files", n)
		} else {
			delete(e.queues, id)
		}
	}
	slots := make(chan struct{}, p.threads)
	e.slots.Store(&slots)
	e.flow, e.nodes = p.flow, p.nodes
}

// launch starts every processor that is not disabled, the last ones of the flow first.
func (e *Engine) launch(ctx context.Context) error {
	e.mu.Lock()
	nodes := e.nodes
	e.running = true
	e.mu.Unlock()
	for _, sources := range []bool{false, true} {
		for _, n := range nodes {
			if n.spec.Disabled || n.source() != sources {
				continue
			}
			if err := n.start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// halt stops every processor, sources first.
func (e *Engine) halt() {
	e.mu.Lock()
	nodes := e.nodes
	e.running = false
	e.mu.Unlock()
	for _, sources := range []bool{true, false} {
		var all sync.WaitGroup
		for _, n := range nodes {
			if n.source() == sources {
				all.Go(func() { n.stop(e.grace) })
			}
		}
		all.Wait()
	}
}

// Start starts the flow; nothing changes if it runs.
func (e *Engine) Start(ctx context.Context) error {
	e.change.Lock()
	defer e.change.Unlock()
	if e.Flow() == nil {
		return NotStarted.New("the agent has no flow")
	}
	return e.launch(ctx)
}

// Stop stops the flow; what waits stays.
func (e *Engine) Stop() {
	e.change.Lock()
	defer e.change.Unlock()
	e.halt()
}

// StartProcessor starts one processor.
func (e *Engine) StartProcessor(ctx context.Context, id string) error {
	e.change.Lock()
	defer e.change.Unlock()
	n, err := e.node(id)
	if err != nil {
		return err
	}
	if n.spec.Disabled {
		return NotStarted.New("processor %s is disabled", id)
	}
	return n.start(ctx)
}

// StopProcessor stops one processor.
func (e *Engine) StopProcessor(id string) error {
	e.change.Lock()
	defer e.change.Unlock()
	n, err := e.node(id)
	if err != nil {
		return err
	}
	n.stop(e.grace)
	return nil
}

func (e *Engine) node(id string) (*node, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	i := slices.IndexFunc(e.nodes, func(n *node) bool { return n.spec.ID == id })
	if i < 0 {
		return nil, NotFound.New("no processor of the flow has the identifier %q", id)
	}
	return e.nodes[i], nil
}

// Clear drops what waits on a connection, and says how many flow files that were.
func (e *Engine) Clear(id string) (int, error) {
	e.mu.Lock()
	q := e.queues[id]
	e.mu.Unlock()
	if q == nil {
		return 0, NotFound.New("no connection has the identifier %q", id)
	}
	list := q.drain()
	var claims []uint64
	var bytes, weight int64
	b := e.repo.db.NewBatch()
	for _, it := range list {
		rec, err := e.repo.load(id, it.seq)
		if err == nil && rec.Claim != 0 {
			claims = append(claims, rec.Claim)
		}
		b.Delete(queueKey(id, it.seq))
		bytes += it.size
		weight += it.weight
	}
	if err := b.Commit(); err != nil {
		q.add(e.clock.Now(), list...)
		q.done(len(list), bytes) // they were counted all the time
		return 0, err
	}
	e.repo.used.Add(-weight)
	q.done(len(list), bytes)
	err := e.repo.release(claims)
	e.freed()
	return len(list), err
}

// freed wakes the sources if they may wait for room.
func (e *Engine) freed() {
	if e.repo.used.Load() >= e.repo.limit || !e.repo.stalled.CompareAndSwap(true, false) {
		return
	}
	e.mu.Lock()
	nodes := e.nodes
	e.mu.Unlock()
	for _, n := range nodes {
		if n.source() {
			n.wakeUp()
		}
	}
}

// Flow is what the engine runs, or ran before it was stopped; nil if it has none.
func (e *Engine) Flow() *flow.Flow {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.flow
}

// Running reports whether the flow was started.
func (e *Engine) Running() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.running
}

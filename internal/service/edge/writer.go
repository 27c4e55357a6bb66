package edge

import (
	"context"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
)

// How writes are gathered.
const (
	gatherFor  = 10 * time.Millisecond
	maxGather  = 50_000 // rows that wait; beyond them, what is written waits for its writer
	writeAgain = time.Second
)

// writer gathers rows and writes many at a time. A later write of a row takes the place of
// an earlier one that was not written yet.
type writer struct {
	s    *Service
	wake chan struct{}

	mu       sync.Mutex
	room     sync.Cond
	agents   map[string]*Agent
	progress map[string]*Progress
	events   map[string]*Event
	// begun counts the batches that were taken out, and done those that were written.
	begun, done int64
	ended       bool

	flushing sync.Mutex // one at a time, so that a later write is not overtaken
}

func newWriter(s *Service) *writer {
	w := &writer{s: s, wake: make(chan struct{}, 1)}
	w.room.L = &w.mu
	w.reset()
	return w
}

func (w *writer) reset() {
	w.agents, w.progress, w.events = map[string]*Agent{}, map[string]*Progress{}, map[string]*Event{}
}

func (w *writer) size() int { return len(w.agents) + len(w.progress) + len(w.events) }

// waiting is how many rows wait.
func (w *writer) waiting() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return int64(w.size())
}

// put adds rows. A database that takes them too slowly makes agents wait, which is what
// tells them to come later.
func (w *writer) put(add func()) {
	w.mu.Lock()
	for w.size() >= maxGather && !w.ended {
		w.room.Wait()
	}
	add()
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *writer) agent(a Agent) { w.put(func() { w.agents[a.ID] = &a }) }

func (w *writer) step(p Progress) {
	w.put(func() { w.progress[progressKey(p.Order, p.Agent)] = &p })
}

func (w *writer) event(e Event) { w.put(func() { w.events[e.ID] = &e }) }

// run writes until ctx ends, and then what is left.
func (w *writer) run(ctx context.Context) {
	retry := work.Retry{Log: w.s.deps.Log, What: "writing what agents reported", First: writeAgain}
	for {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			w.ended = true
			w.room.Broadcast()
			w.mu.Unlock()
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			if err := w.flush(last); err != nil {
				w.s.deps.Log.Error("what agents reported last is not written", "error", err)
			}
			return
		case <-w.wake:
		}
		select {
		case <-ctx.Done():
			continue
		case <-time.After(gatherFor):
		}
		for {
			err := w.flush(ctx)
			if err == nil || ctx.Err() != nil {
				break
			}
			retry.Wait(ctx, err)
		}
		retry.Worked()
	}
}

// flush writes what has gathered. What could not be written stays, unless it was replaced.
func (w *writer) flush(ctx context.Context) error {
	w.flushing.Lock()
	defer w.flushing.Unlock()
	w.mu.Lock()
	if w.size() == 0 {
		w.mu.Unlock()
		return nil
	}
	agents, progress, events := w.agents, w.progress, w.events
	w.reset()
	w.begun++
	round := w.begun
	w.room.Broadcast()
	w.mu.Unlock()
	err := w.s.store.agents.Put(ctx, agents)
	if err == nil {
		err = w.s.store.progress.PutNewer(ctx, progress, rank)
	}
	if err == nil {
		err = w.s.store.events.Put(ctx, events)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.done = round
		w.room.Broadcast()
		return nil
	}
	back(w.agents, agents)
	back(w.progress, progress)
	back(w.events, events)
	return err
}

// back puts what was not written where it came from, unless there is something newer.
func back[T any](to, from map[string]*T) {
	for k, v := range from {
		if _, newer := to[k]; !newer {
			to[k] = v
		}
	}
}

// rank says which of two steps of one agent with one order is the later.
func rank(p *Progress) int64 {
	if p.State.ended() {
		return 1 << 32
	}
	return int64(p.Attempt)
}

// written waits until what this node's agents reported so far is in the database.
func (s *Service) written(ctx context.Context) error {
	w := s.writer
	defer context.AfterFunc(ctx, func() {
		w.mu.Lock()
		w.room.Broadcast()
		w.mu.Unlock()
	})()
	w.mu.Lock()
	defer w.mu.Unlock()
	round := w.begun // one that is under way holds what came before
	if w.size() > 0 {
		round++
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
	for w.done < round {
		if ctx.Err() != nil || w.ended {
			return store.Unreachable.New("what agents reported could not be written")
		}
		w.room.Wait()
	}
	return nil
}

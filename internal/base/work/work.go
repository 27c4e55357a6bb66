// Package work runs the background loops of a node. Every loop has a name, a state, a
// restart after a failure, and shows all of that; no service starts a loop anywhere else.
package work

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
)

// State is how a loop is doing.
type State struct {
	Name      string    `json:"name"`
	Running   bool      `json:"running"`
	Restarts  int       `json:"restarts"`
	LastError string    `json:"last_error,omitempty"`
	Since     time.Time `json:"since"`
}

// The waits before a failed loop is started again.
const (
	firstWait = 100 * time.Millisecond
	lastWait  = 30 * time.Second
	wellAfter = 5 * time.Minute // a loop that ran for as long begins with the first again
)

// Group is a set of loops that end together.
type Group struct {
	log    *slog.Logger
	clock  clock.Clock
	ctx    context.Context //nolint:containedctx // the loops' common lifetime
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	states []*State
}

// New returns an empty group.
func New(log *slog.Logger, c clock.Clock) *Group {
	ctx, cancel := context.WithCancel(context.Background())
	return &Group{log: log, clock: c, ctx: ctx, cancel: cancel}
}

// Go runs loop until Stop. A loop that fails or panics is started again after a wait; one
// that returns nil has ended.
func (g *Group) Go(name string, loop func(context.Context) error) {
	st := &State{Name: name, Running: true, Since: g.clock.Now()}
	g.mu.Lock()
	g.states = append(g.states, st)
	g.mu.Unlock()
	g.done.Go(func() {
		retry := Retry{Log: g.log, What: "the background loop " + name, Level: slog.LevelError}
		for {
			began := g.clock.Now()
			err := protect(g.ctx, loop)
			g.mu.Lock()
			st.Running, st.Since = false, g.clock.Now()
			if err != nil && g.ctx.Err() == nil {
				st.LastError = err.Error()
			}
			g.mu.Unlock()
			if err == nil || g.ctx.Err() != nil {
				return
			}
			if g.clock.Now().Sub(began) > wellAfter {
				retry.Worked()
			}
			if !retry.Wait(g.ctx, err, "loop", name) {
				return
			}
			g.mu.Lock()
			st.Running, st.Since = true, g.clock.Now()
			st.Restarts++
			g.mu.Unlock()
		}
	})
}

func protect(ctx context.Context, loop func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return loop(ctx)
}

// Stop ends the loops and waits for them.
func (g *Group) Stop() {
	g.cancel()
	g.done.Wait()
}

// States returns how the loops are doing.
func (g *Group) States() []State {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]State, len(g.states))
	for i, st := range g.states {
		out[i] = *st
	}
	return out
}

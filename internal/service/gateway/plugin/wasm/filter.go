package wasm

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// chain is the filters of one entity, in order.
type chain struct{ filters []*filter }

// Parts implements gateway.Composite: in each phase all filters act, in order.
func (c *chain) Parts() []any {
	var parts []any
	add := func(export string, part func(*filter) any) {
		for _, f := range c.filters {
			if export == "" || f.module.exports[export] {
				parts = append(parts, part(f))
			}
		}
	}
	add("", func(f *filter) any { return requestHeaders{f} })
	add("proxy_on_request_body", func(f *filter) any { return requestBody{f} })
	add("", func(f *filter) any { return responseHeaders{f} })
	add("", func(f *filter) any { return responseBody{f} })
	add("", func(f *filter) any { return finish{f} })
	return parts
}

// Close implements gateway.Closer.
func (c *chain) Close(context.Context) error {
	for _, f := range c.filters {
		f.close()
	}
	return nil
}

// filter is a module with a configuration, and its machines.
type filter struct {
	engine *Engine
	module *module
	config []byte
	log    *slog.Logger

	mu       sync.Mutex
	machines []*machine
	resume   time.Time // no machine is started before
}

// pause is how long after a machine could not be started the next attempt may be made.
const pause = time.Second

var errPaused = errors.New("the filter could not be started a moment ago")

// take returns the machine for a new stream.
func (f *filter) take() (*machine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var free *machine
	for _, m := range f.machines {
		if free == nil || m.streams < free.streams {
			free = m
		}
	}
	if free == nil || free.streams > 0 && len(f.machines) < f.engine.cfg.Machines {
		if f.engine.deps.Clock.Now().Before(f.resume) {
			return nil, errPaused
		}
		free = newMachine(f)
		f.machines = append(f.machines, free)
	}
	free.streams++
	return free, nil
}

// release gives a stream's place back.
func (f *filter) release(m *machine) {
	f.mu.Lock()
	m.streams--
	f.mu.Unlock()
}

func (f *filter) failed() {
	f.mu.Lock()
	f.resume = f.engine.deps.Clock.Now().Add(pause)
	f.mu.Unlock()
}

// drop forgets a machine that is dead.
func (f *filter) drop(m *machine) {
	f.mu.Lock()
	f.machines = slices.DeleteFunc(f.machines, func(o *machine) bool { return o == m })
	f.mu.Unlock()
}

func (f *filter) close() {
	f.mu.Lock()
	machines := slices.Clone(f.machines)
	f.mu.Unlock()
	for _, m := range machines {
		m.mu.Lock()
		m.kill(errClosed)
		m.mu.Unlock()
	}
}

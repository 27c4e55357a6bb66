package wasm

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero/api"
)

// machine is an instance of a module with one configuration. Its calls go one at a time.
type machine struct {
	filter  *filter
	streams int // under filter.mu
	ctx     context.Context

	mu    sync.Mutex
	mod   api.Module // nil before the first call
	alloc api.Function
	calls map[string]api.Function
	last  uint32 // the newest stream's id
	dead  error  // why it is not called any more

	// Of the call in progress.
	stream *stream // nil while the machine starts
	config bool    // the configuration can be read
}

// root is the id of the machine's own context; those of streams come after it.
const root = 1

type machineKey struct{}

var (
	errRefused = errors.New("the filter refuses its configuration")
	errDead    = errors.New("another request has ended the filter")
	errClosed  = errors.New("the filter is closed")
)

func newMachine(f *filter) *machine {
	m := &machine{filter: f, last: root, calls: map[string]api.Function{}}
	m.ctx = context.WithValue(context.Background(), machineKey{}, m)
	return m
}

// start makes the machine ready for streams.
func (m *machine) start() error {
	f := m.filter
	ctx, cancel := context.WithTimeout(m.ctx, f.engine.cfg.Start)
	defer cancel()
	mod, err := f.engine.runtime.InstantiateModule(ctx, f.module.code, f.engine.moduleConfig(f.log))
	if err != nil {
		return err
	}
	m.mod = mod
	if m.alloc = mod.ExportedFunction("proxy_on_memory_allocate"); m.alloc == nil {
		m.alloc = mod.ExportedFunction("malloc")
	}
	if m.has("_initialize") {
		if _, err := m.do(ctx, "_initialize"); err != nil {
			return err
		}
		if m.has("main") {
			if _, err := m.do(ctx, "main", 0, 0); err != nil {
				return err
			}
		}
	} else if m.has("_start") {
		if _, err := m.do(ctx, "_start"); err != nil {
			return err
		}
	}
	if _, err := m.do(ctx, "proxy_on_context_create", root, 0); err != nil {
		return err
	}
	m.config = true
	defer func() { m.config = false }()
	for _, step := range []struct {
		name string
		size int
	}{{"proxy_on_vm_start", 0}, {"proxy_on_configure", len(f.config)}} {
		if !m.has(step.name) {
			continue
		}
		ok, err := m.do(ctx, step.name, root, uint64(step.size))
		if err != nil {
			return err
		}
		if ok == 0 {
			return errRefused
		}
	}
	return nil
}

func (m *machine) has(name string) bool { return m.filter.module.exports[name] }

// run calls a function of the module for a stream. A function that is not there is no
// error and returns 0. After an error the machine is dead.
func (m *machine) run(s *stream, name string, args ...uint64) (uint64, error) {
	if !m.has(name) {
		return 0, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead != nil {
		return 0, fmt.Errorf("%w: %w", errDead, m.dead)
	}
	if m.mod == nil {
		if err := m.start(); err != nil {
			m.kill(fmt.Errorf("starting the filter: %w", err))
			m.filter.failed()
			return 0, m.dead
		}
	}
	m.stream = s
	defer func() { m.stream = nil }()
	ctx, cancel := context.WithTimeout(m.ctx, m.filter.engine.cfg.Limit)
	defer cancel()
	if s.id == 0 {
		m.last++
		s.id = m.last
		if _, err := m.do(ctx, "proxy_on_context_create", uint64(s.id), root); err != nil {
			m.kill(err)
			return 0, err
		}
	}
	out, err := m.do(ctx, name, append([]uint64{uint64(s.id)}, args...)...)
	if err != nil {
		err = fmt.Errorf("%s: %w", name, err)
		m.kill(err)
	}
	return out, err
}

// do calls a function with as many of the arguments as it takes: older versions of the ABI
// have fewer.
func (m *machine) do(ctx context.Context, name string, args ...uint64) (uint64, error) {
	fn := m.calls[name]
	if fn == nil {
		if fn = m.mod.ExportedFunction(name); fn == nil {
			return 0, nil
		}
		m.calls[name] = fn
	}
	n := len(fn.Definition().ParamTypes())
	if n > len(args) {
		return 0, fmt.Errorf("it takes %d arguments", n)
	}
	out, err := fn.Call(ctx, args[:n]...)
	if err != nil || len(out) == 0 {
		return 0, err
	}
	return out[0], nil
}

// kill takes the machine out of use and frees its memory. It is called under mu.
func (m *machine) kill(why error) {
	if m.dead != nil {
		return
	}
	m.dead = why
	if m.mod != nil {
		_ = m.mod.Close(m.ctx) // it may be closed already: by the call that was stopped
	}
	m.mod, m.alloc = nil, nil
	clear(m.calls)
	m.filter.drop(m)
}

package lua

import (
	"context"
	"errors"
	"fmt"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// Phase is where in a request code runs.
type Phase string

// The phases, by Kong's names.
const (
	Certificate  Phase = "certificate"
	Rewrite      Phase = "rewrite"
	Access       Phase = "access"
	Response     Phase = "response"
	HeaderFilter Phase = "header_filter"
	BodyFilter   Phase = "body_filter"
	Log          Phase = "log"
	InitWorker   Phase = "init_worker"
	Timer        Phase = "timer"
)

// answers reports whether code in the phase may answer the request.
func (p Phase) answers() bool { return p == Rewrite || p == Access || p == Response }

// beforeAnswer reports whether there is no answer yet to whose head anything could be done.
func (p Phase) beforeAnswer() bool { return p == Rewrite || p == Access }

// state is a Lua machine with its libraries. One goroutine uses it at a time: that which
// has the exchange.
type state struct {
	engine   *Engine
	L        *glua.LState
	watch    *watch
	globals  *glua.LTable // what every program sees
	trusted  *glua.LTable // what trusted programs see besides
	loaded   map[*Program]*loaded
	plugins  map[*Plugin]*running
	units    map[*Unit]*glua.LTable // their configurations
	modules  map[string]glua.LValue
	required map[*Program]glua.LValue // modules of plugins
	retired  int64                    // programs the engine had closed when loaded was last swept
	dead     bool
	timers   []timer // that the state holds

	null, emptyArray, exit *glua.LUserData
	arrayMeta, emptyMeta   *glua.LTable
	headerMeta             *glua.LTable
	http                   glua.LValue // the module resty.http; nil before it is asked for

	// Of the call in progress.
	unit  *Unit
	prog  *Program
	phase Phase
	steps int // of matching patterns that the call may still take

	request
}

// request is what a state holds of the request it works for.
type request struct {
	x          *gateway.Exchange
	shared     *glua.LTable
	ngxCtx     *glua.LTable
	own        map[*Unit]*glua.LTable // kong.ctx.plugin
	headers    []headerOp             // of the answer, set before there was one
	printed    []byte
	serverName string // of a handshake
	asked      bool   // the client's certificate, by a certificate phase
	verified   string
	arg        glua.LValue // the chunk in a body filter
	last       bool
	collected  map[*Unit][]byte // bodies that body filters read as a whole
	serialize  []serializeOp
	exited     bool
}

// loaded is a program in a state.
type loaded struct {
	env   *glua.LTable
	chunk *glua.LFunction
	fn    *glua.LFunction // what snippets run: the chunk, or the function it returned
	begun bool
}

func newState(e *Engine) *state {
	s := &state{
		engine: e, watch: newWatch(e.cfg.Limit, e.cfg.Memory), loaded: map[*Program]*loaded{}, plugins: map[*Plugin]*running{},
		units: map[*Unit]*glua.LTable{}, modules: map[string]glua.LValue{}, required: map[*Program]glua.LValue{}, retired: e.retired.Load(),
		L: glua.NewState(glua.Options{SkipOpenLibs: true, CallStackSize: 200, MinimizeStackMemory: true,
			RegistrySize: 256, RegistryMaxSize: 64 << 10, RegistryGrowStep: 512}),
	}
	s.L.SetContext(s.watch)
	s.openLibraries()
	return s
}

// sweep forgets the programs that were closed.
func (s *state) sweep(now int64) {
	s.retired = now
	for p := range s.loaded {
		if p.closed.Load() {
			delete(s.loaded, p)
		}
	}
	clear(s.units)
}

// Close implements io.Closer: the exchange has ended.
func (s *state) Close() error {
	s.request = request{}
	s.unit, s.prog = nil, nil
	switch {
	case s.dead:
		s.dropTimers()
	case len(s.timers) > 0:
		go s.runTimers()
	default:
		s.rest()
	}
	return nil
}

// rest keeps the state for further requests.
func (s *state) rest() {
	select {
	case s.engine.idle <- s:
	default:
	}
}

// load returns a program as this state runs it.
func (s *state) load(p *Program) *loaded {
	if l := s.loaded[p]; l != nil {
		return l
	}
	env := s.L.NewTable()
	meta := s.L.NewTable()
	meta.RawSetString("__index", s.globals)
	if p.trusted {
		meta.RawSetString("__index", s.trusted)
	}
	meta.RawSetString("__metatable", glua.LFalse)
	env.Metatable = meta
	env.RawSetString("_G", env)
	l := &loaded{env: env, chunk: s.L.NewFunctionFromProto(p.proto)}
	l.chunk.Env = env
	l.fn = l.chunk
	s.loaded[p] = l
	return l
}

// maxSteps bounds the work of matching patterns in one call.
const maxSteps = 20_000_000

// errExit says that code ended its call by itself, after it answered or by ngx.exit.
var errExit = errors.New("lua: exit")

// call calls a function for a unit. What the function returns is on the stack, nret values.
func (s *state) call(u *Unit, p *Program, phase Phase, fn *glua.LFunction, nret int, args ...glua.LValue) error {
	s.unit, s.prog, s.phase, s.steps = u, p, phase, maxSteps
	s.watch.begin()
	err := s.L.CallByParam(glua.P{Fn: fn, NRet: nret, Protect: true}, args...)
	if stopped := s.watch.end(); stopped != nil {
		s.dead = true
		return stopped
	}
	if err == nil {
		return nil
	}
	var failed *glua.ApiError
	if errors.As(err, &failed) {
		if failed.Object == glua.LValue(s.exit) {
			return errExit
		}
		return errors.New(message(failed))
	}
	return err
}

// maxMessage bounds what a message of Lua's puts into the log.
const maxMessage = 1000

func message(e *glua.ApiError) string {
	text := ""
	switch o := e.Object.(type) {
	case nil, *glua.LNilType:
		text = e.Error()
	case glua.LString:
		text = string(o)
	default:
		text = fmt.Sprintf("an error that is a %s", o.Type())
	}
	if len(text) > maxMessage {
		text = text[:maxMessage] + "…"
	}
	return text
}

// snippet runs a program that is a phase's code by itself, or returns the function that is.
func (s *state) snippet(u *Unit, p *Program, phase Phase) error {
	l := s.load(p)
	if l.begun {
		return s.call(u, p, phase, l.fn, 0)
	}
	l.begun = true
	if err := s.call(u, p, phase, l.chunk, 1); err != nil {
		return err
	}
	result := s.L.Get(-1)
	s.L.Pop(1)
	if fn, ok := result.(*glua.LFunction); ok {
		l.fn = fn
		return s.call(u, p, phase, fn, 0)
	}
	return nil
}

// finish makes an answer of what a call printed, and of its failure.
func (s *state) finish(x *gateway.Exchange, u *Unit, phase Phase, err error) bool {
	if len(s.printed) > 0 {
		if phase.answers() && !x.Answered() {
			x.Respond(max(x.Response.Status, 200), s.printed)
		}
		s.printed = nil
	}
	if err == nil || errors.Is(err, errExit) {
		return true
	}
	u.Env.Log.Error("Lua code failed", "phase", string(phase), "err", err, "request_id", x.ID())
	if phase.answers() {
		x.Fail(500, "An unexpected error occurred")
	}
	return false
}

// Evaluate runs a program and returns what it returns, as a value of JSON.
func (e *Engine) Evaluate(x *gateway.Exchange, u *Unit, p *Program, phase Phase) (any, error) {
	s := e.stateOf(x)
	if err := s.call(u, p, phase, s.load(p).chunk, 1); err != nil {
		return nil, err
	}
	v := s.L.Get(-1)
	s.L.Pop(1)
	return s.plain(v)
}

// context is that of the request, or of the node where there is none.
func (s *state) context() context.Context {
	if s.x != nil {
		return s.x.Context()
	}
	return context.Background()
}

package lua

import (
	"errors"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// Runner is what a unit does in one phase.
type Runner interface {
	Run(c *Call) error
}

// Call is one run of a Runner: a state at work for a unit in a phase.
type Call struct {
	s     *state
	unit  *Unit
	phase Phase
}

// Snippet runs a program as code of the phase, or the function it has returned.
func (c *Call) Snippet(p *Program) error { return c.s.snippet(c.unit, p, c.phase) }

// Parts makes the parts of a plugin instance: one for each phase that runs gives a Runner
// for. What has no part costs requests nothing.
func Parts(e *Engine, u *Unit, runs func(Phase) Runner) []any {
	var parts []any
	add := func(phase Phase, part func(stage) any) {
		if run := runs(phase); run != nil {
			parts = append(parts, part(stage{e, u, phase, run}))
		}
	}
	add(Rewrite, func(s stage) any { return rewriter{s} })
	add(Access, func(s stage) any { return accessor{s} })
	add(Response, func(s stage) any { return responder{s} })
	if len(parts) > 0 {
		parts = append(parts, replayer{e})
	}
	add(HeaderFilter, func(s stage) any { return headerFilter{s} })
	add(BodyFilter, func(s stage) any { return bodyFilter{s} })
	add(Log, func(s stage) any { return logger{s} })
	return parts
}

type stage struct {
	engine *Engine
	unit   *Unit
	phase  Phase
	runner Runner
}

func (st *stage) run(x *gateway.Exchange) {
	s := st.engine.stateOf(x)
	s.finish(x, st.unit, st.phase, st.runner.Run(&Call{s, st.unit, st.phase}))
}

type (
	rewriter     struct{ stage }
	accessor     struct{ stage }
	responder    struct{ stage }
	headerFilter struct{ stage }
	bodyFilter   struct{ stage }
	logger       struct{ stage }
	replayer     struct{ engine *Engine }
)

// Rewrite implements gateway.Rewriter.
func (p rewriter) Rewrite(x *gateway.Exchange) { p.run(x) }

// Access implements gateway.Accessor.
func (p accessor) Access(x *gateway.Exchange) { p.run(x) }

// Response implements gateway.Responder.
func (p responder) Response(x *gateway.Exchange) { p.run(x) }

// HeaderFilter implements gateway.HeaderFilter.
func (p headerFilter) HeaderFilter(x *gateway.Exchange) { p.run(x) }

// Log implements gateway.Logger.
func (p logger) Log(x *gateway.Exchange) { p.run(x) }

// BodyFilter implements gateway.BodyFilter.
func (p bodyFilter) BodyFilter(x *gateway.Exchange, chunk []byte, last bool) []byte {
	s := p.engine.stateOf(x)
	s.arg, s.last = glua.LString(chunk), last
	given := s.arg
	if !s.finish(x, p.unit, BodyFilter, p.runner.Run(&Call{s, p.unit, BodyFilter})) || s.arg == given {
		return chunk
	}
	v, _ := text(s.arg)
	return []byte(v)
}

// HeaderFilter applies what code asked for before there was an answer.
func (p replayer) HeaderFilter(x *gateway.Exchange) {
	s, ok := x.Value(p.engine).(*state)
	if !ok || len(s.headers) == 0 || !x.FromUpstream() {
		return
	}
	for i := range s.headers {
		s.headers[i].apply(&x.Response.Header)
	}
	s.headers = nil
}

// Asks runs code of the certificate phase, in a handshake for a server name, and reports
// whether it asks the client for a certificate.
func (e *Engine) Asks(u *Unit, serverName string, run Runner) bool {
	s := e.take()
	defer s.Close()
	s.serverName = serverName
	if err := run.Run(&Call{s, u, Certificate}); err != nil && !errors.Is(err, errExit) {
		u.Env.Log.Error("Lua code failed", "phase", string(Certificate), "err", err)
	}
	return s.asked
}

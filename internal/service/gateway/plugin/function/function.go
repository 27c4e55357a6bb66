package function

import (
	"context"
	"fmt"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// phases are those that code can be configured for, in the order of Kong's schema.
var phases = []lua.Phase{lua.Certificate, lua.Rewrite, lua.Access, lua.HeaderFilter, lua.BodyFilter, lua.Log}

// NewPre returns the kind pre-function.
func NewPre(e *lua.Engine) gateway.Plugin { return kind(e, "pre-function", 1000000) }

// NewPost returns the kind post-function.
func NewPost(e *lua.Engine) gateway.Plugin { return kind(e, "post-function", -1000) }

func kind(e *lua.Engine, name string, priority int) gateway.Plugin {
	config := &schema.Field{}
	for _, phase := range phases {
		config.Fields = append(config.Fields, &schema.Field{
			Name: string(phase), Kind: schema.Array, Required: true, Default: []any{},
			Description: "Lua code that runs in the phase " + string(phase) + ", in order.",
			Elements: &schema.Field{Kind: schema.String, Check: func(v any) string {
				if _, err := e.Compile(name, v.(string)); err != nil {
					return "error parsing " + name + ": " + err.Error()
				}
				return ""
			}},
		})
	}
	return gateway.Plugin{
		Name: name, Version: gateway.Version, Priority: priority, NoScopes: []string{"consumer"}, Config: config,
		Checks: []schema.Check{{AtLeastOneOf: []string{"config.certificate", "config.rewrite", "config.access", "config.header_filter", "config.body_filter", "config.log"}}},
		New:    func(c schema.Record, env gateway.Env) (any, error) { return newInstance(e, name, c, env) },
	}
}

// instance is one configuration.
type instance struct {
	engine   *lua.Engine
	unit     *lua.Unit
	code     map[lua.Phase][]*lua.Program
	parts    []any
	programs []*lua.Program
}

func newInstance(e *lua.Engine, name string, c schema.Record, env gateway.Env) (any, error) {
	in := &instance{engine: e, unit: &lua.Unit{Env: env, Name: name, Config: c}, code: map[lua.Phase][]*lua.Program{}}
	for _, phase := range phases {
		for i, source := range schema.Strings(c[string(phase)]) {
			p, err := e.Compile(fmt.Sprintf("%s:%s:%d", name, phase, i+1), source)
			if err != nil {
				return nil, err
			}
			in.code[phase] = append(in.code[phase], p)
			in.programs = append(in.programs, p)
		}
	}
	in.parts = lua.Parts(e, in.unit, func(phase lua.Phase) lua.Runner {
		if len(in.code[phase]) == 0 {
			return nil
		}
		return snippets(in.code[phase])
	})
	if len(in.code[lua.Certificate]) > 0 {
		return &asking{in}, nil
	}
	return in, nil
}

// snippets run one after the other; the first that fails or answers is the last.
type snippets []*lua.Program

// Run implements lua.Runner.
func (list snippets) Run(c *lua.Call) error {
	for _, p := range list {
		if err := c.Snippet(p); err != nil {
			return err
		}
	}
	return nil
}

// Parts implements gateway.Composite.
func (in *instance) Parts() []any { return in.parts }

// Close implements gateway.Closer.
func (in *instance) Close(context.Context) error {
	for _, p := range in.programs {
		p.Close()
	}
	return nil
}

// asking is an instance with code for handshakes.
type asking struct{ *instance }

// AsksCertificate implements gateway.HandshakeAsker.
func (a *asking) AsksCertificate(serverName string) bool {
	return a.engine.Asks(a.unit, serverName, snippets(a.code[lua.Certificate]))
}

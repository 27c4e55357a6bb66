package lua

import (
	"crypto/x509"
	"errors"
	"iter"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Expressions compiles the Lua of custom_fields_by_lua. It is not told of stored entities.
func (e *Engine) Expressions() record.Compile {
	unit := &Unit{Name: "custom_fields_by_lua", Env: gateway.Env{Clock: e.deps.Clock, Log: e.deps.Log, Directory: nothing{}}}
	return func(source string) (record.Expression, error) {
		p, err := e.Compile("custom_fields_by_lua", source)
		if err != nil {
			return nil, err
		}
		return func(x *gateway.Exchange) (any, error) {
			return e.Evaluate(x, unit, p, Log)
		}, nil
	}
}

// nothing is a directory of no entities.
type nothing struct{}

func (nothing) Consumer(string) (*gateway.Consumer, bool)              { return nil, false }
func (nothing) ByID(_, _ string) (schema.Record, bool)                 { return nil, false }
func (nothing) ByUnique(_, _, _ string) (schema.Record, bool)          { return nil, false }
func (nothing) ByTogether(string, schema.Record) (schema.Record, bool) { return nil, false }
func (nothing) Authorities() *gateway.Authorities                      { return new(gateway.Authorities) }
func (nothing) Leaves(string) []*x509.Certificate                      { return nil }
func (nothing) Each(string) iter.Seq[schema.Record]                    { return func(func(schema.Record) bool) {} }
func (nothing) Children(_, _, _ string) iter.Seq[schema.Record] {
	return func(func(schema.Record) bool) {}
}
func (nothing) Secret(string) (string, error) { return "", errors.New("no vault here") }

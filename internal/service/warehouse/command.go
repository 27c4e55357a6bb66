package warehouse

import (
	"context"
	"maps"
	"slices"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// command runs what only concerns the session.
func (s *Session) command(ctx context.Context, n node) (*Cursor, error) {
	switch n := n.(type) {
	case *setParameter:
		if n.name == "all" && n.value == nil {
			s.settings = newSettings(s.id, s.svc.cfg.Timeout)
			return done("RESET"), nil
		}
		if err := s.settings.set(n.name, n.value); err != nil {
			return nil, err
		}
		return done("SET"), nil
	case *showParameter:
		return s.show(n.name)
	case *control:
		return s.control(ctx, n.verb)
	}
	return nil, EngineError.new("a session command of an unknown kind")
}

func (s *Session) show(name string) (*Cursor, error) {
	if name == "all" {
		c := &Cursor{Columns: textColumns("name", "setting"), tag: "SHOW"}
		for _, k := range slices.Sorted(maps.Keys(s.settings.values)) {
			c.rows = append(c.rows, []wire.Cell{wire.Cell(k), append(wire.Cell{}, s.settings.values[k]...)})
		}
		return c, nil
	}
	v, ok := s.settings.values[name]
	if !ok {
		return nil, UndefinedObject.new("unrecognized configuration parameter \"%s\"", name)
	}
	return &Cursor{Columns: textColumns(name), rows: [][]wire.Cell{{append(wire.Cell{}, v...)}}, tag: "SHOW"}, nil
}

func textColumns(names ...string) []wire.Column {
	out := make([]wire.Column, len(names))
	for i, n := range names {
		out[i] = wire.Column{Name: n, Type: wire.Text}
	}
	return out
}

func (s *Session) control(ctx context.Context, verb string) (*Cursor, error) {
	switch verb {
	case "BEGIN":
		if s.state == InTransaction {
			return done("BEGIN", Notice{Message: "there is already a transaction in progress"}), nil
		}
		s.state = InTransaction
	case "COMMIT":
		if s.state == Failed {
			s.rollback()
			return done("ROLLBACK"), nil
		}
		if s.state == Autocommit {
			return done("COMMIT", Notice{Message: "there is no transaction in progress"}), nil
		}
		change := s.pending
		s.pending, s.state = nil, Autocommit
		if change != nil {
			if err := change.finish(caller.With(ctx, s.id)); err != nil {
				return nil, err
			}
		}
	case "ROLLBACK":
		if s.state == Autocommit {
			return done("ROLLBACK", Notice{Message: "there is no transaction in progress"}), nil
		}
		s.rollback()
	case "DISCARD ALL":
		if s.state != Autocommit {
			return nil, ActiveTransaction.new("DISCARD ALL cannot run inside a transaction block")
		}
		s.settings = newSettings(s.id, s.svc.cfg.Timeout)
	}
	return done(verb), nil
}

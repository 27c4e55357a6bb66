package component

import (
	"context"

	"sluice.dev/sluice/internal/agent/engine"
)

func routeOnAttribute() engine.Definition {
	const strategy = "Routing Strategy"
	return engine.Definition{
		Type: standard + "RouteOnAttribute", Description: "Sends flow files to the relationships whose conditions hold", Input: engine.InputRequired,
		Properties: []engine.Property{{Name: strategy, Default: byName, Required: true, Allowed: []string{byName, ifAll, ifAny}}},
		Dynamic: &engine.Dynamic{Name: "A relationship", Value: "A condition", Description: "The relationship gets what its condition holds for",
			Expression: true, Relationship: true},
		Relationships: []engine.Relationship{relationship("unmatched", "Flow files that no condition holds for")},
		Routes: func(s *engine.Settings) []string {
			if s.Text(strategy) == byName {
				return s.Added()
			}
			return []string{"matched"}
		},
		New: func(s *engine.Settings) (engine.Processor, error) {
			return &router{set: s, strategy: s.Text(strategy), names: s.Added()}, nil
		},
	}
}

const (
	byName = "Route to Property name"
	ifAll  = "Route to 'matched' if all match"
	ifAny  = "Route to 'matched' if any matches"
)

type router struct {
	set      *engine.Settings
	strategy string
	names    []string
}

func (r *router) Trigger(_ context.Context, s *engine.Session) error {
	list, err := s.GetBatch(100, 1<<40)
	if err != nil {
		return err
	}
	for _, f := range list {
		var matched []string
		for _, name := range r.names {
			holds, err := r.set.Template(name).Bool(r.set.Env(f))
			if err != nil { // the flow file is at fault, not the processor
				r.set.Log.Warn("a condition cannot be evaluated", "property", name, "uuid", f.ID(), "error", err)
			}
			if holds {
				matched = append(matched, name)
			}
		}
		switch {
		case r.strategy == ifAll && len(matched) == len(r.names) && len(matched) > 0, r.strategy == ifAny && len(matched) > 0:
			s.Transfer(f, "matched")
		case r.strategy == byName && len(matched) > 0:
			for _, name := range matched[1:] {
				s.Transfer(s.Clone(f), name)
			}
			f.Attributes["RouteOnAttribute.Route"] = matched[0]
			s.Transfer(f, matched[0])
		default:
			s.Transfer(f, "unmatched")
		}
	}
	return nil
}

package component

import (
	"context"
	"regexp"

	"sluice.dev/sluice/internal/agent/engine"
)

func updateAttribute() engine.Definition {
	const drop = "Delete Attributes Expression"
	return engine.Definition{
		Type: attributes + "UpdateAttribute", Description: "Sets and removes attributes", Input: engine.InputRequired,
		Properties: []engine.Property{
			{Name: drop, Description: "A regular expression of the names of attributes to remove", Check: engine.Regexp},
		},
		Dynamic:       &engine.Dynamic{Name: "An attribute", Value: "Its value", Description: "The attribute is set", Expression: true},
		Relationships: []engine.Relationship{success},
		New: func(s *engine.Settings) (engine.Processor, error) {
			u := &updater{set: s, names: s.Added()}
			if s.Text(drop) != "" {
				u.drop = regexp.MustCompile(`\A(?:` + s.Text(drop) + `)\z`) // checked
			}
			return u, nil
		},
	}
}

type updater struct {
	set   *engine.Settings
	names []string
	drop  *regexp.Regexp
}

func (u *updater) Trigger(_ context.Context, s *engine.Session) error {
	list, err := s.GetBatch(100, 1<<40)
	if err != nil {
		return err
	}
	for _, f := range list {
		values := make([]string, len(u.names)) // all of them see the attributes as they came
		for i, name := range u.names {
			if values[i], err = u.set.Eval(name, f); err != nil {
				return err
			}
		}
		for i, name := range u.names {
			if name != engine.AttrUUID {
				f.Attributes[name] = values[i]
			}
		}
		for name := range f.Attributes {
			if u.drop != nil && name != engine.AttrUUID && u.drop.MatchString(name) {
				delete(f.Attributes, name)
			}
		}
		s.Transfer(f, success.Name)
	}
	return nil
}

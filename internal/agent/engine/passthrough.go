package engine

import "context"

// passThrough moves flow files on: funnels and ports.
type passThrough struct{}

func (passThrough) Trigger(_ context.Context, s *Session) error {
	list, err := s.GetBatch(1000, 1<<40)
	for _, f := range list {
		s.Transfer(f, "")
	}
	return err
}

// ownDefinitions are the kinds of components that every engine has.
func ownDefinitions() []Definition {
	pass := func(t string) Definition {
		return Definition{Type: t, Relationships: []Relationship{{Name: ""}}, Input: InputAllowed,
			New: func(*Settings) (Processor, error) { return passThrough{}, nil }}
	}
	return []Definition{pass(FunnelType), pass(PortType)}
}

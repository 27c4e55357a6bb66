package engine

import "context"

// Types of the components that the engine brings itself.
const (
	funnelType = "org.apache.nifi.controller.StandardFunnel"
	portType   = "org.apache.nifi.connectable.Port"
)

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
	return []Definition{pass(funnelType), pass(portType)}
}

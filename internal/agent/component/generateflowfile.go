package component

import (
	"context"
	"crypto/rand"

	"sluice.dev/sluice/internal/agent/engine"
)

func generateFlowFile() engine.Definition {
	return engine.Definition{
		Type: standard + "GenerateFlowFile", Description: "Makes flow files of random or given content", Input: engine.InputForbidden,
		Properties: []engine.Property{
			{Name: "File Size", Description: "Length of random content", Default: "0B", Required: true, Check: engine.Size},
			{Name: "Batch Size", Description: "Flow files made at one time", Default: "1", Required: true, Check: engine.Integer(1, 10000)},
			{Name: "Data Format", Description: "Of random content", Default: "Text", Required: true, Allowed: []string{"Text", "Binary"}},
			{Name: "Unique FlowFiles", Description: "Whether each flow file of a batch has content of its own", Default: "false", Allowed: engine.Booleans()},
			{Name: "Custom Text", Description: "Content instead of random content", Expression: true},
			{Name: "Mime Type", Description: "Value of the attribute mime.type"},
		},
		Dynamic:       &engine.Dynamic{Name: "An attribute", Value: "Its value", Description: "Attributes of what is made", Expression: true},
		Relationships: []engine.Relationship{success},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &generator{set: s}, nil },
	}
}

type generator struct{ set *engine.Settings }

func (g *generator) Trigger(_ context.Context, s *engine.Session) error {
	var content []byte
	for i := range g.set.Int("Batch Size") {
		f := s.Create()
		if g.set.Text("Mime Type") != "" {
			f.Attributes[engine.AttrMime] = g.set.Text("Mime Type")
		}
		for _, name := range g.set.Added() {
			v, err := g.set.Eval(name, nil)
			if err != nil {
				return err
			}
			f.Attributes[name] = v
		}
		if i == 0 || g.set.Bool("Unique FlowFiles") || g.set.Text("Custom Text") != "" {
			var err error
			if content, err = g.content(f); err != nil {
				return err
			}
		}
		if err := s.WriteBytes(f, content); err != nil {
			return err
		}
		s.Transfer(f, success.Name)
	}
	return nil
}

func (g *generator) content(f *engine.FlowFile) ([]byte, error) {
	if g.set.Text("Custom Text") != "" {
		text, err := g.set.Eval("Custom Text", f)
		return []byte(text), err
	}
	b := make([]byte, min(g.set.Size("File Size"), maxText))
	_, _ = rand.Read(b) // never fails
	if g.set.Text("Data Format") == "Text" {
		const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ."
		for i := range b {
			b[i] = letters[b[i]&63]
		}
	}
	return b, nil
}

package component

import (
	"bytes"
	"context"
	"regexp"

	"sluice.dev/sluice/internal/agent/engine"
)

func replaceText() engine.Definition {
	strategies := []string{"Regex Replace", "Literal Replace", "Prepend", "Append", "Always Replace"}
	return engine.Definition{
		Type: standard + "ReplaceText", Description: "Replaces parts of the content", Input: engine.InputRequired,
		Properties: []engine.Property{
			{Name: "Replacement Strategy", Default: strategies[0], Required: true, Allowed: strategies},
			{Name: "Regular Expression", DisplayName: "Search Value", Description: "What is replaced", Default: `(?s)(^.*$)`},
			{Name: "Replacement Value", Description: "$1 is a group of the regular expression", Default: "$1", Expression: true},
			{Name: "Evaluation Mode", Description: "Whether the lines are replaced one by one", Default: "Line-by-Line", Required: true, Allowed: []string{"Line-by-Line", "Entire text"}},
			{Name: "Maximum Buffer Size", Description: "Longer content goes to failure", Default: "1 MB", Required: true, Check: engine.Size},
		},
		Relationships: []engine.Relationship{success, failure},
		New: func(s *engine.Settings) (engine.Processor, error) {
			r := &replacer{set: s, most: min(s.Size("Maximum Buffer Size"), maxText)}
			if s.Text("Replacement Strategy") == strategies[0] {
				re, err := regexp.Compile(s.Text("Regular Expression"))
				if err != nil {
					return nil, err
				}
				r.re = re
			}
			return r, nil
		},
	}
}

type replacer struct {
	set  *engine.Settings
	re   *regexp.Regexp
	most int64
}

// javaGroup is $1, which is ${1} to Go where letters follow.
var javaGroup = regexp.MustCompile(`\$(\d+)`)

func (r *replacer) Trigger(_ context.Context, s *engine.Session) error {
	list, err := s.GetBatch(100, maxText)
	if err != nil {
		return err
	}
	for _, f := range list {
		data, err := s.Bytes(f, r.most)
		if err == nil {
			data, err = r.replace(f, data)
		}
		if err != nil {
			fail(r.set, s, f, err)
			continue
		}
		if err := s.WriteBytes(f, data); err != nil {
			return err
		}
		s.Transfer(f, success.Name)
	}
	return nil
}

func (r *replacer) replace(f *engine.FlowFile, data []byte) ([]byte, error) {
	with, err := r.set.Eval("Replacement Value", f)
	if err != nil {
		return nil, err
	}
	one := r.one(with)
	var out []byte
	if r.set.Text("Evaluation Mode") == "Entire text" {
		out = one(data)
	} else {
		for line := range bytes.Lines(data) {
			text := bytes.TrimRight(line, "\r\n")
			out = append(append(out, one(text)...), line[len(text):]...)
			if int64(len(out)) > maxText {
				break
			}
		}
	}
	if int64(len(out)) > maxText {
		return nil, engine.TooLarge.New("the replaced content is longer than %d bytes", maxText)
	}
	return out, nil
}

// one returns what is done with a line or with the whole.
func (r *replacer) one(with string) func([]byte) []byte {
	search := []byte(r.set.Text("Regular Expression"))
	template := javaGroup.ReplaceAll([]byte(with), []byte("$${$1}"))
	switch r.set.Text("Replacement Strategy") {
	case "Regex Replace":
		return func(b []byte) []byte { return r.re.ReplaceAll(b, template) }
	case "Literal Replace":
		return func(b []byte) []byte { return bytes.ReplaceAll(b, search, []byte(with)) }
	case "Prepend":
		return func(b []byte) []byte { return append([]byte(with), b...) }
	case "Append":
		return func(b []byte) []byte { return append(bytes.Clone(b), with...) }
	}
	return func([]byte) []byte { return []byte(with) }
}

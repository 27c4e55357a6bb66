package component

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/agent/engine"
)

func splitText() engine.Definition {
	return engine.Definition{
		Type: standard + "SplitText", Description: "Makes flow files of some lines each", Input: engine.InputRequired,
		Properties: []engine.Property{
			{Name: "Line Split Count", Default: "1", Required: true, Check: engine.Integer(1, 1e9)},
			{Name: "Header Line Count", Description: "First lines that every split begins with", Default: "0", Required: true, Check: engine.Integer(0, 1000)},
			{Name: "Remove Trailing Newlines", Default: "true", Required: true, Allowed: engine.Booleans()},
		},
		Relationships: []engine.Relationship{relationship("splits", "The parts"), original, failure},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &splitter{set: s}, nil },
	}
}

type splitter struct{ set *engine.Settings }

// maxSplits bounds what one flow file is split into, as all of it is one session.
const maxSplits = 20000

func (p *splitter) Trigger(_ context.Context, s *engine.Session) error {
	f, err := s.Get()
	if f == nil {
		return err
	}
	parts, err := p.split(s, f)
	if err != nil {
		for _, part := range parts {
			s.Remove(part)
		}
		fail(p.set, s, f, err)
		return nil
	}
	id := uuid.NewString()
	for i, part := range parts {
		part.Attributes["fragment.identifier"] = id
		part.Attributes["fragment.index"] = strconv.Itoa(i + 1)
		part.Attributes["fragment.count"] = strconv.Itoa(len(parts))
		part.Attributes["segment.original.filename"] = f.Attributes[engine.AttrFilename]
		s.Transfer(part, "splits")
	}
	f.Attributes["fragment.identifier"], f.Attributes["fragment.count"] = id, strconv.Itoa(len(parts))
	s.Transfer(f, original.Name)
	return nil
}

func (p *splitter) split(s *engine.Session, f *engine.FlowFile) (parts []*engine.FlowFile, err error) {
	in := bufio.NewReaderSize(s.Read(f), 64<<10)
	var header, buf []byte
	lines, head := 0, p.set.Int("Header Line Count")
	flush := func() error {
		if lines == 0 {
			return nil
		}
		if len(parts) == maxSplits {
			return engine.TooLarge.New("there are more than %d parts", maxSplits)
		}
		if p.set.Bool("Remove Trailing Newlines") {
			buf = bytes.TrimRight(buf, "\r\n")
		}
		lines = 0
		if len(buf) == 0 {
			return nil
		}
		part := s.Create(f)
		parts = append(parts, part)
		err := s.WriteBytes(part, append(bytes.Clone(header), buf...))
		part.Attributes["text.line.count"] = strconv.Itoa(bytes.Count(buf, []byte{'\n'}) + 1)
		buf = buf[:0]
		return err
	}
	for {
		line, err := in.ReadBytes('\n')
		if len(header)+len(buf)+len(line) > maxText {
			return parts, engine.TooLarge.New("a part is longer than %d bytes", maxText)
		}
		switch {
		case len(line) == 0:
		case head > 0:
			head--
			header = append(header, line...)
		default:
			buf = append(buf, line...)
			lines++
		}
		if lines == p.set.Int("Line Split Count") {
			if err := flush(); err != nil {
				return parts, err
			}
		}
		if errors.Is(err, io.EOF) {
			return parts, flush()
		}
		if err != nil {
			return parts, err
		}
	}
}

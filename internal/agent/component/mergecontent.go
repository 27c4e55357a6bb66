package component

import (
	"context"
	"io"
	"strconv"
	"sync"
	"time"

	"sluice.dev/sluice/internal/agent/engine"
)

func mergeContent() engine.Definition {
	return engine.Definition{
		Type: standard + "MergeContent", Description: "Packs flow files into bins; the content of a bin, one after the other, is one flow file", Input: engine.InputRequired, WhenEmpty: true,
		Properties: []engine.Property{
			{Name: "Merge Strategy", Default: "Bin-Packing Algorithm", Required: true, Allowed: []string{"Bin-Packing Algorithm"}},
			{Name: "Merge Format", Default: "Binary Concatenation", Required: true, Allowed: []string{"Binary Concatenation"}},
			{Name: "Correlation Attribute Name", Description: "Flow files of one bin agree in this attribute"},
			{Name: "Minimum Number of Entries", Default: "1", Required: true, Check: engine.Integer(1, 1e6)},
			{Name: "Maximum Number of Entries", Default: "1000", Required: true, Check: engine.Integer(1, 1e6)},
			{Name: "Minimum Group Size", Default: "0 B", Required: true, Check: engine.Size},
			{Name: "Maximum Group Size", Check: engine.Size},
			{Name: "Max Bin Age", Description: "An older bin is merged as it is", Check: engine.Duration},
			{Name: "Maximum number of Bins", Description: "The oldest is merged where there would be more", Default: "5", Required: true, Check: engine.Integer(1, 1000)},
			{Name: "Header File", DisplayName: "Header", Expression: true},
			{Name: "Footer File", DisplayName: "Footer", Expression: true},
			{Name: "Demarcator File", DisplayName: "Demarcator", Description: "Text between two entries", Expression: true},
		},
		Relationships: []engine.Relationship{relationship("merged", "What was merged"), original, failure},
		New:           func(s *engine.Settings) (engine.Processor, error) { return &merger{set: s}, nil },
	}
}

type merger struct {
	set  *engine.Settings
	host *engine.Host

	mu   sync.Mutex // one task packs at a time
	bins []*bin     // the oldest first
}

// bin holds flow files in a session of its own until they are merged.
type bin struct {
	key     string
	session *engine.Session
	files   []*engine.FlowFile
	size    int64
	began   time.Time
}

// Start implements engine.Starter.
func (m *merger) Start(_ context.Context, h *engine.Host) error {
	m.host = h
	return nil
}

func (m *merger) Trigger(_ context.Context, s *engine.Session) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	list, err := s.GetBatch(1000, maxText)
	if err != nil {
		return err
	}
	for _, f := range list {
		if err := m.pack(s, f); err != nil {
			return err
		}
	}
	age, now := m.set.Duration("Max Bin Age"), m.set.Clock.Now()
	for i := 0; i < len(m.bins); {
		b := m.bins[i]
		if m.enough(b) && len(list) == 0 || age > 0 && now.Sub(b.began) >= age {
			if err := m.merge(i); err != nil {
				return err
			}
			continue
		}
		i++
	}
	if len(list) == 0 {
		s.Yield()
	}
	return nil
}

func (m *merger) enough(b *bin) bool {
	return len(b.files) >= m.set.Int("Minimum Number of Entries") && b.size >= m.set.Size("Minimum Group Size")
}

// pack puts f into its bin, and merges the bin that is full then.
func (m *merger) pack(s *engine.Session, f *engine.FlowFile) error {
	key := f.Attributes[m.set.Text("Correlation Attribute Name")]
	most := m.set.Size("Maximum Group Size")
	at := -1
	for i, b := range m.bins {
		if b.key == key {
			at = i
		}
	}
	if at >= 0 && most > 0 && m.bins[at].size+f.Size() > most {
		if err := m.merge(at); err != nil {
			return err
		}
		at = -1
	}
	if at < 0 {
		if len(m.bins) >= m.set.Int("Maximum number of Bins") {
			if err := m.merge(0); err != nil {
				return err
			}
		}
		m.bins = append(m.bins, &bin{key: key, session: m.host.Session(), began: m.set.Clock.Now()})
		at = len(m.bins) - 1
	}
	b := m.bins[at]
	if err := s.Move(f, b.session); err != nil {
		return err
	}
	b.files = append(b.files, f)
	b.size += f.Size()
	if len(b.files) >= m.set.Int("Maximum Number of Entries") || most > 0 && b.size >= most {
		return m.merge(at)
	}
	return nil
}

// merge makes one flow file of a bin, which is gone then, whatever happens: after a failure
// its flow files are back in their queues.
func (m *merger) merge(i int) error {
	b := m.bins[i]
	m.bins = append(m.bins[:i], m.bins[i+1:]...)
	err := m.fill(b)
	if err == nil {
		err = b.session.Commit()
	}
	if err != nil {
		b.session.Rollback(true)
	}
	return err
}

func (m *merger) fill(b *bin) error {
	s := b.session
	out := s.Create(b.files...)
	texts := map[string]string{}
	for _, name := range []string{"Header File", "Footer File", "Demarcator File"} {
		v, err := m.set.Eval(name, b.files[0])
		if err != nil {
			return err
		}
		texts[name] = v
	}
	err := s.Write(out, func(w io.Writer) error {
		if _, err := io.WriteString(w, texts["Header File"]); err != nil {
			return err
		}
		for i, f := range b.files {
			if i > 0 {
				if _, err := io.WriteString(w, texts["Demarcator File"]); err != nil {
					return err
				}
			}
			if _, err := io.Copy(w, s.Read(f)); err != nil {
				return err
			}
		}
		_, err := io.WriteString(w, texts["Footer File"])
		return err
	})
	if err != nil {
		return err
	}
	out.Attributes["merge.count"] = strconv.Itoa(len(b.files))
	out.Attributes["merge.bin.age"] = strconv.FormatInt(m.set.Clock.Now().Sub(b.began).Milliseconds(), 10)
	if _, ok := out.Attributes[engine.AttrFilename]; !ok {
		out.Attributes[engine.AttrFilename] = out.ID()
	}
	s.Transfer(out, "merged")
	for _, f := range b.files {
		s.Transfer(f, original.Name)
	}
	return nil
}

package component_test

import (
	"context"
	"io"
	"log/slog"
	"maps"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// rig runs one processor between a source that the test feeds and a sink for each of its
// relationships.
type rig struct {
	t   *testing.T
	e   *engine.Engine
	in  chan got
	out chan got
	log *logged
}

type got struct {
	rel, content string
	attributes   map[string]string
}

// logged hands log lines to the test.
type logged struct{ lines chan slog.Record }

func (l *logged) Enabled(context.Context, slog.Level) bool { return true }
func (l *logged) Handle(_ context.Context, r slog.Record) error {
	select {
	case l.lines <- r:
	default:
	}
	return nil
}
func (l *logged) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *logged) WithGroup(string) slog.Handler      { return l }

type trigger func(context.Context, *engine.Session) error

func (f trigger) Trigger(ctx context.Context, s *engine.Session) error { return f(ctx, s) }

func newRig(t *testing.T, kind string, properties map[string]string, services ...*flow.ControllerService) *rig {
	t.Helper()
	r := &rig{t: t, in: make(chan got, 1000), out: make(chan got, 1000), log: &logged{lines: make(chan slog.Record, 1000)}}
	defs := append(component.Catalogue(),
		engine.Definition{Type: "test.Source", Input: engine.InputForbidden, Relationships: []engine.Relationship{{Name: "success"}},
			New: func(*engine.Settings) (engine.Processor, error) { return trigger(r.source), nil }},
		engine.Definition{Type: "test.Sink", Input: engine.InputRequired, Properties: []engine.Property{{Name: "rel"}},
			New: func(s *engine.Settings) (engine.Processor, error) { return trigger(r.sink(s.Text("rel"))), nil }})
	e, err := engine.Open(t.Context(), engine.Config{Dir: t.TempDir(), Grace: 2 * time.Second}, engine.Deps{Definitions: defs, Log: slog.New(r.log), Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	r.e = e
	var def *engine.Definition
	for i := range defs {
		if defs[i].Name() == kind {
			def = &defs[i]
		}
	}
	group := &flow.Group{Services: services}
	add := func(id, kind string, properties map[string]string) {
		group.Processors = append(group.Processors, &flow.Processor{Head: flow.Head{ID: id, Name: id}, Type: kind, Properties: properties,
			Period: "0 sec", Yield: "5 ms", Penalty: "5 ms"})
	}
	connect := func(id, from, to, relationship string) {
		group.Connections = append(group.Connections, &flow.Connection{Head: flow.Head{ID: id}, Source: flow.End{ID: from}, Destination: flow.End{ID: to},
			Relationships: []string{relationship}, MaxSize: "0 B", Expiration: "0 sec"})
	}
	add("it", kind, properties)
	rels := []string{}
	for _, rel := range def.Relationships {
		rels = append(rels, rel.Name)
	}
	if kind == "RouteOnAttribute" {
		for name := range maps.Keys(properties) {
			rels = append(rels, name)
		}
	}
	for _, rel := range rels {
		add("to "+rel, "test.Sink", map[string]string{"rel": rel})
		connect("c "+rel, "it", "to "+rel, rel)
	}
	if def.Input != engine.InputForbidden {
		add("from", "test.Source", nil)
		connect("c", "from", "it", "success")
	}
	if err := e.Apply(t.Context(), &flow.Flow{Root: group}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) source(_ context.Context, s *engine.Session) error {
	select {
	case g := <-r.in:
		f := s.Create()
		maps.Copy(f.Attributes, g.attributes)
		s.Transfer(f, "success")
		return s.WriteBytes(f, []byte(g.content))
	default:
		s.Yield()
		return nil
	}
}

func (r *rig) sink(rel string) trigger {
	return func(_ context.Context, s *engine.Session) error {
		f, err := s.Get()
		if f == nil {
			return err
		}
		b, err := io.ReadAll(s.Read(f))
		r.out <- got{rel, string(b), f.Attributes}
		s.Remove(f)
		return err
	}
}

func (r *rig) send(content string, attributes ...string) {
	a := map[string]string{}
	for i := 0; i+1 < len(attributes); i += 2 {
		a[attributes[i]] = attributes[i+1]
	}
	r.in <- got{content: content, attributes: a}
}

// next is what comes out.
func (r *rig) next() got {
	r.t.Helper()
	select {
	case g := <-r.out:
		return g
	case <-time.After(15 * time.Second):
		r.t.Fatal("nothing comes")
		return got{}
	}
}

// want checks what comes out next of each relationship, in any order between them.
func (r *rig) want(want ...got) {
	r.t.Helper()
	left := map[string][]string{}
	for _, w := range want {
		left[w.rel] = append(left[w.rel], w.content)
	}
	for range want {
		g := r.next()
		if list := left[g.rel]; len(list) == 0 || list[0] != g.content {
			r.t.Fatalf("%s: %.100q came, want %.100q", g.rel, g.content, left)
		}
		left[g.rel] = left[g.rel][1:]
	}
}

// address waits for the log line of a listener.
func (r *rig) address() string {
	r.t.Helper()
	for {
		select {
		case line := <-r.log.lines:
			address := ""
			line.Attrs(func(a slog.Attr) bool {
				if a.Key == "address" {
					address = a.Value.String()
				}
				return address == ""
			})
			if line.Message == "listening" {
				return address
			}
		case <-time.After(10 * time.Second):
			r.t.Fatal("nothing listens")
		}
	}
}

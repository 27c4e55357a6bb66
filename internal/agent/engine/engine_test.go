package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// source makes what the test puts into its channel; sink gives what comes to it, until the
// test lets it.
type bench struct {
	in     chan string
	out    chan string
	hold   atomic.Bool // the sink fails
	refuse string      // a mover of this suffix does not start
}

func (b *bench) definitions() []engine.Definition {
	success := []engine.Relationship{{Name: "success"}}
	return []engine.Definition{
		{Type: "test.Source", Input: engine.InputForbidden, Relationships: success,
			New: func(*engine.Settings) (engine.Processor, error) { return trigger(b.source), nil }},
		{Type: "test.Move", Input: engine.InputRequired, Relationships: success, Properties: []engine.Property{{Name: "Suffix", Expression: true}},
			New: func(s *engine.Settings) (engine.Processor, error) { return &mover{b, s}, nil }},
		{Type: "test.Sink", Input: engine.InputRequired,
			New: func(*engine.Settings) (engine.Processor, error) { return trigger(b.sink), nil }},
	}
}

type trigger func(context.Context, *engine.Session) error

func (t trigger) Trigger(ctx context.Context, s *engine.Session) error { return t(ctx, s) }

func (b *bench) source(_ context.Context, s *engine.Session) error {
	select {
	case text := <-b.in:
		f := s.Create()
		f.Attributes["priority"] = text
		s.Transfer(f, "success")
		return s.WriteBytes(f, []byte(text))
	default:
		s.Yield()
		return nil
	}
}

func (b *bench) sink(_ context.Context, s *engine.Session) error {
	if b.hold.Load() {
		s.Yield()
		return nil
	}
	f, err := s.Get()
	if f == nil {
		return err
	}
	data, err := s.Bytes(f, 1<<30)
	if err != nil {
		return err
	}
	b.out <- string(data)
	s.Remove(f)
	return nil
}

type mover struct {
	b   *bench
	set *engine.Settings
}

func (m *mover) Start(context.Context, *engine.Host) error {
	if m.b.refuse != "" && m.set.Text("Suffix") == m.b.refuse {
		return errors.New("the port is taken")
	}
	return nil
}

func (m *mover) Trigger(_ context.Context, s *engine.Session) error {
	f, err := s.Get()
	if f == nil {
		return err
	}
	data, err := s.Bytes(f, 1<<30)
	if err != nil {
		return err
	}
	suffix, err := m.set.Eval("Suffix", f)
	if err != nil {
		return err
	}
	if suffix == "panic" {
		panic("asked for")
	}
	s.Transfer(f, "success")
	return s.WriteBytes(f, append(data, suffix...))
}

var (
	discard = slog.New(slog.DiscardHandler)
	system  = clock.System{}
)

func newBench() *bench { return &bench{in: make(chan string, 10000), out: make(chan string, 10000)} }

func (b *bench) open(t *testing.T, dir string, c engine.Config) *engine.Engine {
	t.Helper()
	c.Dir, c.Grace = dir, time.Second
	e, err := engine.Open(t.Context(), c, engine.Deps{Definitions: b.definitions(), Log: discard, Clock: system})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func (b *bench) want(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-b.out:
			if got != w {
				t.Fatalf("%.60q came, not %.60q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%.60q did not come", w)
		}
	}
}

// processor is one of a flow; connection is one between two.
func processor(id, kind string, properties map[string]string) *flow.Processor {
	return &flow.Processor{Head: flow.Head{ID: id, Name: id}, Type: kind, Properties: properties, Period: "0 sec", Yield: "5 ms", Penalty: "5 ms"}
}

func connection(id, from, to string, relationships ...string) *flow.Connection {
	return &flow.Connection{Head: flow.Head{ID: id}, Source: flow.End{ID: from}, Destination: flow.End{ID: to}, Relationships: relationships,
		MaxSize: "0 B", Expiration: "0 sec"}
}

// line is source → move → sink.
func line(suffix string) *flow.Flow {
	return &flow.Flow{Root: &flow.Group{
		Processors: []*flow.Processor{
			processor("src", "test.Source", nil),
			processor("mv", "test.Move", map[string]string{"Suffix": suffix}),
			processor("snk", "test.Sink", nil),
		},
		Connections: []*flow.Connection{connection("c1", "src", "mv", "success"), connection("c2", "mv", "snk", "success")},
	}}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestFlow(t *testing.T) {
	b := newBench()
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Apply(t.Context(), line("!${priority}")); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("x", 700<<10) // three chunks
	for _, s := range []string{"a", "b", large} {
		b.in <- s
	}
	b.want(t, "a!a", "b!b")
	if got := <-b.out; got != large+"!"+large {
		t.Errorf("%d bytes came", len(got))
	}
	eventually(t, "the repository is not empty again", func() bool { return e.Status().Used == 0 })
	st := e.Status()
	if p := st.Processors[1]; p.In != 3 || p.Out != 3 || p.BytesIn != int64(len(large))+2 || !p.Running {
		t.Errorf("figures: %+v", p)
	}
}

func TestWhatWaitsSurvivesARestart(t *testing.T) {
	b, dir := newBench(), t.TempDir()
	b.hold.Store(true)
	e := b.open(t, dir, engine.Config{})
	if err := e.Apply(t.Context(), line("")); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat("y", 600<<10)
	b.in <- large
	b.in <- "2"
	eventually(t, "nothing waits", func() bool { return e.Status().Queues[1].Count == 2 })
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	used := e.Status().Used
	b.hold.Store(false)
	e = b.open(t, dir, engine.Config{})
	if got := e.Status().Used; got != used {
		t.Errorf("%d bytes are used after the restart, %d before", got, used)
	}
	if err := e.Apply(t.Context(), line("")); err != nil {
		t.Fatal(err)
	}
	b.want(t, large, "2")
	eventually(t, "the repository is not empty", func() bool { return e.Status().Used == 0 })
}

func TestBackPressure(t *testing.T) {
	for name, limit := range map[string]func(*flow.Connection){
		"count": func(c *flow.Connection) { c.MaxObjects = 3 },
		"size":  func(c *flow.Connection) { c.MaxSize = "3 B" },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench()
			b.hold.Store(true)
			e := b.open(t, t.TempDir(), engine.Config{})
			f := line("")
			limit(f.Root.Connections[0])
			limit(f.Root.Connections[1])
			if err := e.Apply(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			for i := range 9 {
				b.in <- fmt.Sprint(i)
			}
			eventually(t, "the queues do not fill", func() bool {
				q := e.Status().Queues
				return q[0].Count == 3 && q[1].Count == 3
			})
			time.Sleep(50 * time.Millisecond) // more would come now
			if n := len(b.in); n != 3 {
				t.Errorf("%d wait at the source", n)
			}
			b.hold.Store(false)
			b.want(t, "0", "1", "2", "3", "4", "5", "6", "7", "8")
		})
	}
}

func TestAFullRepositoryHoldsSourcesBack(t *testing.T) {
	b := newBench()
	b.hold.Store(true)
	e := b.open(t, t.TempDir(), engine.Config{MaxBytes: 20 << 10})
	if err := e.Apply(t.Context(), line("")); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		b.in <- strings.Repeat("z", 8<<10)
	}
	eventually(t, "nothing came", func() bool { return e.Status().Used > 20<<10 })
	time.Sleep(50 * time.Millisecond)
	if n := len(b.in); n < 6 {
		t.Errorf("only %d wait at the source", n)
	}
	b.hold.Store(false)
	eventually(t, "the rest does not come", func() bool { return len(b.out) == 10 })
}

func TestAnInvalidFlowChangesNothing(t *testing.T) {
	b := newBench()
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Apply(t.Context(), line("1")); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*flow.Flow){
		"unknown type":         func(f *flow.Flow) { f.Root.Processors[1].Type = "test.Nothing" },
		"has no property":      func(f *flow.Flow) { f.Root.Processors[1].Properties["Other"] = "x" },
		"neither connected":    func(f *flow.Flow) { f.Root.Connections = f.Root.Connections[:1] },
		"not in the flow":      func(f *flow.Flow) { f.Root.Connections[0].Destination.ID = "gone" },
		"no relationship":      func(f *flow.Flow) { f.Root.Connections[0].Relationships = []string{"other"} },
		"two connections have": func(f *flow.Flow) { f.Root.Connections[1].ID = "c1" },
		"property \"Suffix\"":  func(f *flow.Flow) { f.Root.Processors[1].Properties["Suffix"] = "${" },
		"unknown prioritizer":  func(f *flow.Flow) { f.Root.Connections[0].Prioritizers = []string{"Mine"} },
		"is not a cron schedule": func(f *flow.Flow) {
			f.Root.Processors[0].Strategy, f.Root.Processors[0].Period = "CRON_DRIVEN", "* * *"
		},
		"takes no incoming":        func(f *flow.Flow) { f.Root.Connections[1].Destination.ID = "src" },
		"needs an incoming":        func(f *flow.Flow) { f.Root.Connections[0].Destination.ID = "snk" },
		"concurrent tasks are mor": func(f *flow.Flow) { f.Root.Processors[0].Tasks = 1000 },
	} {
		f := line("2")
		spoil(f)
		if err := e.Apply(t.Context(), f); err == nil || !strings.Contains(err.Error(), want) || !engine.InvalidFlow.Is(err) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	b.in <- "a"
	b.want(t, "a1")
}

func TestHotSwap(t *testing.T) {
	b := newBench()
	b.hold.Store(true)
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Apply(t.Context(), line("1")); err != nil {
		t.Fatal(err)
	}
	b.in <- "a"
	eventually(t, "nothing waits", func() bool { return e.Status().Queues[1].Count == 1 })

	if err := e.Apply(t.Context(), line("3")); err != nil {
		t.Fatal(err)
	}
	b.in <- "b"
	eventually(t, "the new flow does not work", func() bool { return e.Status().Queues[1].Count == 2 })

	other := line("4") // without the connection that holds something
	other.Root.Connections[1].ID = "c3"
	if err := e.Apply(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if q := e.Status().Queues[1]; q.ID != "c2" || q.Count != 2 || !q.Orphan {
		t.Errorf("the connection that is no more: %+v", q)
	}
	b.hold.Store(false)
	b.in <- "c"
	b.want(t, "c4")
	if err := e.Apply(t.Context(), line("5")); err != nil {
		t.Fatal(err)
	}
	b.want(t, "a1", "b3")
}

func TestTheOldFlowGoesOnWhereTheNewOneDoesNotStart(t *testing.T) {
	b := newBench()
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Apply(t.Context(), line("1")); err != nil {
		t.Fatal(err)
	}
	b.refuse = "2"
	if err := e.Apply(t.Context(), line("2")); err == nil || !strings.Contains(err.Error(), "the port is taken") {
		t.Errorf("a flow that does not start: %v", err)
	}
	b.in <- "a"
	b.want(t, "a1")
}

func TestStartStopAndClear(t *testing.T) {
	b := newBench()
	b.hold.Store(true)
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Start(t.Context()); !engine.NotStarted.Is(err) {
		t.Errorf("no flow: %v", err)
	}
	if err := e.Apply(t.Context(), line("")); err != nil {
		t.Fatal(err)
	}
	if err := e.StopProcessor("mv"); err != nil {
		t.Fatal(err)
	}
	b.in <- "a"
	b.in <- "b"
	eventually(t, "nothing waits", func() bool { return e.Status().Queues[0].Count == 2 })
	if n, err := e.Clear("c1"); n != 2 || err != nil {
		t.Errorf("cleared %d, %v", n, err)
	}
	if e.Status().Used != 0 {
		t.Errorf("%d bytes are used", e.Status().Used)
	}
	if _, err := e.Clear("nope"); !engine.NotFound.Is(err) {
		t.Errorf("an unknown connection: %v", err)
	}
	if err := e.StartProcessor(t.Context(), "nope"); !engine.NotFound.Is(err) {
		t.Errorf("an unknown processor: %v", err)
	}
	e.Stop()
	b.hold.Store(false)
	b.in <- "c"
	if err := e.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, "c")
}

func TestAPanicIsABulletinAndLosesNothing(t *testing.T) {
	b := newBench()
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Apply(t.Context(), line("panic")); err != nil {
		t.Fatal(err)
	}
	b.in <- "a"
	eventually(t, "no bulletin", func() bool { return len(e.Status().Bulletins) > 0 })
	if got := e.Status().Bulletins[0]; got.SourceID != "mv" || got.Level != "ERROR" || !strings.Contains(got.Message, "asked for") {
		t.Errorf("%+v", got)
	}
	if err := e.Apply(t.Context(), line("!")); err != nil {
		t.Fatal(err)
	}
	b.want(t, "a!")
}

func TestOrderAndExpiry(t *testing.T) {
	b := newBench()
	e := b.open(t, t.TempDir(), engine.Config{})
	f := line("")
	f.Root.Connections[0].Prioritizers = []string{"PriorityAttributePrioritizer"}
	if err := e.Apply(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if err := e.StopProcessor("mv"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"x", "10", "9", "", "a"} {
		b.in <- s
	}
	eventually(t, "they do not wait", func() bool { return e.Status().Queues[0].Count == 5 })
	if err := e.StartProcessor(t.Context(), "mv"); err != nil {
		t.Fatal(err)
	}
	b.want(t, "9", "10", "a", "x", "")

	f = line("")
	f.Root.Connections[1].Expiration = "1 ms"
	b.hold.Store(true)
	if err := e.Apply(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	b.in <- "old"
	eventually(t, "it does not wait", func() bool { return e.Status().Queues[1].Count == 1 })
	time.Sleep(5 * time.Millisecond)
	b.hold.Store(false)
	eventually(t, "it does not expire", func() bool { return e.Status().Used == 0 })
	if len(b.out) != 0 || e.Status().Processors[2].Expired != 1 {
		t.Errorf("%d came, figures %+v", len(b.out), e.Status().Processors[2])
	}
}

func TestManyTasksLoseAndDoubleNothing(t *testing.T) {
	b := newBench()
	e := b.open(t, t.TempDir(), engine.Config{})
	f := line("")
	for i := range f.Root.Processors {
		f.Root.Processors[i].Tasks = 4
	}
	f.Root.Funnels = []*flow.Funnel{{Head: flow.Head{ID: "fun"}}}
	f.Root.Connections[1].Destination.ID = "fun"
	f.Root.Connections[1].MaxObjects = 10
	f.Root.Connections = append(f.Root.Connections, connection("c3", "fun", "snk"))
	if err := e.Apply(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range n {
		b.in <- fmt.Sprint(i)
	}
	seen := sync.Map{}
	for range n {
		select {
		case s := <-b.out:
			if _, twice := seen.LoadOrStore(s, true); twice {
				t.Errorf("%s came twice", s)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("some did not come")
		}
	}
}

// A task that does not end when it is told to takes no thread of the flow after it.
func TestATaskThatEndsLate(t *testing.T) {
	b := newBench()
	began, end := make(chan struct{}), make(chan struct{})
	stuck := engine.Definition{Type: "test.Stuck", Input: engine.InputForbidden, New: func(*engine.Settings) (engine.Processor, error) {
		return trigger(func(context.Context, *engine.Session) error {
			close(began)
			<-end
			return nil
		}), nil
	}}
	e, err := engine.Open(t.Context(), engine.Config{Dir: t.TempDir(), Grace: time.Millisecond},
		engine.Deps{Definitions: append(b.definitions(), stuck), Log: discard, Clock: system})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	alone := func(p *flow.Processor) *flow.Flow {
		p.AutoTerminated = []string{"success"}
		return &flow.Flow{Threads: 1, Root: &flow.Group{Processors: []*flow.Processor{p}}}
	}
	if err := e.Apply(t.Context(), alone(processor("stuck", "test.Stuck", nil))); err != nil {
		t.Fatal(err)
	}
	<-began
	if err := e.Apply(t.Context(), alone(processor("src", "test.Source", nil))); err != nil {
		t.Fatal(err)
	}
	close(end)
	for range 20 {
		b.in <- "x"
		eventually(t, "the new flow stands still", func() bool { return len(b.in) == 0 })
	}
}

func TestAFirstFlowThatDoesNotStartIsNone(t *testing.T) {
	b := newBench()
	b.refuse = "1"
	e := b.open(t, t.TempDir(), engine.Config{})
	if err := e.Apply(t.Context(), line("1")); !engine.NotStarted.Is(err) {
		t.Fatal(err)
	}
	if e.Flow() != nil || e.Running() {
		t.Errorf("the engine runs %+v", e.Flow())
	}
}

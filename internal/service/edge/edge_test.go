package edge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// as is a context of a caller.
func as(t testing.TB, user string) context.Context {
	return caller.With(t.Context(), caller.Identity{Root: user == "root", UserName: user, ARN: "arn:aws:iam::1:user/" + user})
}

// clock is a clock that is moved.
type clock struct{ at atomic.Int64 }

func (c *clock) Now() time.Time { return time.Now().Add(time.Duration(c.at.Load())) }

func (c *clock) forward(d time.Duration) { c.at.Add(int64(d)) }

// mesh connects the services of a test, as nodes.
type mesh struct {
	mu    sync.Mutex
	nodes map[string]*edge.Service
}

type link struct {
	m    *mesh
	name string
}

func (l link) others() []*edge.Service {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	var out []*edge.Service
	for n, s := range l.m.nodes {
		if n != l.name {
			out = append(out, s)
		}
	}
	return out
}

func (l link) Cast(topic string, body []byte) {
	for _, s := range l.others() {
		s.News()[topic](l.name, body)
	}
}

func (l link) Ask(ctx context.Context, topic string, body []byte) map[string][]byte {
	out := map[string][]byte{}
	for i, s := range l.others() {
		if answer, err := s.Topics()[topic](ctx, l.name, body); err == nil {
			out[fmt.Sprint(i)] = answer
		}
	}
	return out
}

// node is a running service.
type node struct {
	*edge.Service
	store *store.Store
	clock *clock
	log   *logText
	stop  func()
}

// logText is what a node has logged.
type logText struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (m *mesh) start(t testing.TB, url, name string, c edge.Config, ttl time.Duration) *node {
	t.Helper()
	text := new(logText)
	log := slog.New(slog.NewTextHandler(text, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := store.Open(t.Context(), store.Config{URL: url, Key: [32]byte{1}, Poll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	k, err := lease.New(t.Context(), lease.Config{Node: name, Owner: name, TTL: ttl}, lease.Deps{Store: s, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{store: s, clock: new(clock), log: text}
	c.Node = name
	n.Service = edge.New(c, edge.Deps{Store: s, Auth: edgetest.Rights{}, Leases: k, Peers: link{m, name}, Clock: n.clock, Log: log})
	m.mu.Lock()
	m.nodes[name] = n.Service
	m.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, loop := range []func(context.Context) error{s.Run, k.Run, n.Run} {
		all.Go(func() { _ = loop(ctx) })
	}
	n.stop = sync.OnceFunc(func() {
		m.mu.Lock()
		delete(m.nodes, name)
		m.mu.Unlock()
		cancel()
		all.Wait()
		_ = k.Close(context.Background())
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(n.stop)
	return n
}

// alone is a node alone, on SQLite.
func alone(t testing.TB, c edge.Config) *node {
	m := &mesh{nodes: map[string]*edge.Service{}}
	return m.start(t, "sqlite://"+filepath.Join(t.TempDir(), "control.db"), "alone", c, 0)
}

// agent is a simulated agent.
type agent struct {
	id, class, hash, flow, resources string
	device                           string
	got                              []edge.Operation
}

func (a *agent) heartbeat() *edge.Heartbeat {
	return &edge.Heartbeat{Agent: a.id, Class: a.class, ManifestHash: a.hash, FlowID: a.flow, ResourceHash: a.resources,
		Device: edge.Device{ID: a.device}, Peer: edge.Peer{Address: "127.0.0.1"}, Raw: []byte(`{"agent":"` + a.id + `"}`)}
}

// beat reports to a node.
func (a *agent) beat(t testing.TB, n *node) []edge.Operation {
	t.Helper()
	ops, err := edgetest.Heartbeat(context.Background(), n, a.heartbeat())
	if err != nil {
		t.Fatalf("%s: %v", a.id, err)
	}
	a.got = append(a.got, ops...)
	return ops
}

// obey carries out operations as a good agent does, and acknowledges to a node.
func (a *agent) obey(t testing.TB, n *node, ops []edge.Operation, state string) {
	t.Helper()
	for _, o := range ops {
		r := &edge.Result{Operation: o.ID, State: state, Agent: a.id}
		switch {
		case o.Operation == "DESCRIBE" && o.Operand == "manifest":
			r.Report = a.heartbeat()
			r.Report.Manifest = edgetest.Manifest("java")
		case state != "FULLY_APPLIED":
		case o.Operand == "configuration":
			a.flow = o.Args["flowId"].(string)
		case o.Operand == "resource":
			a.resources = o.Args["globalHash"].(map[string]any)["digest"].(string)
		}
		if err := n.Acknowledge(context.Background(), r); err != nil {
			t.Fatalf("%s: %+v: %v", a.id, o, err)
		}
	}
}

func agents(n int, class string) []*agent {
	out := make([]*agent, n)
	for i := range out {
		out[i] = &agent{id: fmt.Sprintf("agent-%03d", i), class: class, hash: "hash-1", device: fmt.Sprintf("device-%d", i)}
	}
	return out
}

// known makes agents known, with their manifest.
func known(t testing.TB, n *node, all []*agent) {
	t.Helper()
	h := all[0].heartbeat()
	h.Manifest = edgetest.Manifest("java")
	if _, err := edgetest.Heartbeat(context.Background(), n, h); err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		a.beat(t, n)
	}
}

// draw puts a small flow into a class's draft.
func draw(t testing.TB, n *node, class, period string) edge.FlowInfo {
	t.Helper()
	ctx := as(t, "root")
	info, err := n.FlowOf(ctx, class)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.EditFlow(ctx, info.ID, func(f *flow.Flow) (*flow.Flow, error) {
		const make, put = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
		if c, _, ok := f.Find(make); ok {
			p := *c.(*flow.Processor)
			p.Period = period
			return flow.Apply(f, flow.Change{Action: flow.Update, Component: &p, Revision: p.Revision})
		}
		return flow.Apply(f,
			flow.Change{Action: flow.Create, Group: f.Root.ID, Component: &flow.Processor{Head: flow.Head{ID: make, Name: "make"},
				Type: "org.apache.nifi.processors.standard.GenerateFlowFile", Strategy: "TIMER_DRIVEN", Period: period, Tasks: 1, Penalty: "30 sec", Yield: "1 sec", Bulletins: "WARN"}},
			flow.Change{Action: flow.Create, Group: f.Root.ID, Component: &flow.Processor{Head: flow.Head{ID: put, Name: "log"},
				Type: "org.apache.nifi.processors.standard.LogAttribute", Strategy: "TIMER_DRIVEN", Period: "0 sec", Tasks: 1, Penalty: "30 sec", Yield: "1 sec", Bulletins: "WARN", AutoTerminated: []string{"success"}}},
			flow.Change{Action: flow.Create, Group: f.Root.ID, Component: &flow.Connection{Head: flow.Head{ID: "33333333-3333-4333-8333-333333333333"},
				Source: flow.End{ID: make}, Destination: flow.End{ID: put}, Relationships: []string{"success"}, MaxObjects: 10000, MaxSize: "1 GB", Expiration: "0 sec"}})
	}); err != nil {
		t.Fatal(err)
	}
	return info
}

func publish(t testing.TB, n *node, id string, p edge.Plan) (edge.FlowVersion, edge.Rollout) {
	t.Helper()
	v, r, err := n.Publish(as(t, "root"), id, "", p)
	if err != nil {
		t.Fatal(err)
	}
	return v, r
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestOneAgentIsAskedForAManifest(t *testing.T) {
	url := dbtest.Postgres(t).URL
	m := &mesh{nodes: map[string]*edge.Service{}}
	nodes := []*node{m.start(t, url, "a", edge.Config{}, time.Minute), m.start(t, url, "b", edge.Config{}, time.Minute)}
	all := agents(400, "new")
	var wg sync.WaitGroup
	var asked atomic.Int32
	began := time.Now()
	for i, a := range all {
		wg.Go(func() {
			for _, o := range a.beat(t, nodes[i%2]) {
				if o.Operation == "DESCRIBE" && o.Operand == "manifest" {
					asked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := asked.Load(); n != 1 {
		t.Fatalf("%d agents were asked", n)
	}
	t.Logf("%d first heartbeats in %s", len(all), time.Since(began))
	i := slices.IndexFunc(all, func(a *agent) bool { return len(a.got) > 0 })
	all[i].obey(t, nodes[(i+1)%2], all[i].got, "FULLY_APPLIED") // the other node takes the answer
	until(t, "the class has the manifest on every node", func() bool {
		for _, n := range nodes {
			if c, err := n.Class(as(t, "root"), "new"); err != nil || c.Manifest != "hash-1" {
				return false
			}
		}
		return true
	})
	for _, a := range all {
		if ops := a.beat(t, nodes[0]); len(ops) != 0 {
			t.Fatalf("%s is asked again: %+v", a.id, ops)
		}
	}
	until(t, "all agents are listed", func() bool {
		page, err := nodes[1].Agents(as(t, "root"), "new", "", 1000)
		return err == nil && len(page.Agents) == 400
	})
}

func TestARolloutGoesInWaves(t *testing.T) {
	url := dbtest.Postgres(t).URL
	m := &mesh{nodes: map[string]*edge.Service{}}
	nodes := []*node{m.start(t, url, "a", edge.Config{}, time.Minute), m.start(t, url, "b", edge.Config{}, time.Minute)}
	all := agents(200, "pumps")
	known(t, nodes[0], all)
	info := draw(t, nodes[0], "pumps", "1 sec")
	v, r := publish(t, nodes[0], info.ID, edge.Plan{Waves: []edge.Wave{{Agents: 3}, {Percent: 20}}})
	if _, _, err := nodes[0].Publish(as(t, "root"), info.ID, "", edge.Plan{}); !edge.RolloutUnderWay.Is(err) {
		t.Errorf("publishing while a rollout is under way: %v", err)
	}
	widest := 0
	until(t, "the rollout ends", func() bool {
		for i, a := range all {
			n := nodes[i%2]
			ops := a.beat(t, n)
			a.obey(t, nodes[(i+1)%2], ops, "FULLY_APPLIED")
		}
		have := 0
		for _, a := range all {
			if a.flow == v.ID {
				have++
			}
		}
		st, err := nodes[0].RolloutOf(as(t, "root"), r.Number)
		if err != nil {
			t.Fatal(err)
		}
		if have > st.Agents {
			// The rollout may have been moved on since the agents were told.
			if st2, _ := nodes[0].RolloutOf(as(t, "root"), r.Number); have > max(st2.Agents, 200) {
				t.Fatalf("%d agents have the flow and %d were admitted", have, st2.Agents)
			}
		}
		if st.Wave == 0 && st.State == edge.Running {
			widest = max(widest, have)
		}
		return st.State == edge.Completed
	})
	if widest > 3 {
		t.Errorf("%d agents had the flow in the wave of 3", widest)
	}
	for _, a := range all {
		if a.flow != v.ID || len(a.got) != 1 {
			t.Fatalf("%s runs %q, and got %d operations", a.id, a.flow, len(a.got))
		}
	}
	until(t, "the other node knows it too", func() bool {
		c, err := nodes[1].Class(as(t, "root"), "pumps")
		return err == nil && c.Version == v.ID && c.Rollout == 0
	})
	text, err := nodes[0].FlowFor(t.Context(), v.ID, all[0].id, edge.Peer{})
	if err != nil || !json.Valid(text.Text) {
		t.Errorf("the flow as agents get it: %v\n%s", err, text.Text)
	}
	// An agent that lost its flow gets it again; one that is new gets it too.
	all[0].flow = ""
	if ops := all[0].beat(t, nodes[0]); len(ops) != 1 || ops[0].Args["flowId"] != v.ID {
		t.Errorf("an agent without its flow gets %+v", ops)
	}
	late := &agent{id: "late", class: "pumps", hash: "hash-1"}
	if ops := late.beat(t, nodes[1]); len(ops) != 1 || ops[0].Args["flowId"] != v.ID {
		t.Errorf("a new agent gets %+v", ops)
	}
}

func TestARolloutThatFailsIsRolledBack(t *testing.T) {
	n := alone(t, edge.Config{})
	all := agents(60, "pumps")
	known(t, n, all)
	info := draw(t, n, "pumps", "1 sec")
	first, r := publish(t, n, info.ID, edge.Plan{})
	drive := func(number int64, state func(*agent) string) edge.RolloutStatus {
		t.Helper()
		var st edge.RolloutStatus
		until(t, "the rollout ends", func() bool {
			for _, a := range all {
				a.obey(t, n, a.beat(t, n), state(a))
			}
			var err error
			if st, err = n.RolloutOf(as(t, "root"), number); err != nil {
				t.Fatal(err)
			}
			return st.State == edge.Completed || st.State == edge.RolledBack
		})
		return st
	}
	good := func(*agent) string { return "FULLY_APPLIED" }
	if st := drive(r.Number, good); st.State != edge.Completed {
		t.Fatalf("%+v", st)
	}
	draw(t, n, "pumps", "2 sec")
	second, r := publish(t, n, info.ID, edge.Plan{Waves: []edge.Wave{{Agents: 10}}, MaxFailed: 20})
	bad := 0
	st := drive(r.Number, func(a *agent) string {
		if bad++; bad > 4 {
			return "NOT_APPLIED"
		}
		return "FULLY_APPLIED"
	})
	if st.State != edge.RolledBack || st.Agents > 10 || st.Message == "" {
		t.Fatalf("%+v", st)
	}
	until(t, "all have the first version again", func() bool {
		for _, a := range all {
			a.obey(t, n, a.beat(t, n), "FULLY_APPLIED")
		}
		return !slices.ContainsFunc(all, func(a *agent) bool { return a.flow != first.ID })
	})
	until(t, "an event tells of it", func() bool {
		events, err := n.Events(as(t, "root"), "pumps", "", 1, 0)
		return err == nil && slices.ContainsFunc(events, func(e edge.Event) bool { return e.Type == "flow rolled back" })
	})
	if err := n.CancelRollout(as(t, "root"), r.Number); !edge.RolloutEnded.Is(err) {
		t.Errorf("cancelling what has ended: %v", err)
	}
	_ = second
}

func TestLostAnswersAreMadeGood(t *testing.T) {
	n := alone(t, edge.Config{})
	a := agents(1, "pumps")[0]
	known(t, n, []*agent{a})
	ctx := as(t, "root")
	o, err := n.Order(ctx, edge.Request{Operation: "STOP", Operand: "processor", Args: map[string]string{"processorId": "p"}, Agent: a.id})
	if err != nil {
		t.Fatal(err)
	}
	first := a.beat(t, n)
	if len(first) != 1 || first[0].Operation != "STOP" || first[0].Args["processorId"] != "p" {
		t.Fatalf("%+v", first)
	}
	if again := a.beat(t, n); len(again) != 0 {
		t.Errorf("sent again at once: %+v", again)
	}
	n.clock.forward(6 * time.Minute) // the acknowledgement was lost
	second := a.beat(t, n)
	if len(second) != 1 || second[0].ID == first[0].ID {
		t.Fatalf("%+v", second)
	}
	a.obey(t, n, second, "NO_OPERATION")
	// What comes late or twice changes nothing.
	a.obey(t, n, first, "NOT_APPLIED")
	a.obey(t, n, second, "FULLY_APPLIED")
	if st, err := n.OrderOf(ctx, o.Number); err != nil || st.States[edge.Done] != 1 || len(st.States) != 1 {
		t.Errorf("%+v, %v", st, err)
	}
	n.clock.forward(6 * time.Minute)
	if ops := a.beat(t, n); len(ops) != 0 {
		t.Errorf("sent after its end: %+v", ops)
	}
	// One that never answers gives up in the end.
	o, err = n.Order(ctx, edge.Request{Operation: "DESCRIBE", Operand: "manifest", Agent: a.id})
	if err != nil {
		t.Fatal(err)
	}
	for range edge.MaxAttempts {
		if ops := a.beat(t, n); len(ops) != 1 {
			t.Fatalf("%+v", ops)
		}
		n.clock.forward(6 * time.Minute)
	}
	a.beat(t, n)
	history, err := n.History(ctx, a.id)
	if err != nil || len(history) != 2 || history[0].State != edge.Failed || history[0].Order != o.Number || history[1].State != edge.Done {
		t.Errorf("%+v, %v", history, err)
	}
}

func TestWhatSaysNothingNewWritesNothing(t *testing.T) {
	n := alone(t, edge.Config{})
	all := agents(50, "pumps")
	known(t, n, all)
	if _, err := n.Agents(as(t, "root"), "pumps", "", 1); err != nil { // all is written
		t.Fatal(err)
	}
	before, revision := n.Flushes(), n.store.Snapshot().Revision()
	for range 20 {
		for _, a := range all {
			a.beat(t, n)
		}
	}
	if got := n.Counts()["waiting"]; got != 0 || n.Flushes() != before || n.store.Snapshot().Revision() != revision {
		t.Errorf("%d rows wait, %d batches and %d revisions were written", got, n.Flushes()-before, n.store.Snapshot().Revision()-revision)
	}
}

func TestAgentsGoMissing(t *testing.T) {
	url := dbtest.Postgres(t).URL
	m := &mesh{nodes: map[string]*edge.Service{}}
	a, b := m.start(t, url, "a", edge.Config{MaxSilence: 300 * time.Millisecond}, time.Minute), m.start(t, url, "b", edge.Config{MaxSilence: 300 * time.Millisecond}, time.Minute)
	lost, kept := &agent{id: "lost", class: "c", hash: "h"}, &agent{id: "kept", class: "c", hash: "h"}
	lost.beat(t, a)
	kept.beat(t, a)
	ctx := as(t, "root")
	until(t, "the one is missing", func() bool {
		kept.beat(t, b) // to another node than wrote it down
		for _, n := range []*node{a, b} {
			if err := n.Sweep(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := a.Agent(ctx, "lost")
		return err == nil && got.Presence == edge.Missing
	})
	if got, err := a.Agent(ctx, "kept"); err != nil || got.Presence != edge.Online {
		t.Errorf("%+v, %v", got, err)
	}
	lost.beat(t, a)
	if got, err := a.Agent(ctx, "lost"); err != nil || got.Presence != edge.Online {
		t.Errorf("an agent that is back: %+v, %v", got, err)
	}
	if r, err := b.LastReport(ctx, "lost"); err != nil || string(r.Raw) != `{"agent":"lost"}` {
		t.Errorf("the last report as the other node tells it: %s, %v", r.Raw, err)
	}
}

func TestTwoDevicesUnderOneName(t *testing.T) {
	n := alone(t, edge.Config{})
	one, two := &agent{id: "x", class: "c", hash: "h", device: "one"}, &agent{id: "x", class: "c", hash: "h", device: "two"}
	one.beat(t, n)
	two.beat(t, n)
	if a, err := n.Agent(as(t, "root"), "x"); err != nil || !a.Shared.IsZero() {
		t.Errorf("an agent that moved is called shared: %+v, %v", a, err)
	}
	one.beat(t, n)
	if a, err := n.Agent(as(t, "root"), "x"); err != nil || a.Shared.IsZero() {
		t.Errorf("two devices under one name: %+v, %v", a, err)
	}
}

func TestBadInput(t *testing.T) {
	n := alone(t, edge.Config{})
	good := agents(1, "pumps")[0]
	known(t, n, []*agent{good})
	long := string(make([]byte, 1000))
	for what, h := range map[string]*edge.Heartbeat{
		"no id":            {Class: "c"},
		"a path":           {Agent: "../../etc/passwd", Class: "c"},
		"a class's path":   {Agent: "a", Class: "a/b"},
		"dots":             {Agent: "..", Class: "c"},
		"a zero":           {Agent: "a\x00b", Class: "c"},
		"a long hash":      {Agent: "a", Class: "c", ManifestHash: long},
		"a broken text":    {Agent: "a", Class: "c", ManifestHash: "x", Manifest: []byte(`{"bundles":7}`)},
		"a huge manifest":  {Agent: "a", Class: "c", ManifestHash: "y", Manifest: make([]byte, 9<<20)},
		"another's letter": {Agent: "a", Class: "c", Peer: edge.Peer{Agent: "b"}},
	} {
		_, err := edgetest.Heartbeat(t.Context(), n, h)
		if k := fault.KindOf(err); k != fault.Invalid && k != fault.TooLarge && k != fault.Denied {
			t.Errorf("%s: %v", what, err)
		}
		if fault.FieldOf(err) == "" {
			t.Errorf("%s: the error names no field: %v", what, err)
		}
	}
	ctx := as(t, "root")
	if list, err := n.Classes(ctx); err != nil || len(list) > 2 { // the class of the broken manifest is there, as the agent is
		t.Errorf("%+v, %v", list, err)
	}
	ops := good.beat(t, n)
	if len(ops) != 0 {
		t.Fatal(ops)
	}
	for what, r := range map[string]*edge.Result{
		"no such operation":  {Operation: "x", State: "FULLY_APPLIED", Agent: good.id},
		"a UUID":             {Operation: "7d444840-9dc0-11d1-b245-5ffdce74fad2", State: "FULLY_APPLIED", Agent: good.id},
		"no such state":      {Operation: "x", State: "GREAT", Agent: good.id},
		"made up":            {Operation: "00000000-0000-8001-8000-00000000002a", State: "FULLY_APPLIED"},
		"made up by another": {Operation: "00000000-0000-8001-8000-00000000002a", State: "FULLY_APPLIED", Agent: good.id},
	} {
		if err := n.Acknowledge(t.Context(), r); fault.KindOf(err) != fault.NotFound && fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, r := range map[string]edge.Request{
		"no such operation": {Operation: "DESTROY", Operand: "all", Class: "pumps"},
		"no such argument":  {Operation: "STOP", Operand: "flow", Class: "pumps", Args: map[string]string{"x": "y"}},
		"a missing one":     {Operation: "STOP", Operand: "processor", Class: "pumps"},
		"no such class":     {Operation: "STOP", Operand: "flow", Class: "none"},
		"no such agent":     {Operation: "STOP", Operand: "flow", Agent: "none"},
		"not supported":     {Operation: "PAUSE", Operand: "flow", Class: "pumps"},
	} {
		if _, err := n.Order(ctx, r); err == nil || fault.KindOf(err) == fault.Internal {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, p := range map[string]edge.Plan{
		"an empty wave":  {Waves: []edge.Wave{{}}},
		"a double wave":  {Waves: []edge.Wave{{Agents: 1, Percent: 1}}},
		"200 percent":    {Waves: []edge.Wave{{Percent: 200}}},
		"too many fail":  {MaxFailed: 101},
		"a rate below 0": {Rate: -1},
	} {
		info, err := n.FlowOf(ctx, "pumps")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := n.Publish(ctx, info.ID, "", p); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRightsAreByClass(t *testing.T) {
	n := alone(t, edge.Config{})
	known(t, n, agents(1, "mine"))
	known(t, n, []*agent{{id: "other", class: "theirs", hash: "hash-1"}})
	ctx := as(t, "edge:View class/mine")
	if list, err := n.Classes(ctx); err != nil || len(list) != 1 || list[0].Name != "mine" {
		t.Errorf("%+v, %v", list, err)
	}
	info, err := n.FlowOf(ctx, "mine")
	if err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"another's agents": second(n.Agents(ctx, "theirs", "", 0)),
		"another's agent":  second(n.Agent(ctx, "other")),
		"to edit":          second(n.EditFlow(ctx, info.ID, func(f *flow.Flow) (*flow.Flow, error) { return f, nil })),
		"to order":         second(n.Order(ctx, edge.Request{Operation: "STOP", Operand: "flow", Class: "mine"})),
		"to make":          second(n.CreateClass(ctx, "new", "")),
		"to delete":        n.DeleteClass(ctx, "mine"),
		"events":           second(n.Events(ctx, "theirs", "", 1, 0)),
	} {
		if fault.KindOf(err) != fault.Denied {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestAPaceIsKept(t *testing.T) {
	n := alone(t, edge.Config{Pace: edge.Pace{Every: 10 * time.Second, All: 8, Kinds: map[string]int{"STOP/flow": 3}}})
	all := agents(20, "pumps")
	known(t, n, all)
	ctx := as(t, "root")
	if _, err := n.Order(ctx, edge.Request{Operation: "STOP", Operand: "flow", Class: "pumps"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Order(ctx, edge.Request{Operation: "DESCRIBE", Operand: "manifest", Class: "pumps"}); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		got := map[string]int{}
		for _, a := range all {
			for _, o := range a.beat(t, n) {
				got[o.Operation]++
			}
		}
		if got["STOP"] > 3 || got["STOP"]+got["DESCRIBE"] != 8 {
			t.Errorf("round %d: %v", round, got)
		}
		n.clock.forward(10 * time.Second)
	}
}

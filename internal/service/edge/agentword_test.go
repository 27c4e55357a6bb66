package edge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// native makes an agent of C++ known.
func native(t *testing.T, n *node) *agent {
	t.Helper()
	a := &agent{id: "native", class: "gateways", hash: "hash-cpp", device: "d"}
	h := a.heartbeat()
	h.Manifest = edgetest.Manifest("cpp")
	if _, err := edgetest.Heartbeat(context.Background(), n, h); err != nil {
		t.Fatal(err)
	}
	return a
}

// What DESCRIBE brings back is kept for the operator.
func TestDescriptionsAreKept(t *testing.T) {
	n := alone(t, edge.Config{})
	a := native(t, n)
	o, err := n.Order(as(t, "root"), edge.Request{Operation: "DESCRIBE", Operand: "metrics", Agent: a.id})
	if err != nil {
		t.Fatal(err)
	}
	ops := a.beat(t, n)
	if len(ops) != 1 {
		t.Fatalf("%+v", ops)
	}
	body := `{"operationId":"` + ops[0].ID + `","metrics":{"QueueMetrics":{"size":7}}}`
	r := &edge.Result{Operation: ops[0].ID, State: "FULLY_APPLIED", Agent: a.id, Body: []byte(body)}
	if err := n.Acknowledge(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := n.ReadDebug(as(t, "root"), o.Number, a.id, &got); err != nil || got.String() != body {
		t.Errorf("%q, %v", got.String(), err)
	}
}

// A bundle that the agent has called whole is not replaced by whoever sends another.
func TestABundleIsSentOnce(t *testing.T) {
	n := alone(t, edge.Config{})
	a := native(t, n)
	o, err := n.Order(as(t, "root"), edge.Request{Operation: "TRANSFER", Operand: "debug", Agent: a.id})
	if err != nil {
		t.Fatal(err)
	}
	ops := a.beat(t, n)
	send := func(text string) error {
		return n.KeepDebug(context.Background(), fmt.Sprintf("%016x", o.Number), a.id, edge.Peer{}, strings.NewReader(text))
	}
	if err := send("half"); err != nil {
		t.Fatal(err)
	}
	if err := send("whole"); err != nil {
		t.Fatalf("sending again what broke off: %v", err)
	}
	a.obey(t, n, ops, "FULLY_APPLIED")
	if err := send("forged"); !edge.BundleComplete.Is(err) {
		t.Errorf("sending again after the end: %v", err)
	}
	var got bytes.Buffer
	if err := n.ReadDebug(as(t, "root"), o.Number, a.id, &got); err != nil || got.String() != "whole" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

// Agents of C++ do not acknowledge PAUSE and RESUME, and start and stop components by name.
func TestOrdersOfNativeAgents(t *testing.T) {
	n := alone(t, edge.Config{})
	a := native(t, n)
	for _, tc := range []struct {
		operation, operand string
		silent             bool
	}{{"PAUSE", "flow", true}, {"RESUME", "flow", true}, {"STOP", "GetFile", false}, {"START", "GetFile", false}} {
		o, err := n.Order(as(t, "root"), edge.Request{Operation: tc.operation, Operand: tc.operand, Agent: a.id})
		if err != nil {
			t.Errorf("%s %s: %v", tc.operation, tc.operand, err)
			continue
		}
		ops := a.beat(t, n)
		if len(ops) != 1 || ops[0].Operation != tc.operation || ops[0].Operand != tc.operand {
			t.Fatalf("%+v", ops)
		}
		if !tc.silent {
			a.obey(t, n, ops, "FULLY_APPLIED")
		}
		n.clock.forward(10 * time.Minute)
		if again := a.beat(t, n); len(again) != 0 {
			t.Errorf("%s %s is sent again: %+v", tc.operation, tc.operand, again)
		}
		until(t, tc.operation+" "+tc.operand+" is done", func() bool {
			st, err := n.OrderOf(as(t, "root"), o.Number)
			return err == nil && st.States[edge.Done] == 1
		})
	}
	if _, err := n.Order(as(t, "root"), edge.Request{Operation: "STOP", Operand: "c2", Agent: a.id}); err == nil {
		t.Error("an agent was told to stop reporting")
	}
}

// The class is optional in C2.
func TestAnAgentWithoutAClass(t *testing.T) {
	n := alone(t, edge.Config{})
	if _, err := edgetest.Heartbeat(context.Background(), n, &edge.Heartbeat{Agent: "nameless"}); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Agent(as(t, "root"), "nameless"); err != nil || got.Class != edge.DefaultClass {
		t.Errorf("%+v, %v", got, err)
	}
	a := native(t, n)
	h := a.heartbeat()
	h.Class = ""
	if _, err := edgetest.Heartbeat(context.Background(), n, h); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Agent(as(t, "root"), a.id); err != nil || got.Class != "gateways" {
		t.Errorf("an agent that left its class out once: %+v, %v", got, err)
	}
}

// Lists say when agents were seen last, though most heartbeats write nothing.
func TestListsSayWhenAgentsWereSeen(t *testing.T) {
	n := alone(t, edge.Config{MaxSilence: time.Hour})
	a := native(t, n)
	n.clock.forward(28 * time.Minute)
	a.beat(t, n)
	page, err := n.Agents(as(t, "root"), a.class, "", 10)
	if err != nil || len(page.Agents) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if age := n.clock.Now().Sub(page.Agents[0].Seen); age > time.Minute {
		t.Errorf("the agent reported now, and the list says %s ago", age)
	}
}

// What a history lists can be looked up, and no date is that of the year one.
func TestHistoriesListWhatThereIs(t *testing.T) {
	n := alone(t, edge.Config{})
	a := agents(1, "pumps")[0]
	known(t, n, []*agent{a})
	publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{})
	until(t, "the flow is there", func() bool {
		a.obey(t, n, a.beat(t, n), "FULLY_APPLIED")
		c, err := n.Class(as(t, "root"), "pumps")
		return err == nil && c.Rollout == 0 && a.flow != ""
	})
	list, err := n.History(as(t, "root"), a.id)
	if err != nil || len(list) == 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, p := range list {
		if o, err := n.OrderOf(as(t, "root"), p.Order); err != nil || o.Class != "pumps" || o.Operation != "UPDATE" {
			t.Errorf("order %d: %+v, %v", p.Order, o, err)
		}
		if text, err := json.Marshal(p); err != nil || bytes.Contains(text, []byte("0001-01-01")) {
			t.Errorf("%s, %v", text, err)
		}
	}
}

func TestUnitsOfAgents(t *testing.T) {
	for text, want := range map[string]time.Duration{"100 msec": 100 * time.Millisecond, "2 msecs": 2 * time.Millisecond, "5 usec": 5 * time.Microsecond} {
		if got, err := flow.ParseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
	}
}

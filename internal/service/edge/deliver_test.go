package edge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// order orders an agent to stop its flow.
func order(t *testing.T, n *node, agent string) edge.Order {
	t.Helper()
	o, err := n.Order(as(t, "root"), edge.Request{Operation: "STOP", Operand: "flow", Agent: agent})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// An acknowledgement is answered without operations. What was due while it came must come with the next heartbeat.
func TestAReportInAnAcknowledgementTakesNoOrders(t *testing.T) {
	n := alone(t, edge.Config{})
	a := agents(1, "pumps")[0]
	known(t, n, []*agent{a})
	first := order(t, n, a.id)
	ops := a.beat(t, n)
	if len(ops) != 1 {
		t.Fatalf("%+v", ops)
	}
	second := order(t, n, a.id)
	r := &edge.Result{Operation: ops[0].ID, State: "FULLY_APPLIED", Agent: a.id, Report: a.heartbeat()}
	if err := n.Acknowledge(context.Background(), r); err != nil {
		t.Fatal(err)
	}
	if st, err := n.OrderOf(as(t, "root"), second.Number); err != nil || len(st.States) != 0 {
		t.Errorf("the acknowledgement of order %d moved order %d: %v, %v", first.Number, second.Number, st.States, err)
	}
	if ops := a.beat(t, n); len(ops) != 1 {
		t.Errorf("the second order did not come with the next heartbeat: %+v", ops)
	}
}

// A new agent with a manifest that nobody has seen gets its flow with the heartbeat after it has sent that.
func TestAnUnknownManifestDelaysNoFlow(t *testing.T) {
	n := alone(t, edge.Config{})
	old := agents(1, "pumps")[0]
	known(t, n, []*agent{old})
	v, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{})
	until(t, "the rollout is admitted", func() bool {
		old.obey(t, n, old.beat(t, n), "FULLY_APPLIED")
		st, err := n.RolloutOf(as(t, "root"), r.Number)
		return err == nil && st.State == edge.Completed
	})
	fresh := &agent{id: "fresh", class: "pumps", hash: "hash-2", device: "d"}
	ops := fresh.beat(t, n)
	if len(ops) != 1 || ops[0].Operation != "DESCRIBE" {
		t.Fatalf("%+v", ops)
	}
	fresh.obey(t, n, ops, "FULLY_APPLIED") // with the manifest, in a report
	ops = fresh.beat(t, n)
	if len(ops) != 1 || ops[0].Operation != "UPDATE" || ops[0].Args["flowId"] != v.ID {
		t.Errorf("the flow did not come at once: %+v", ops)
	}
}

// What did not reach the agent is sent again, and is not on record as deployed.
func TestAnAnswerThatIsLostDeploysNothing(t *testing.T) {
	n := alone(t, edge.Config{})
	a := agents(1, "pumps")[0]
	known(t, n, []*agent{a})
	o := order(t, n, a.id)
	gone := errors.New("the agent is gone")
	if err := n.Heartbeat(context.Background(), a.heartbeat(), func(ops []edge.Operation) error {
		if len(ops) != 1 {
			t.Errorf("%+v", ops)
		}
		return gone
	}); !errors.Is(err, gone) {
		t.Fatal(err)
	}
	if h, err := n.History(as(t, "root"), a.id); err != nil || len(h) != 0 {
		t.Errorf("%+v, %v", h, err)
	}
	ops := a.beat(t, n)
	if len(ops) != 1 {
		t.Fatalf("the operation did not come again: %+v", ops)
	}
	a.obey(t, n, ops, "FULLY_APPLIED")
	h, err := n.History(as(t, "root"), a.id)
	if err != nil || len(h) != 1 || h[0].State != edge.Done || h[0].Attempt != 1 || h[0].Order != o.Number {
		t.Errorf("%+v, %v", h, err)
	}
}

// An operation that one node has sent is not sent by another before it was answered.
func TestNodesDoNotRepeatEachOther(t *testing.T) {
	m := &mesh{nodes: map[string]*edge.Service{}}
	url := dbtest.Postgres(t).URL
	one := m.start(t, url, "a", edge.Config{}, time.Minute)
	a := agents(1, "pumps")[0]
	known(t, one, []*agent{a})
	other := m.start(t, url, "b", edge.Config{}, time.Minute)
	a.beat(t, other) // both know it
	order(t, one, a.id)
	until(t, "the other node knows the order", func() bool {
		st, err := other.Orders(as(t, "root"), "pumps")
		return err == nil && len(st) == 1
	})
	if ops := a.beat(t, one); len(ops) != 1 {
		t.Fatalf("%+v", ops)
	}
	if ops := a.beat(t, other); len(ops) != 0 {
		t.Errorf("the other node sends the operation again: %+v", ops)
	}
	other.clock.forward(6 * time.Minute)
	if ops, err := edgetest.Heartbeat(context.Background(), other, a.heartbeat()); err != nil || len(ops) != 1 {
		t.Errorf("an operation that is not answered in time is not sent again: %+v, %v", ops, err)
	}
}

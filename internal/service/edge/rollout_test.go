package edge_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/edge"
)

// status is how a rollout stands.
func status(t *testing.T, n *node, number int64) edge.RolloutStatus {
	t.Helper()
	st, err := n.RolloutOf(as(t, "root"), number)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestAPercentageIsNotRoundedUpByAHair(t *testing.T) {
	n := alone(t, edge.Config{})
	known(t, n, agents(100, "pumps")) // 7 / 100 * 100 is a little more than 7
	_, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{Waves: []edge.Wave{{Percent: 7}}})
	until(t, "the first wave is admitted", func() bool { return status(t, n, r.Number).Agents > 0 })
	if st := status(t, n, r.Number); st.Agents != 7 {
		t.Errorf("%d of 100 agents are 7%%", st.Agents)
	}
}

func TestADeletedAgentHoldsNoRolloutUp(t *testing.T) {
	n := alone(t, edge.Config{})
	all := agents(4, "pumps")
	known(t, n, all)
	_, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{})
	until(t, "all are admitted", func() bool { return status(t, n, r.Number).Agents == 4 })
	if ops := all[0].beat(t, n); len(ops) != 1 {
		t.Fatalf("%+v", ops)
	}
	if err := n.DeleteAgent(as(t, "root"), all[0].id); err != nil {
		t.Fatal(err)
	}
	for _, a := range all[1:] {
		a.obey(t, n, a.beat(t, n), "FULLY_APPLIED")
	}
	until(t, "the rollout is done", func() bool { return status(t, n, r.Number).State == edge.Completed })
}

// Between two waves the database's time passes, whatever the node's clock says.
func TestSettlingGoesByTheDatabasesClock(t *testing.T) {
	n := alone(t, edge.Config{})
	n.clock.forward(-time.Hour)
	all := agents(2, "pumps")
	known(t, n, all)
	_, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{Waves: []edge.Wave{{Agents: 1}}, Settle: 50 * time.Millisecond})
	until(t, "the rollout is done", func() bool {
		for _, a := range all {
			a.obey(t, n, a.beat(t, n), "FULLY_APPLIED")
		}
		return status(t, n, r.Number).State == edge.Completed
	})
}

func TestARolloutEndsWithItsClass(t *testing.T) {
	n := alone(t, edge.Config{})
	all := agents(1, "pumps")
	known(t, n, all)
	v, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{})
	if err := n.Pause(as(t, "root"), r.Number, true); err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteAgent(as(t, "root"), all[0].id); err != nil {
		t.Fatal(err)
	}
	if err := n.DeleteClass(as(t, "root"), "pumps"); err != nil {
		t.Fatal(err)
	}
	known(t, n, all) // the class is made again
	if err := n.Pause(as(t, "root"), r.Number, false); !edge.NoSuchOrder.Is(err) {
		t.Errorf("the rollout of a class that was deleted goes on: %v", err)
	}
	if c, err := n.Class(as(t, "root"), "pumps"); err != nil || c.Version == v.ID || c.Rollout != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

// An agent that says that it applied a flow, and goes on to report another, fails in the end;
// one that had the flow gets it again as often as it loses it.
func TestAnAgentThatOnlySaysSoFails(t *testing.T) {
	n := alone(t, edge.Config{})
	all := agents(2, "pumps")
	known(t, n, all)
	v, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{MaxFailed: 100})
	until(t, "all are admitted", func() bool { return status(t, n, r.Number).Agents == 2 })
	honest, liar := all[0], all[1]
	for range 2 * edge.MaxAttempts {
		honest.flow, liar.flow = "", ""
		honest.obey(t, n, honest.beat(t, n), "FULLY_APPLIED")
		liar.obey(t, n, liar.beat(t, n), "FULLY_APPLIED")
		if honest.flow != v.ID {
			t.Fatal("the flow that was lost is not sent again")
		}
		honest.beat(t, n)
	}
	if len(liar.got) != edge.MaxAttempts {
		t.Errorf("the liar was sent the flow %d times", len(liar.got))
	}
	until(t, "the liar has failed", func() bool {
		h, err := n.History(as(t, "root"), liar.id)
		return err == nil && len(h) == 1 && h[0].State == edge.Failed
	})
}

// Before the first version there is none to go back to, and the rollout says so.
func TestTheFirstVersionIsNotTakenBack(t *testing.T) {
	n := alone(t, edge.Config{})
	all := agents(1, "pumps")
	known(t, n, all)
	v, r := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{Settle: time.Hour})
	until(t, "the agent has the flow", func() bool {
		all[0].obey(t, n, all[0].beat(t, n), "FULLY_APPLIED")
		return all[0].flow == v.ID
	})
	if err := n.CancelRollout(as(t, "root"), r.Number); err != nil {
		t.Fatal(err)
	}
	if st := status(t, n, r.Number); st.State != edge.RolledBack || !strings.Contains(st.Message, "agents that have it keep it") {
		t.Errorf("%s: %s", st.State, st.Message)
	}
	if ops := all[0].beat(t, n); len(ops) != 0 || all[0].flow != v.ID {
		t.Errorf("%+v", ops)
	}
}

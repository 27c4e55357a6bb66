package edge_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// Who has changed what is told by every node, as soon as the change was answered, whichever
// node it was made on.
func TestChangesOfAllNodes(t *testing.T) {
	url := dbtest.Postgres(t).URL
	m := &mesh{nodes: map[string]*edge.Service{}}
	a, b := m.start(t, url, "a", edge.Config{}, time.Minute), m.start(t, url, "b", edge.Config{}, time.Minute)
	root := as(t, "root")
	told := func(on *node, class, what, agent string) {
		t.Helper()
		events, err := on.Events(root, class, "", 1, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			if e.Type == what && e.Agent == agent && e.User == "arn:aws:iam::1:user/root" && e.Class == class {
				return
			}
		}
		t.Errorf("%q is not told: %+v", what, events)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := a.CreateClass(root, "pumps", "")
	must(err)
	told(b, "pumps", "class created", "")
	all := agents(1, "pumps")
	known(t, a, all)
	text := "about pumps"
	must(b.store.Refresh(t.Context()))
	_, err = b.UpdateClass(root, "pumps", edge.ClassChange{Description: &text})
	must(err)
	told(a, "pumps", "class changed", "")
	must(a.SetAgentParameters(root, all[0].id, []flow.Parameter{}))
	told(b, "pumps", "agent changed", all[0].id)
	o, err := a.Order(root, edge.Request{Operation: "TRANSFER", Operand: "debug", Agent: all[0].id})
	must(err)
	told(b, "pumps", "operation ordered", all[0].id)
	must(b.store.Refresh(t.Context()))
	must(b.Cancel(root, o.Number))
	told(a, "pumps", "operation cancelled", all[0].id)
	info, err := a.FlowOf(root, "pumps")
	must(err)
	_, ro := publish(t, a, info.ID, edge.Plan{})
	told(b, "pumps", "flow published", "")
	if err := a.CancelRollout(root, ro.Number); err == nil {
		told(b, "pumps", "rollout cancelled", "")
	} else if !edge.RolloutEnded.Is(err) { // there is one agent: it may be over
		t.Error(err)
	}
	r, err := a.AddResource(root, edge.Resource{Name: "file", Type: edge.Asset}, strings.NewReader("x"))
	must(err)
	told(b, "*", "resource added", "")
	must(b.store.Refresh(t.Context()))
	must(b.DeleteResource(root, r.ID))
	told(a, "*", "resource deleted", "")
	must(a.DeleteAgent(root, all[0].id))
	told(b, "pumps", "agent deleted", all[0].id)
	if _, err := b.Events(as(t, "edge:View class/pumps"), "*", "", 1, 0); err == nil {
		t.Error("who may see one class sees what is about all")
	}
}

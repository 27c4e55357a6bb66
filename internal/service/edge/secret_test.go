package edge_test

import (
	"bytes"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// A flow with a sensitive property goes to an agent that shows a certificate or credentials, and to no one else.
func TestSecretsGoToAgentsAlone(t *testing.T) {
	n := alone(t, edge.Config{})
	a := agents(1, "pumps")[0]
	known(t, n, []*agent{a})
	info := draw(t, n, "pumps", "1 sec")
	plain, _ := publish(t, n, info.ID, edge.Plan{})
	if _, err := n.FlowFor(t.Context(), plain.ID, a.id, edge.Peer{Address: "10.0.0.1"}); err != nil {
		t.Errorf("a flow without secrets: %v", err)
	}
	if _, err := n.FlowFor(t.Context(), plain.ID, "", edge.Peer{}); fault.KindOf(err) != fault.Unauthenticated || fault.FieldOf(err) != "aid" {
		t.Errorf("a flow for no agent: %v", err)
	}
	const get = "44444444-4444-4444-8444-444444444444"
	if _, err := n.EditFlow(as(t, "root"), info.ID, func(f *flow.Flow) (*flow.Flow, error) {
		return flow.Apply(f, flow.Change{Action: flow.Create, Group: f.Root.ID, Component: &flow.Processor{Head: flow.Head{ID: get, Name: "get"},
			Type: "org.apache.nifi.processors.standard.InvokeHTTP", Strategy: "TIMER_DRIVEN", Period: "1 min", Tasks: 1, Penalty: "30 sec", Yield: "1 sec", Bulletins: "WARN",
			Properties:     map[string]string{"HTTP URL": "http://127.0.0.1/", "Request Username": "u", "Request Password": "hunter2"},
			AutoTerminated: []string{"Original", "Response", "Retry", "No Retry", "Failure"}}})
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "the first rollout ends", func() bool {
		a.obey(t, n, a.beat(t, n), "FULLY_APPLIED")
		c, err := n.Class(as(t, "root"), "pumps")
		return err == nil && c.Rollout == 0
	})
	v, _ := publish(t, n, info.ID, edge.Plan{})
	for range 3 {
		_, err := n.FlowFor(t.Context(), v.ID, a.id, edge.Peer{Address: "10.0.0.1"})
		if fault.KindOf(err) != fault.Unauthenticated || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("an agent that proves nothing: %v", err)
		}
	}
	if warned := strings.Count(n.log.String(), "without certificate or credentials"); warned != 1 {
		t.Errorf("%d warnings, want 1:\n%s", warned, n.log)
	}
	user := func(actions ...string) caller.Identity {
		return caller.Identity{UserName: strings.Join(actions, " "), ARN: "arn:aws:iam::1:user/u"}
	}
	for name, tc := range map[string]struct {
		who  *caller.Identity
		peer edge.Peer
		want fault.Kind
	}{
		"its certificate":                       {peer: edge.Peer{Agent: a.id, Class: "pumps", Proved: true}},
		"a certificate of the owner's":          {peer: edge.Peer{Proved: true}},
		"credentials that may":                  {who: new(user(string(edge.Fetch) + " class/pumps"))},
		"credentials that may see":              {who: new(user(string(edge.View) + " class/pumps")), want: fault.Denied},
		"credentials for another class":         {who: new(user(string(edge.Fetch) + " class/valves")), want: fault.Denied},
		"the certificate of another agent":      {peer: edge.Peer{Agent: "other", Class: "pumps", Proved: true}, want: fault.Denied},
		"neither, in the name of another agent": {want: fault.Unauthenticated},
	} {
		ctx := t.Context()
		if tc.who != nil {
			ctx = caller.With(ctx, *tc.who)
		}
		c, err := n.FlowFor(ctx, v.ID, a.id, tc.peer)
		if tc.want == 0 && (err != nil || !bytes.Contains(c.Text, []byte("hunter2"))) || tc.want != 0 && fault.KindOf(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	file, err := n.AddResource(as(t, "root"), edge.Resource{Name: "model", Type: edge.Asset}, strings.NewReader("weights"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.UpdateClass(as(t, "root"), "pumps", edge.ClassChange{Resources: &[]string{file.ID}}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.ResourceFor(t.Context(), file.ID, a.id, edge.Peer{}); fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("a resource for an agent that proves nothing: %v", err)
	}
	if _, err := n.ResourceFor(t.Context(), file.ID, a.id, edge.Peer{Proved: true}); err != nil {
		t.Errorf("a resource for an agent with a certificate: %v", err)
	}
}

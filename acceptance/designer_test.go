package acceptance_test

import (
	"fmt"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// designer draws a class's flow by REST.
type designer struct {
	t    *testing.T
	n    *plat.Node
	flow string // its path
}

// draw opens the flow of a class, which has a manifest by now.
func draw(t *testing.T, n *plat.Node, class string) *designer {
	t.Helper()
	var flows []struct{ ID string }
	if err := n.Call("GET", "/efm/api/designer/flows?agentClass="+class, nil, &flows); err != nil {
		t.Fatal(err)
	}
	return &designer{t, n, "/efm/api/designer/flows/" + flows[0].ID}
}

// at is the same flow, drawn at another node.
func (d *designer) at(n *plat.Node) *designer { return &designer{d.t, n, d.flow} }

// add makes a component and returns its id.
func (d *designer) add(noun string, configuration map[string]any) string {
	d.t.Helper()
	var made struct {
		Configuration struct{ Identifier string } `json:"componentConfiguration"`
	}
	in := map[string]any{"revision": map[string]any{"version": 0}, "componentConfiguration": configuration}
	if err := d.n.Call("POST", d.flow+"/process-groups/root/"+noun, in, &made); err != nil {
		d.t.Fatal(err)
	}
	return made.Configuration.Identifier
}

func (d *designer) connect(from, relationship, to string) {
	d.t.Helper()
	d.add("connections", map[string]any{"source": map[string]any{"id": from}, "destination": map[string]any{"id": to}, "selectedRelationships": []string{relationship}})
}

// publish publishes the flow, with a plan unless that is nil, and returns the version's id and
// the rollout's number.
func (d *designer) publish(plan map[string]any) (version string, rollout int64) {
	d.t.Helper()
	var published struct {
		Version struct{ ID string }
		Rollout struct{ Number int64 }
	}
	in := map[string]any{"comments": "by the test"}
	if plan != nil {
		in["plan"] = plan
	}
	if err := d.n.Call("POST", d.flow+"/publish", in, &published); err != nil {
		d.t.Fatal(err)
	}
	return published.Version.ID, published.Rollout.Number
}

// runs waits until the class says that all its agents run a version.
func (d *designer) runs(class, version string) {
	d.t.Helper()
	plat.Until(d.t, "the class runs what was published", func() error {
		var rollouts []struct {
			Number int64
			State  string
		}
		if err := d.n.Call("GET", "/efm/api/rollouts?agentClass="+class, nil, &rollouts); err != nil {
			return err
		}
		var is struct{ Version string }
		if err := d.n.Call("GET", "/efm/api/agent-classes/"+class, nil, &is); err != nil {
			return err
		}
		if is.Version != version || rollouts[0].State != "DONE" {
			return fmt.Errorf("version %s of %s, %+v", is.Version, version, rollouts[0])
		}
		return nil
	})
}

package edge_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// Each agent gets its flow in the form that it reads: Java agents up to 1.x know YAML alone, later ones JSON.
func TestFlowsComeInTheFormThatTheAgentReads(t *testing.T) {
	n := alone(t, edge.Config{})
	ctx := context.Background()
	java1 := withVersion(t, edgetest.Manifest("java"), "1.20.0")
	java2 := withVersion(t, edgetest.Manifest("java"), "2.4.0")
	for id, m := range map[string][]byte{"old": java1, "new": java2} {
		if _, err := edgetest.Heartbeat(ctx, n, &edge.Heartbeat{Agent: id, Class: "pumps", ManifestHash: "hash-" + id, Manifest: m}); err != nil {
			t.Fatal(err)
		}
	}
	v, _ := publish(t, n, draw(t, n, "pumps", "1 sec").ID, edge.Plan{})
	get := func(agent string) edge.Content {
		t.Helper()
		c, err := n.FlowFor(ctx, v.ID, agent, edge.Peer{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	yaml := get("old")
	for _, want := range []string{"MiNiFi Config Version: 3", "class: org.apache.nifi.processors.standard.GenerateFlowFile", "source relationship names:", "max concurrent tasks: 1"} {
		if !strings.Contains(string(yaml.Text), want) {
			t.Errorf("the flow of a Java agent 1.20.0 lacks %q:\n%s", want, yaml.Text)
		}
	}
	if yaml.Type != "text/yml" {
		t.Errorf("its type is %s", yaml.Type)
	}
	if c := get("new"); c.Type != "application/json" || !strings.Contains(string(c.Text), `"rootGroup"`) {
		t.Errorf("a Java agent 2.4.0 gets %s", c.Type)
	}
	set := func(f edge.FlowFormat) error {
		_, err := n.UpdateClass(as(t, "root"), "pumps", edge.ClassChange{FlowFormat: &f})
		return err
	}
	if err := set(edge.JSONFormat); err != nil {
		t.Fatal(err)
	}
	if c := get("old"); c.Type != "application/json" {
		t.Errorf("the class asks for JSON and its agent gets %s", c.Type)
	}
	if err := set("xml"); fault.FieldOf(err) != "flowFormat" {
		t.Errorf("a format that does not exist: %v", err)
	}
}

// withVersion is a manifest of another version of the agent.
func withVersion(t *testing.T, m []byte, version string) []byte {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal(m, &doc); err != nil {
		t.Fatal(err)
	}
	doc["version"] = version
	delete(doc, "buildInfo")
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

package manifest_test

import (
	"testing"

	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/agent/manifest"
	edge "sluice.dev/sluice/internal/service/edge/manifest"
)

// The reader is the one that a node reads the manifests of all agents with.
func TestANodeReadsTheManifest(t *testing.T) {
	operations := []manifest.Operation{{Type: "UPDATE", Properties: map[string]map[string]any{"configuration": {}}}}
	m, err := manifest.New(manifest.Build{Version: "1.2.3"}, component.Catalogue(), operations)
	if err != nil {
		t.Fatal(err)
	}
	read, err := edge.Parse(m.Text)
	if err != nil {
		t.Fatal(err)
	}
	if read.AgentType != edge.Java {
		t.Errorf("agent type %q", read.AgentType)
	}
	byType := map[string]*edge.Component{}
	for _, b := range read.Bundles {
		for _, c := range b.Components {
			byType[c.Type] = c
		}
	}
	for _, d := range component.Catalogue() {
		c := byType[d.Type]
		if c == nil {
			t.Errorf("%s is not in it", d.Type)
			continue
		}
		if len(c.Properties) != len(d.Properties) || len(c.Relationships) != len(d.Relationships) || c.DynamicProperties != (d.Dynamic != nil) {
			t.Errorf("%s: %d properties, %d relationships, dynamic %v", d.Type, len(c.Properties), len(c.Relationships), c.DynamicProperties)
		}
	}

	again, err := manifest.New(manifest.Build{Version: "1.2.3"}, component.Catalogue(), operations)
	if err != nil || again.Hash != m.Hash {
		t.Errorf("the hash is not stable: %v", err)
	}
	defs := component.Catalogue()
	defs[0].Properties = append([]engine.Property{{Name: "Another"}}, defs[0].Properties...)
	other, err := manifest.New(manifest.Build{Version: "1.2.3"}, defs, operations)
	if err != nil || other.Hash == m.Hash {
		t.Errorf("a changed descriptor does not change the hash: %v", err)
	}
}

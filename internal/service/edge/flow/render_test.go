package flow_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge/flow"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s:\n%s", name, diff)
	}
}

func rendered(t *testing.T, dialect string, f *flow.Flow, p flow.Params) []byte {
	t.Helper()
	render := flow.RenderJSON
	if dialect == "cpp" {
		render = flow.RenderYAML
	}
	out, err := render(f, parseManifest(t, dialect), p)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func exported(t testing.TB, dialect string, f *flow.Flow) []byte {
	t.Helper()
	export := flow.ExportJSON
	if dialect == "cpp" {
		export = flow.ExportYAML
	}
	out, err := export(f, parseManifest(t, dialect))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGolden(t *testing.T) {
	golden(t, "flow.json", marshal(t, sample(t, "java")))
	golden(t, "rendered.flow.json", rendered(t, "java", sample(t, "java"), flow.Params{}))
	golden(t, "exported.flow.json", exported(t, "java", sample(t, "java")))
	golden(t, "rendered.config.yml", rendered(t, "cpp", sample(t, "cpp"), flow.Params{}))
	golden(t, "exported.config.yml", exported(t, "cpp", sample(t, "cpp")))
}

// The members that flows of MiNiFi Java's own tests have, which its parser therefore reads.
func TestJSONHasNiFisShape(t *testing.T) {
	want := map[string]string{
		"":              "encodingVersion maxTimerDrivenThreadCount registries parameterContexts parameterProviders controllerServices reportingTasks templates rootGroup",
		"PROCESS_GROUP": "identifier instanceIdentifier name comments position processGroups remoteProcessGroups processors inputPorts outputPorts connections labels funnels controllerServices variables defaultFlowFileExpiration defaultBackPressureObjectThreshold defaultBackPressureDataSizeThreshold componentType flowFileConcurrency flowFileOutboundPolicy",
		"PROCESSOR":     "identifier instanceIdentifier name comments position type bundle properties propertyDescriptors style schedulingPeriod schedulingStrategy executionNode penaltyDuration yieldDuration bulletinLevel runDurationMillis concurrentlySchedulableTaskCount autoTerminatedRelationships scheduledState retryCount retriedRelationships backoffMechanism maxBackoffPeriod componentType groupIdentifier",
		"CONNECTION":    "identifier instanceIdentifier name source destination labelIndex zIndex selectedRelationships backPressureObjectThreshold backPressureDataSizeThreshold flowFileExpiration prioritizers bends loadBalanceStrategy loadBalanceCompression componentType groupIdentifier",
		"INPUT_PORT":    "identifier instanceIdentifier name comments position type concurrentlySchedulableTaskCount scheduledState allowRemoteAccess componentType groupIdentifier",
		"OUTPUT_PORT":   "identifier instanceIdentifier name comments position type concurrentlySchedulableTaskCount scheduledState allowRemoteAccess componentType groupIdentifier",
	}
	var doc map[string]any
	if err := json.Unmarshal(rendered(t, "java", sample(t, "java"), flow.Params{}), &doc); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var walk func(v any, top bool)
	walk = func(v any, top bool) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e, false)
			}
		case map[string]any:
			kind, ok := v["componentType"].(string)
			if ok || top {
				seen[kind] = true
				for _, key := range strings.Fields(want[kind]) {
					if value, ok := v[key]; !ok || value == nil {
						t.Errorf("a %q has no %s", kind, key)
					}
				}
			}
			for _, e := range v {
				walk(e, false)
			}
		}
	}
	walk(doc, true)
	for kind := range want {
		if !seen[kind] {
			t.Errorf("the sample has no %q", kind)
		}
	}
}

// Configurations of MiNiFi C++'s documentation are of this shape.
func TestParseYAMLAsPeopleWriteIt(t *testing.T) {
	f, problems, err := flow.ParseYAML([]byte(`
# a comment
MiNiFi Config Version: 3
Flow Controller:
  name: MiNiFi Flow
Processors:
- name: Get files from /tmp/input
  id: A78F9D7D-cc68-4f30-aac1-ee716d42bf9d
  class: org.apache.nifi.processors.standard.GetFile
  scheduling period: 2 sec
  scheduling strategy: TIMER_DRIVEN
  Properties:
    Input Directory: /tmp/input
    Batch Size: 0010
    Keep Source File: true
    File Filter:
- name: Publish
  id: 8c0791c7-920c-4541-bcde-f5d559f42ed2
  class: PublishKafka
  scheduling strategy: EVENT_DRIVEN
  auto-terminated relationships list: [success, failure]
  Properties: {Client Name: c, Known Brokers: "kafka:9093", Topic Name: 'it''s'}
Connections:
- name: GetFile/success/PublishKafka
  source name: Get files from /tmp/input
  source relationship name: success
  destination id: 8c0791c7-920c-4541-bcde-f5d559f42ed2
  max work queue data size: 1048576
Controller Services: []
Remote Processing Groups:
Provenance Reporting:
  scheduling strategy: TIMER_DRIVEN
`))
	if err != nil {
		t.Fatal(err)
	}
	if want := []flow.Problem{{Field: "Provenance Reporting", Message: "left out: a flow here has none", Warning: true}}; !cmp.Equal(problems, want) {
		t.Errorf("%+v", problems)
	}
	c, _, _ := f.Find("a78f9d7d-cc68-4f30-aac1-ee716d42bf9d")
	get := c.(*flow.Processor)
	if want := map[string]string{"Input Directory": "/tmp/input", "Batch Size": "0010", "Keep Source File": "true"}; !maps.Equal(get.Properties, want) {
		t.Errorf("%q", get.Properties)
	}
	conn := f.Root.Connections[0]
	if conn.Source.ID != get.ID || conn.MaxSize != "1048576 B" || conn.MaxObjects != 2000 || !slices.Equal(conn.Relationships, []string{"success"}) {
		t.Errorf("%+v", conn)
	}
	if got := found(f, parseManifest(t, "cpp")); len(got) != 0 {
		t.Errorf("%q", got)
	}
}

func TestParametersAreSubstituted(t *testing.T) {
	for _, dialect := range []string{"java", "cpp"} {
		f := sample(t, dialect)
		plain := string(rendered(t, dialect, f, flow.Params{}))
		for _, want := range []string{"https://collector.example:8443/in", "geheim##{1}", "not ##{a parameter}", "/var/log/pump.log"} {
			if !strings.Contains(plain, want) {
				t.Errorf("%s: no %s in\n%s", dialect, want, plain)
			}
		}
		if strings.Contains(plain, "Plant") || strings.Contains(plain, "#{host}") {
			t.Errorf("%s: parameters are left:\n%s", dialect, plain)
		}
		class := []flow.Parameter{{Name: "host", Value: text("class.example")}, {Name: "log dir", Value: text("/class")}}
		got := string(rendered(t, dialect, f, flow.Params{Class: class, Agent: []flow.Parameter{{Name: "host", Value: text("agent.example")}}}))
		if !strings.Contains(got, "https://agent.example:8443/in") || !strings.Contains(got, "/class/pump.log") {
			t.Errorf("%s: the agent's do not stand before the class's:\n%s", dialect, got)
		}
	}
	f := sample(t, "java")
	m := parseManifest(t, "java")
	open := apply(t, f, edit(t, f, 10, func(p *flow.Processor) { p.Properties["File to Tail"] = "#{password}" }))
	if _, err := flow.RenderJSON(open, m, flow.Params{}); !flow.Invalid.Is(err) || strings.Contains(err.Error(), "geheim") {
		t.Errorf("a secret in the open: %v", err)
	}
	if _, err := flow.RenderJSON(f, m, flow.Params{Class: []flow.Parameter{{Name: "host", Sensitive: true, Value: text("x")}}}); !flow.Invalid.Is(err) {
		t.Errorf("a secret of the class in the open: %v", err)
	}
	if _, err := flow.RenderJSON(open, m, flow.Params{Class: []flow.Parameter{{Name: "password", Value: text("x")}}}); !flow.Invalid.Is(err) {
		t.Errorf("what the flow calls sensitive a class makes public: %v", err)
	}
	missing := apply(t, f, edit(t, f, 10, func(p *flow.Processor) { p.Properties["File to Tail"] = "#{nothing}" }))
	if _, err := flow.RenderJSON(missing, m, flow.Params{}); !flow.MissingParameter.Is(err) || fault.FieldOf(err) != id(10)+".properties.File to Tail" {
		t.Errorf("%v", err)
	}
	if _, err := flow.RenderJSON(f, m, flow.Params{Agent: []flow.Parameter{{Name: "host"}}}); !flow.MissingParameter.Is(err) {
		t.Errorf("a parameter without a value: %v", err)
	}
}

func TestExportImportExport(t *testing.T) {
	for dialect, parse := range map[string]func([]byte) (*flow.Flow, []flow.Problem, error){"java": flow.ParseJSON, "cpp": flow.ParseYAML} {
		f := sample(t, dialect)
		want := exported(t, dialect, f)
		back, problems, err := parse(want)
		if err != nil || len(problems) > 0 {
			t.Fatalf("%s: %v %v", dialect, problems, err)
		}
		if got := exported(t, dialect, back); !bytes.Equal(got, want) {
			t.Errorf("%s: %s", dialect, cmp.Diff(string(want), string(got)))
		}
		if got := found(back, parseManifest(t, dialect)); len(got) != 0 {
			t.Errorf("%s: %q", dialect, got)
		}
	}
	// NiFi's text holds all that a flow has.
	f := sample(t, "java")
	back, _, err := flow.ParseJSON(exported(t, "java", f))
	if err != nil {
		t.Fatal(err)
	}
	if back, err = back.For(f.ID, f.Class); err != nil {
		t.Fatal(err)
	}
	for _, d := range flow.Diff(f, back, nil) {
		for _, field := range d.Fields { // the bundle is found, defaults are told, a group's context is its own
			if !strings.HasPrefix(field.Name, "bundle.") && field.Name != "bulletinLevel" && field.Name != "parameterContextName" {
				t.Errorf("%s: %+v", d.ComponentID, field)
			}
		}
	}
}

func TestParseSnapshot(t *testing.T) {
	f, problems, err := flow.ParseJSON([]byte(`{
		"flowContents": {"identifier": "` + id(1) + `", "name": "Exported", "labels": [{}], "parameterContextName": "P", "processors": [
			{"identifier": "` + id(2) + `", "name": "Gen", "type": "org.apache.nifi.processors.standard.GenerateFlowFile", "autoTerminatedRelationships": ["success"], "properties": {"File Size": "1 B", "mime-type": null}, "scheduledState": "DISABLED"}]},
		"externalControllerServices": {}, "flowEncodingVersion": "1.0", "latest": false,
		"parameterContexts": {"P": {"name": "P", "parameters": [{"name": "secret", "sensitive": true, "value": null}], "inheritedParameterContexts": []}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if len(problems) != 1 || problems[0].Field != "labels" {
		t.Errorf("%+v", problems)
	}
	p := f.Root.Processors[0]
	if !p.Disabled || len(p.Properties) != 1 || p.Penalty != "30 sec" || p.Tasks != 1 || f.Contexts[0].Parameters[0].Value != nil {
		t.Errorf("%+v", p)
	}
}

// A flow.json of a running NiFi refers to services by the ids of instances, and has its
// secrets encrypted.
func TestParseRunningFlow(t *testing.T) {
	f, problems, err := flow.ParseJSON([]byte(`{"encodingVersion": {"majorVersion": 2, "minorVersion": 0}, "maxTimerDrivenThreadCount": 5, "reportingTasks": [{}],
		"parameterContexts": [{"identifier": "` + id(9) + `", "name": "P", "parameters": [{"name": "s", "sensitive": true, "value": "enc{00ff}"}]}],
		"rootGroup": {"identifier": "` + id(1) + `", "instanceIdentifier": "Root-Group", "name": "x",
		"controllerServices": [{"identifier": "` + id(2) + `", "instanceIdentifier": "` + id(3) + `", "name": "TLS", "type": "T", "properties": {"Keystore Password": "enc{00ff}", "a": "b"}}],
		"processors": [{"identifier": "` + id(4) + `", "name": "p", "type": "P", "properties": {"Service": "` + id(3) + `"}}]}}`))
	if err != nil {
		t.Fatal(err)
	}
	var fields []string
	for _, p := range problems {
		fields = append(fields, p.Field)
	}
	if !slices.Equal(fields, []string{"reportingTasks", "properties.Keystore Password", "parameters.s"}) {
		t.Errorf("%q", fields)
	}
	if got := f.Root.Processors[0].Properties["Service"]; got != id(2) {
		t.Errorf("the processor refers to %s", got)
	}
	if f.Threads != 5 || f.Contexts[0].Parameters[0].Value != nil || len(f.Root.Services[0].Properties) != 1 {
		t.Errorf("%+v", f)
	}
	if _, err := flow.Apply(f, flow.Change{Action: flow.Delete, ID: id(2), Revision: one}); !flow.InUse.Is(err) {
		t.Error(err)
	}
}

func TestBadImports(t *testing.T) {
	header := "Flow Controller: {name: x}\n"
	for name, c := range map[string]struct{ yaml, message string }{
		"empty":          {"", "one document"},
		"two":            {header + "---\n" + header, "one document"},
		"not YAML":       {"a: [", "YAML"},
		"bomb":           {"a: &a [x,x]\nb: &b [*a,*a]\n" + header, "anchors"},
		"merge":          {"a: {<<: {b: c}}\n" + header, "aliases"},
		"tag":            {"a: !!binary x\n" + header, "tags"},
		"deep":           {"a: " + strings.Repeat("[", 5000), "nested"},
		"dashes":         {strings.Repeat("- ", 5000) + "a", "nested"},
		"empty entries":  {strings.Repeat("-\n", 90_000), "empty"},
		"nested empty":   {"a:\n" + strings.Repeat(" -\n", 90_000), "empty"},
		"members alone":  {strings.Repeat("k:\n", 60_000), "no value"},
		"tokens":         {strings.Repeat("- a\n", 120_000), "tokens"},
		"a list":         {"- a", "expected a map"},
		"no header":      {"Processors: []", "Flow Controller"},
		"old":            {"MiNiFi Config Version: 1\n" + header, "only 3"},
		"not a list":     {header + "Processors: {a: b}", "expected a list"},
		"not a map":      {header + "Processors: [x]", "expected a map"},
		"tasks":          {header + "Processors: [{id: " + id(1) + ", name: x, class: X, max concurrent tasks: many}]", "whole number"},
		"several values": {header + "Processors: [{id: " + id(1) + ", name: x, class: X, Properties: {a: [{value: b}]}}]", "several values"},
		"no class":       {header + "Processors: [{id: " + id(1) + ", name: x}]", "type: missing"},
		"no such end":    {header + "Connections: [{id: " + id(1) + ", source name: a, destination name: b}]", "no processor"},
		"twice":          {header + "Funnels: [{id: " + id(1) + "},{id: " + id(1) + "}]", "twice"},
		"key twice":      {header + "Funnels: [{id: a, id: b}]", "YAML"},
		"no UUID":        {header + "Funnels: [{id: a}]", "UUID"},
		"too large":      {strings.Repeat("#", 3<<20), "MiB"},
	} {
		if _, _, err := flow.ParseYAML([]byte(c.yaml)); err == nil || fault.KindOf(err) == fault.Internal || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct{ json, message string }{
		"empty":      {"", "not JSON"},
		"a list":     {"[]", "not expected"},
		"no root":    {"{}", "rootGroup"},
		"wrong type": {`{"rootGroup":{"identifier":"` + id(1) + `","name":"x","processors":"none"}}`, "rootGroup.processors"},
		"null":       {`{"rootGroup":null}`, "missing"},
		"deep":       {`{"rootGroup":` + strings.Repeat(`{"processGroups":[`, 1_000_000), "nested"},
		"no UUID":    {`{"rootGroup":{"identifier":"x","name":"x"}}`, "UUID"},
	} {
		if _, _, err := flow.ParseJSON([]byte(c.json)); err == nil || fault.KindOf(err) == fault.Internal || !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatAgentsOfCPPCannot(t *testing.T) {
	f := sample(t, "cpp")
	for field, change := range map[string]flow.Change{
		"disabled":     edit(t, f, 10, func(p *flow.Processor) { p.Disabled = true }),
		"retry":        edit(t, f, 11, func(p *flow.Processor) { p.Retry = &flow.Retry{Relationships: []string{"retry"}} }),
		"prioritizers": edit(t, f, 70, func(c *flow.Connection) { c.Prioritizers = []string{"x"} }),
	} {
		if _, err := flow.ExportYAML(apply(t, f, change), nil); !flow.Unsupported.Is(err) || !strings.HasSuffix(fault.FieldOf(err), "."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestDiff(t *testing.T) {
	m := parseManifest(t, "java")
	f := sample(t, "java")
	if d := flow.Diff(f, flow.WithoutRevisions(f), m); len(d) != 0 {
		t.Errorf("%+v", d)
	}
	g := apply(t, f,
		edit(t, f, 60, func(s *flow.ControllerService) { s.Properties["Truststore Password"] = "topsecret" }),
		edit(t, f, 50, func(c *flow.ParameterContext) {
			c.Parameters[0].Value, c.Parameters[1].Value = text("other.example"), text("topsecret")
		}),
		edit(t, f, 10, func(p *flow.Processor) { delete(p.Properties, "File to Tail"); p.Position.X = 7 }),
		flow.Change{Action: flow.Delete, ID: id(76), Revision: one},
		create(id(30), &flow.Funnel{Head: flow.Head{ID: id(21), Name: "new"}}))
	secret := text("(secret)")
	want := []flow.Difference{
		{What: flow.Changed, ComponentID: id(10), Kind: flow.KindProcessor, Name: "TailFile", Fields: []flow.Field{
			{Name: "position.x", Old: text("10"), New: text("7")}, {Name: "properties.File to Tail", Old: text("#{log dir}/pump.log")}}},
		{What: flow.Added, ComponentID: id(21), Kind: flow.KindFunnel, Name: "new"},
		{What: flow.Changed, ComponentID: id(50), Kind: flow.KindContext, Name: "Plant", Fields: []flow.Field{
			{Name: "parameters.host", Old: text("collector.example"), New: text("other.example")}, {Name: "parameters.password", Old: secret, New: secret}}},
		{What: flow.Changed, ComponentID: id(60), Kind: flow.KindService, Name: "TLS", Fields: []flow.Field{{Name: "properties.Truststore Password", Old: secret, New: secret}}},
		{What: flow.Removed, ComponentID: id(76), Kind: flow.KindConnection},
	}
	if diff := cmp.Diff(want, flow.Diff(f, g, m)); diff != "" {
		t.Error(diff)
	}
	if text := marshal(t, flow.Redact(g, m)); bytes.Contains(text, []byte("topsecret")) || !bytes.Contains(text, []byte("other.example")) {
		t.Errorf("what is redacted:\n%s", text)
	}
	if text := marshal(t, flow.WithoutRevisions(g)); bytes.Contains(text, []byte("revision")) {
		t.Errorf("%s", text)
	}
}

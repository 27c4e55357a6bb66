package manifest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/edge/edgetest"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

func parse(t testing.TB, dialect string) *manifest.Manifest {
	t.Helper()
	m, err := manifest.Parse(edgetest.Manifest(dialect))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// edited returns a dialect's manifest with some text replaced.
func edited(t testing.TB, dialect string, pairs ...string) []byte {
	t.Helper()
	text := string(edgetest.Manifest(dialect))
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the manifest has no %s", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return []byte(text)
}

func TestJavaManifest(t *testing.T) {
	m := parse(t, "java")
	if m.AgentType != manifest.Java || m.Build.Version != "2.4.0" || m.Scheduling.MaxConcurrentTasks != 1 || m.Scheduling.PenaltyMillis != 30000 {
		t.Errorf("%+v", m)
	}
	c, ok := m.Find(manifest.Processor, "org.apache.nifi.processors.standard.TailFile", manifest.Coordinates{})
	if !ok {
		t.Fatal("no TailFile")
	}
	if c.Bundle.String() != "org.apache.nifi.minifi:minifi-standard-nar:2.4.0" || c.Input != manifest.InputForbidden || !c.Serial || c.Defaults.Period["CRON_DRIVEN"] != "* * * * * ?" {
		t.Errorf("%+v", c)
	}
	p, ok := c.Property("tail-base-directory")
	if !ok || p.Required || p.HasDefault || !p.Expressions() || p.DisplayName != "Base directory" ||
		!cmp.Equal(p.Dependencies, []manifest.Dependency{{Property: "tail-mode", Values: []string{"Multiple files"}}}) {
		t.Errorf("%+v", p)
	}
	if p, _ := c.Property("tail-mode"); !p.Allows("Single file") || p.Allows("Single File") || p.Default != "Single file" {
		t.Errorf("%+v", p)
	}
	if c.Properties[0].Name != "tail-mode" || c.Properties[1].Name != "File to Tail" {
		t.Error("the order of properties is lost")
	}
	if !c.HasRelationship("success") || c.HasRelationship("failure") {
		t.Errorf("%v", c.Relationships)
	}
}

func TestCPPManifest(t *testing.T) {
	m := parse(t, "cpp")
	if m.AgentType != manifest.CPP || m.Version != "1.0.0" || m.Scheduling.MaxConcurrentTasks != 1 {
		t.Errorf("%+v", m)
	}
	for _, name := range []string{"GetFile", "org.apache.nifi.minifi.processors.GetFile", "org.apache.nifi.processors.standard.GetFile"} {
		c, ok := m.Find(manifest.Processor, name, manifest.Coordinates{Group: "any", Artifact: "any"})
		if !ok || c.Type != "org.apache.nifi.minifi.processors.GetFile" || !c.Serial {
			t.Errorf("%s: %v", name, c)
		}
	}
	invoke, _ := m.Find(manifest.Processor, "InvokeHTTP", manifest.Coordinates{})
	p, _ := invoke.Property("SSL Context Service")
	ssl, _ := m.Find(manifest.ControllerService, "SSLContextService", manifest.Coordinates{})
	if !ssl.Is(p.Service, m.AgentType) {
		t.Errorf("%+v is not %+v", ssl, p.Service)
	}
	if ssl.Is([]manifest.API{{Type: "x.RecordSetWriter"}}, m.AgentType) {
		t.Error("a service of TLS contexts writes records")
	}
}

// What agents of C++ write otherwise than Java's: values that are no texts, a member that is
// there twice, operations in lower case.
func TestQuirksOfCPP(t *testing.T) {
	m, err := manifest.Parse([]byte(`{"agentType":"cpp","identifier":"x","bundles":[{"group":"g","artifact":"a","version":"1","componentManifest":{"processors":[
		{"type":"GetTCP","supportsDynamicProperties":"false","propertyDescriptors":{
			"concurrent-handler-count":{"name":"concurrent-handler-count","required":"true","defaultValue":1,"allowableValues":[1,2]},
			"Keep":{"defaultValue":true},
			"Service":{"name":"Service","typeProvidedByValue":{"type":"a.One","group":"a","artifact":"x","type":"b.Two","group":"b","artifact":"y"}}}}]}}],
		"supportedOperations":[{"type":"update","properties":{"configuration":null}},{"type":"pause","properties":null}]}`))
	if err != nil {
		t.Fatal(err)
	}
	c, _ := m.Find(manifest.Processor, "GetTCP", manifest.Coordinates{})
	if p, _ := c.Property("concurrent-handler-count"); p.Default != "1" || !p.Required || !p.Allows("2") || p.Allows("3") {
		t.Errorf("%+v", p)
	}
	if p, _ := c.Property("Keep"); p == nil || p.Default != "true" || !p.HasDefault {
		t.Errorf("%+v", p)
	}
	p, _ := c.Property("Service")
	want := []manifest.API{{Type: "a.One", Group: "a", Artifact: "x"}, {Type: "b.Two", Group: "b", Artifact: "y"}}
	if diff := cmp.Diff(want, p.Service); diff != "" {
		t.Error(diff)
	}
	if !m.Supports("UPDATE", "Configuration") || m.Supports("update", "asset") || !m.Supports("PAUSE", "") || m.Supports("START", "") {
		t.Error("operations")
	}
}

func TestSupports(t *testing.T) {
	java, cpp := parse(t, "java"), parse(t, "cpp")
	old, err := manifest.Parse([]byte(`{"agentType":"minifi-java"}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		operation, operand string
		java, cpp, old     bool
	}{
		{"UPDATE", "configuration", true, true, true},
		{"update", "PROPERTIES", true, true, false},
		{"DESCRIBE", "manifest", true, true, true},
		{"DESCRIBE", "jstack", false, true, false},
		{"PAUSE", "", false, true, false},
		{"RESTART", "anything", false, true, false},
		{"START", "processor", true, false, false},
		{"STOP", "2438E3C8-015A-1000-79CA-83AF40EC1991", false, true, false},
		{"SYNC", "resource", true, true, false},
		{"DESTROY", "", false, false, false},
	} {
		got := []bool{java.Supports(c.operation, c.operand), cpp.Supports(c.operation, c.operand), old.Supports(c.operation, c.operand)}
		if !slices.Equal(got, []bool{c.java, c.cpp, c.old}) {
			t.Errorf("%s %s: %v", c.operation, c.operand, got)
		}
	}
	if !java.CanSync("extension") || cpp.CanSync("EXTENSION") || !cpp.CanSync("ASSET") || old.CanSync("ASSET") {
		t.Error("resources")
	}
	if !java.CanUpdate("c2.agent.heartbeat.period") || java.CanUpdate("nifi.log.logger.root") || !cpp.CanUpdate("nifi.log.logger.root") {
		t.Error("properties of the agent")
	}
}

func TestFindChoosesByBundle(t *testing.T) {
	component := `"componentManifest":{"processors":[{"type":"x.P"}]}`
	m, err := manifest.Parse([]byte(`{"agentType":"minifi-java","bundles":[{"group":"g","artifact":"a","version":"1",` + component +
		`},{"group":"g","artifact":"a","version":"2",` + component + `},{"group":"g","artifact":"b","version":"1",` + component + `}]}`))
	if err != nil {
		t.Fatal(err)
	}
	for bundle, want := range map[manifest.Coordinates]string{
		{}: "",
		{Group: "g", Artifact: "a", Version: "2"}: "g:a:2",
		{Group: "g", Artifact: "a", Version: "3"}: "",
		{Group: "g", Artifact: "b", Version: "9"}: "g:b:1",
		{Group: "g", Artifact: "c", Version: "1"}: "",
	} {
		got := ""
		if c, ok := m.Find(manifest.Processor, "x.P", bundle); ok {
			got = c.Bundle.String()
		}
		if got != want {
			t.Errorf("%v: %q, want %q", bundle, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	processor := func(text string) string {
		return `{"agentType":"cpp","bundles":[{"artifact":"a","componentManifest":{"processors":[` + text + `]}}]}`
	}
	many := func(n int, f string) string { return strings.TrimSuffix(strings.Repeat(f+",", n), ",") }
	for name, c := range map[string]struct{ text, field, message string }{
		"empty":             {"", "", "not JSON"},
		"a list":            {"[]", "", "object"},
		"cut off":           {`{"agentType":"cpp"`, "", "not JSON"},
		"no type":           {`{}`, "agentType", "missing"},
		"another type":      {`{"agentType":"rust"}`, "agentType", "rust"},
		"deep":              {strings.Repeat(`{"a":`, 1_000_000), "", "nested"},
		"deep but ignored":  {`{"agentType":"cpp","x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", "", "nested"},
		"not UTF-8":         {"{\"agentType\":\"\xff\"}", "", "UTF-8"},
		"long name":         {processor(`{"type":"` + strings.Repeat("x", 2000) + `"}`), "bundles[0].componentManifest.processors[0].type", "longer"},
		"long default":      {processor(`{"type":"x","propertyDescriptors":{"p":{"defaultValue":"` + strings.Repeat("x", 70_000) + `"}}}`), "bundles[0].componentManifest.processors[0].propertyDescriptors.p.defaultValue", "longer"},
		"twice":             {processor(`{"type":"x"},{"type":"x"}`), "bundles[0].componentManifest.processors[1].type", "twice"},
		"property twice":    {processor(`{"type":"x","propertyDescriptors":{"p":{},"p":{}}}`), "bundles[0].componentManifest.processors[0].propertyDescriptors.p", "twice"},
		"no type of it":     {processor(`{}`), "bundles[0].componentManifest.processors[0].type", "missing"},
		"wrong shape":       {processor(`"x"`), "bundles[0].componentManifest.processors[0]", "expected an object"},
		"wrong truth":       {processor(`{"type":"x","supportsDynamicProperties":"maybe"}`), "bundles[0].componentManifest.processors[0].supportsDynamicProperties", "true or false"},
		"wrong requirement": {processor(`{"type":"x","inputRequirement":"SOME"}`), "bundles[0].componentManifest.processors[0].inputRequirement", "SOME"},
		"negative":          {`{"agentType":"cpp","schedulingDefaults":{"yieldDurationMillis":-1}}`, "schedulingDefaults.yieldDurationMillis", "whole number"},
		"fraction":          {`{"agentType":"cpp","schedulingDefaults":{"yieldDurationMillis":1e99}}`, "schedulingDefaults.yieldDurationMillis", "whole number"},
		"bundles":           {`{"agentType":"cpp","bundles":[` + many(2001, `{"artifact":"a"}`) + `]}`, "bundles", "too many"},
		"values":            {processor(`{"type":"x","propertyDescriptors":{"p":{"allowableValues":[` + many(10_001, `"v"`) + `]}}}`), "bundles[0].componentManifest.processors[0].propertyDescriptors.p.allowableValues", "too many"},
		"unnamed operation": {`{"agentType":"cpp","supportedOperations":[{}]}`, "supportedOperations[0].type", "missing"},
	} {
		_, err := manifest.Parse([]byte(c.text))
		if !manifest.Invalid.Is(err) || fault.FieldOf(err) != c.field || !strings.Contains(fault.MessageOf(err), c.message) {
			t.Errorf("%s: field %q, %v", name, fault.FieldOf(err), err)
		}
	}
}

func TestDiff(t *testing.T) {
	old := parse(t, "java")
	if d := manifest.Diff(old, parse(t, "java")); !d.Empty() {
		t.Errorf("alike manifests differ: %+v", d)
	}
	text := bytes.ReplaceAll(edgetest.Manifest("java"), []byte(`"2.4.0"`), []byte(`"2.5.0"`))
	newer, err := manifest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := manifest.Diff(old, newer); !d.Empty() {
		t.Errorf("a version alone is a difference: %+v", d)
	}
	changed, err := manifest.Parse(edited(t, "java",
		"processors.standard.GetFile", "processors.standard.FetchFile",
		`"Conflict Resolution Strategy": {`, `"Added": {"name": "Added"}, "Conflict Resolution Strategy": {`,
		`"defaultValue": "fail"`, `"defaultValue": "replace"`,
		`"name": "Maximum File Count"`, `"name": "Most Files"`,
		`"name": "failure"`, `"name": "trouble"`))
	if err != nil {
		t.Fatal(err)
	}
	std := manifest.Coordinates{Group: "org.apache.nifi.minifi", Artifact: "minifi-standard-nar", Version: "2.4.0"}
	name := func(typ string) manifest.ComponentName {
		return manifest.ComponentName{Kind: manifest.Processor, Type: "org.apache.nifi.processors.standard." + typ, Bundle: std}
	}
	want := manifest.Changes{
		Added: []manifest.ComponentName{name("FetchFile")}, Removed: []manifest.ComponentName{name("GetFile")},
		Changed: []manifest.ComponentChange{{
			ComponentName: name("PutFile"), OldBundle: std,
			AddedProperties: []string{"Added", "Most Files"}, RemovedProperties: []string{"Maximum File Count"},
			ChangedProperties:  []string{"Conflict Resolution Strategy"},
			AddedRelationships: []string{"trouble"}, RemovedRelationships: []string{"failure"},
		}},
	}
	if diff := cmp.Diff(want, manifest.Diff(old, changed)); diff != "" {
		t.Error(diff)
	}
}

// What is kept of a manifest must not grow with how often it is kept, nor hold its text.
func TestMemory(t *testing.T) {
	text := edgetest.Manifest("java")
	prose := strings.Repeat("prose ", 1<<18)
	text = []byte(strings.Replace(string(text), "Creates FlowFiles from files in a directory", prose, 1))
	kept := make([]*manifest.Manifest, 20)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range kept {
		var err error
		if kept[i], err = manifest.Parse(text); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / int64(len(kept))
	if each > 128<<10 {
		t.Errorf("a manifest of %d bytes keeps %d", len(text), each)
	}
	runtime.KeepAlive(kept)
}

func FuzzParse(f *testing.F) {
	f.Add(edgetest.Manifest("java"))
	f.Add(edgetest.Manifest("cpp"))
	f.Add([]byte(`{"agentType":"cpp","bundles":[{"artifact":"a","componentManifest":{"processors":[{"type":"x","propertyDescriptors":{"p":{"typeProvidedByValue":{"group":"g","type":"t"}}}}]}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := manifest.Parse(text)
		if err != nil {
			if !manifest.Invalid.Is(err) {
				t.Fatalf("%v has no reason", err)
			}
			return
		}
		if !json.Valid(text) {
			t.Fatal("what is no JSON is a manifest")
		}
		if d := manifest.Diff(m, m); !d.Empty() {
			t.Fatalf("a manifest differs from itself: %+v", d)
		}
		for _, b := range m.Bundles {
			for _, c := range b.Components {
				if m.AgentType == manifest.Java {
					if found, ok := m.Find(c.Kind, c.Type, b.Coordinates); !ok || found != c {
						t.Fatalf("%s of %s is not found", c.Type, b)
					}
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := edgetest.Manifest("java")
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := manifest.Parse(text); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleManifest_Supports() {
	m, _ := manifest.Parse(edgetest.Manifest("cpp"))
	fmt.Println(m.Supports("UPDATE", "configuration"), m.Supports("SYNC", "resource"), m.CanSync("EXTENSION"))
	// Output: true true false
}

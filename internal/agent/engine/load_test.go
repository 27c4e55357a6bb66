package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
)

const nested = `{
 "encodingVersion": {"majorVersion": 2, "minorVersion": 0}, "maxTimerDrivenThreadCount": 4,
 "parameterContexts": [{"name": "base", "parameters": [{"name": "dir", "value": "/base"}, {"name": "suffix", "value": "~"}]},
                       {"name": "ctx", "inheritedParameterContexts": ["base"], "parameters": [{"name": "dir", "value": "/own"}]}],
 "rootGroup": {"identifier": "00000000-0000-4000-8000-000000000001", "name": "root", "parameterContextName": "ctx",
  "processors": [{"identifier": "00000000-0000-4000-8000-000000000002", "name": "gen", "type": "org.apache.nifi.processors.standard.GenerateFlowFile", "schedulingStrategy": "CRON_DRIVEN",
    "schedulingPeriod": "0 0/5 * * * ?", "properties": {"Custom Text": "#{dir}#{suffix} ##{dir} ###{dir} ####{dir}", "Mime Type": null}, "concurrentlySchedulableTaskCount": 1}],
  "connections": [{"identifier": "00000000-0000-4000-8000-000000000003", "source": {"id": "00000000-0000-4000-8000-000000000002", "type": "PROCESSOR"}, "destination": {"id": "00000000-0000-4000-8000-000000000005", "type": "INPUT_PORT"}, "selectedRelationships": ["success"],
    "backPressureObjectThreshold": 5, "backPressureDataSizeThreshold": "2 KB", "flowFileExpiration": "30 sec", "prioritizers": ["org.apache.nifi.prioritizer.OldestFlowFileFirstPrioritizer"]}],
  "processGroups": [{"identifier": "00000000-0000-4000-8000-000000000004", "name": "inner", "parameterContextName": "base",
   "inputPorts": [{"identifier": "00000000-0000-4000-8000-000000000005", "name": "in"}],
   "processors": [{"identifier": "00000000-0000-4000-8000-000000000006", "name": "log", "type": "LogAttribute", "schedulingPeriod": "1 sec", "autoTerminatedRelationships": ["success"], "properties": {"Log prefix": "#{dir}"}}],
   "connections": [{"identifier": "00000000-0000-4000-8000-000000000007", "source": {"id": "00000000-0000-4000-8000-000000000005", "type": "INPUT_PORT"}, "destination": {"id": "00000000-0000-4000-8000-000000000006", "type": "PROCESSOR"}, "selectedRelationships": [""]}]}]}}`

// catalogue is an engine of the components that agents have.
func catalogue(t *testing.T) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), engine.Config{Dir: t.TempDir()}, engine.Deps{Definitions: component.Catalogue(), Log: discard, Clock: system})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestAFlowOfGroups(t *testing.T) {
	f, err := engine.ParseFlow([]byte(nested))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Root.Processors[0].Properties["Custom Text"]; got != "/own~ #{dir} #/own ##{dir}" {
		t.Errorf("parameters: %q", got)
	}
	log := f.Root.Groups[0].Processors[0]
	if log.Name != "log" || log.Properties["Log prefix"] != "/base" || log.Period != "1 sec" || log.Penalty != "30 sec" {
		t.Errorf("%+v", log)
	}
	e := catalogue(t)
	if err := e.Apply(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if c := e.Status().Queues[0]; c.MaxCount != 5 || c.MaxBytes != 2048 {
		t.Errorf("%+v", c)
	}
	b := newBench()
	if err := b.open(t, t.TempDir(), engine.Config{}).Validate(f); err == nil {
		t.Error("a flow of other components is valid")
	}
}

func TestFlowsThatCannotBeRead(t *testing.T) {
	const group = `"identifier":"00000000-0000-4000-8000-000000000001","name":"g"`
	part := func(n int, rest string) string {
		return fmt.Sprintf(`{"identifier":"00000000-0000-4000-8000-%012d","name":"n","type":"LogAttribute","autoTerminatedRelationships":["success"],%s}`, n, rest)
	}
	e := catalogue(t)
	for want, raw := range map[string]string{
		"NiFi's JSON":        "{",
		"rootGroup: missing": "{}",
		"remote process":     `{"rootGroup":{` + group + `,"remoteProcessGroups":[` + part(2, `"targetUris":"x"`) + `]}}`,
		"reporting tasks":    `{"reportingTasks":[{}],"rootGroup":{` + group + `}}`,
		"parameter context":  `{"rootGroup":{` + group + `,"parameterContextName":"x"}}`,
		"parameter \"p\"":    `{"rootGroup":{` + group + `,"processors":[` + part(2, `"properties":{"x":"#{p}"}`) + `]}}`,
		"is encrypted":       `{"rootGroup":{` + group + `,"processors":[` + part(2, `"properties":{"x":"enc{00}"}`) + `]}}`,
		"schedulingPeriod":   `{"rootGroup":{` + group + `,"processors":[` + part(2, `"schedulingPeriod":"soon"`) + `]}}`,
		"nested more":        `{"rootGroup":` + strings.Repeat(`{"processGroups":[`, 80) + `{}` + strings.Repeat(`]}`, 80) + `}`,
		"backPressureData": `{"rootGroup":{` + group + `,"processors":[` + part(2, `"schedulingPeriod":"1 sec"`) + `],"connections":[` + part(3, `"source":{"id":"00000000-0000-4000-8000-000000000002"},
			"destination":{"id":"00000000-0000-4000-8000-000000000002"},"selectedRelationships":["success"],"backPressureDataSizeThreshold":"lots"`) + `]}}`,
	} {
		f, err := engine.ParseFlow([]byte(raw))
		if err == nil {
			err = e.Validate(f)
		}
		if err == nil || !strings.Contains(err.Error(), want) || !engine.InvalidFlow.Is(err) {
			t.Errorf("%.60s: %v, want %q", raw, err, want)
		}
	}
}

func FuzzParseFlow(f *testing.F) {
	f.Add([]byte(nested))
	f.Add([]byte(`{"rootGroup":{"identifier":"00000000-0000-4000-8000-000000000001","name":"g","processors":[{"identifier":"00000000-0000-4000-8000-000000000002","type":"GenerateFlowFile"}]}}`))
	b := newBench()
	dir := f.TempDir()
	e, err := engine.Open(f.Context(), engine.Config{Dir: dir}, engine.Deps{Definitions: append(b.definitions(), component.Catalogue()...), Log: discard, Clock: system})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = e.Close() })
	f.Fuzz(func(_ *testing.T, raw []byte) {
		if flow, err := engine.ParseFlow(raw); err == nil {
			_ = e.Validate(flow) // it must say something, and not panic
		}
	})
}

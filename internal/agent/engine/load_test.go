package engine_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
)

const nested = `{
 "encodingVersion": {"majorVersion": 2, "minorVersion": 0}, "maxTimerDrivenThreadCount": 4,
 "parameterContexts": [{"name": "base", "parameters": [{"name": "dir", "value": "/base"}, {"name": "suffix", "value": "~"}]},
                       {"name": "ctx", "inheritedParameterContexts": ["base"], "parameters": [{"name": "dir", "value": "/own"}]}],
 "rootGroup": {"identifier": "root", "parameterContextName": "ctx",
  "processors": [{"identifier": "gen", "name": "gen", "type": "org.apache.nifi.processors.standard.GenerateFlowFile", "schedulingStrategy": "CRON_DRIVEN",
    "schedulingPeriod": "0 0/5 * * * ?", "properties": {"Custom Text": "#{dir}#{suffix} ##{dir} ###{dir} ####{dir}", "Mime Type": null}, "concurrentlySchedulableTaskCount": 1}],
  "connections": [{"identifier": "a", "source": {"id": "gen", "type": "PROCESSOR"}, "destination": {"id": "in", "type": "INPUT_PORT"}, "selectedRelationships": ["success"],
    "backPressureObjectThreshold": 5, "backPressureDataSizeThreshold": "2 KB", "flowFileExpiration": "30 sec", "prioritizers": ["org.apache.nifi.prioritizer.OldestFlowFileFirstPrioritizer"]}],
  "processGroups": [{"identifier": "g", "name": "inner", "parameterContextName": "base",
   "inputPorts": [{"identifier": "in", "name": "in"}],
   "processors": [{"identifier": "log", "name": "log", "type": "LogAttribute", "schedulingPeriod": "1 sec", "autoTerminatedRelationships": ["success"], "properties": {"Log prefix": "#{dir}"}}],
   "connections": [{"identifier": "b", "source": {"id": "in", "type": "INPUT_PORT"}, "destination": {"id": "log", "type": "PROCESSOR"}, "selectedRelationships": [""]}]}]}}`

func TestAFlowOfGroups(t *testing.T) {
	f, err := engine.ParseFlow([]byte(nested))
	if err != nil {
		t.Fatal(err)
	}
	if got := f.Processors[0].Properties["Custom Text"]; got != "/own~ #{dir} #/own ##{dir}" {
		t.Errorf("parameters: %q", got)
	}
	log := f.Processors[1]
	if log.Name != "log" || log.Properties["Log prefix"] != "/base" || log.Period != time.Second || log.Penalty != 30*time.Second {
		t.Errorf("%+v", log)
	}
	c := f.Connections[0]
	if c.MaxCount != 5 || c.MaxBytes != 2048 || c.Expiration != 30*time.Second || c.Prioritizers[0] != "OldestFlowFileFirstPrioritizer" {
		t.Errorf("%+v", c)
	}
	b := newBench()
	if err := b.open(t, t.TempDir(), engine.Config{}).Validate(f); err == nil {
		t.Error("a flow of other components is valid")
	}
}

func TestFlowsThatCannotBeRead(t *testing.T) {
	for want, raw := range map[string]string{
		"NiFi's JSON":       "{",
		"no rootGroup":      "{}",
		"remote process":    `{"rootGroup":{"remoteProcessGroups":[{}]}}`,
		"reporting tasks":   `{"reportingTasks":[{}],"rootGroup":{}}`,
		"parameter context": `{"rootGroup":{"parameterContextName":"x"}}`,
		"parameter \"p\"":   `{"rootGroup":{"processors":[{"name":"a","properties":{"x":"#{p}"}}]}}`,
		"schedulingPeriod":  `{"rootGroup":{"processors":[{"name":"a","schedulingPeriod":"soon"}]}}`,
		"nest deeper":       `{"rootGroup":` + strings.Repeat(`{"processGroups":[`, 70) + `{}` + strings.Repeat(`]}`, 70) + `}`,
		"backPressureData":  `{"rootGroup":{"connections":[{"backPressureDataSizeThreshold":"lots"}]}}`,
	} {
		if _, err := engine.ParseFlow([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", raw, err, want)
		}
	}
}

func FuzzParseFlow(f *testing.F) {
	f.Add([]byte(nested))
	f.Add([]byte(`{"rootGroup":{"processors":[{"type":"GenerateFlowFile"}]}}`))
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

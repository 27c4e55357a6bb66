package engine

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Bounds of a flow as it is read.
const (
	MaxFlow       = 32 << 20 // bytes
	maxGroupDepth = 64
)

// The parts of NiFi's flow.json that an agent uses.
type (
	versionedFlow struct {
		Threads           int                `json:"maxTimerDrivenThreadCount"`
		ParameterContexts []parameterContext `json:"parameterContexts"`
		Root              *versionedGroup    `json:"rootGroup"`
		Services          []versionedService `json:"controllerServices"`
		Reporting         []json.RawMessage  `json:"reportingTasks"`
	}
	parameterContext struct {
		Name       string   `json:"name"`
		Inherited  []string `json:"inheritedParameterContexts"`
		Parameters []struct {
			Name  string  `json:"name"`
			Value *string `json:"value"`
		} `json:"parameters"`
	}
	versionedGroup struct {
		ID          string                `json:"identifier"`
		Name        string                `json:"name"`
		Context     string                `json:"parameterContextName"`
		Groups      []versionedGroup      `json:"processGroups"`
		Processors  []versionedProcessor  `json:"processors"`
		Connections []versionedConnection `json:"connections"`
		Services    []versionedService    `json:"controllerServices"`
		Funnels     []versionedPort       `json:"funnels"`
		Inputs      []versionedPort       `json:"inputPorts"`
		Outputs     []versionedPort       `json:"outputPorts"`
		Remote      []json.RawMessage     `json:"remoteProcessGroups"`
	}
	versionedPort struct {
		ID    string `json:"identifier"`
		Name  string `json:"name"`
		State string `json:"scheduledState"`
	}
	versionedService struct {
		ID         string             `json:"identifier"`
		Name       string             `json:"name"`
		Type       string             `json:"type"`
		Properties map[string]*string `json:"properties"`
		State      string             `json:"scheduledState"`
	}
	versionedProcessor struct {
		versionedService
		Strategy       string   `json:"schedulingStrategy"`
		Period         string   `json:"schedulingPeriod"`
		Penalty        string   `json:"penaltyDuration"`
		Yield          string   `json:"yieldDuration"`
		Tasks          int      `json:"concurrentlySchedulableTaskCount"`
		AutoTerminated []string `json:"autoTerminatedRelationships"`
	}
	versionedConnection struct {
		ID            string   `json:"identifier"`
		Name          string   `json:"name"`
		Source        endpoint `json:"source"`
		Destination   endpoint `json:"destination"`
		Relationships []string `json:"selectedRelationships"`
		MaxCount      *int64   `json:"backPressureObjectThreshold"`
		MaxBytes      *string  `json:"backPressureDataSizeThreshold"`
		Expiration    string   `json:"flowFileExpiration"`
		Prioritizers  []string `json:"prioritizers"`
	}
	endpoint struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	}
)

// NiFi's defaults for what a flow does not say.
const (
	defaultPenalty  = 30 * time.Second
	defaultYield    = time.Second
	defaultMaxCount = 10000
	defaultMaxBytes = 1 << 30
)

// ParseFlow reads a flow in NiFi's JSON and flattens it. Parameters are put into the
// properties that name them.
func ParseFlow(raw []byte) (*Flow, error) {
	if len(raw) > MaxFlow {
		return nil, InvalidFlow.New("a flow may have %d bytes, not %d", MaxFlow, len(raw))
	}
	var v versionedFlow
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, InvalidFlow.Wrap(err, "the flow is not NiFi's JSON: %v", err)
	}
	if v.Root == nil {
		return nil, InvalidFlow.Field("rootGroup", "the flow has no rootGroup")
	}
	l := loader{flow: &Flow{Threads: v.Threads}, contexts: map[string]parameterContext{}}
	if len(v.Reporting) > 0 {
		l.wrong.add("reporting tasks are not supported")
	}
	for _, c := range v.ParameterContexts {
		l.contexts[c.Name] = c
	}
	l.services(v.Services, nil)
	l.group(v.Root, 0)
	return l.flow, l.wrong.err()
}

type loader struct {
	flow     *Flow
	contexts map[string]parameterContext
	wrong    problems
}

func (l *loader) group(g *versionedGroup, depth int) {
	if depth > maxGroupDepth {
		l.wrong.add("process groups nest deeper than %d", maxGroupDepth)
		return
	}
	if len(g.Remote) > 0 {
		l.wrong.add("process group %q: remote process groups are not supported", g.Name)
	}
	parameters := map[string]string{}
	l.parameters(g.Context, parameters, 0)
	l.services(g.Services, parameters)
	for i := range g.Processors {
		l.processor(&g.Processors[i], g.ID, parameters)
	}
	for _, f := range g.Funnels {
		l.passThrough(f, FunnelType, g.ID)
	}
	for _, ports := range [][]versionedPort{g.Inputs, g.Outputs} {
		for _, p := range ports {
			l.passThrough(p, PortType, g.ID)
		}
	}
	for i := range g.Connections {
		l.connection(&g.Connections[i])
	}
	for i := range g.Groups {
		l.group(&g.Groups[i], depth+1)
	}
}

// parameters gathers a context's values; its own go before those it inherits, and the first
// that it inherits from before the next.
func (l *loader) parameters(name string, into map[string]string, depth int) {
	if name == "" {
		return
	}
	c, ok := l.contexts[name]
	if !ok || depth > maxGroupDepth {
		l.wrong.add("there is no usable parameter context %q", name)
		return
	}
	for _, p := range c.Parameters {
		if _, set := into[p.Name]; !set && p.Value != nil {
			into[p.Name] = *p.Value
		}
	}
	for _, parent := range c.Inherited {
		l.parameters(parent, into, depth+1)
	}
}

func (l *loader) services(list []versionedService, parameters map[string]string) {
	for i := range list {
		s := &list[i]
		l.flow.Services = append(l.flow.Services, ServiceSpec{ID: s.ID, Name: s.Name, Type: s.Type,
			Properties: l.properties(s, parameters), Disabled: s.State == "DISABLED"})
	}
}

func (l *loader) passThrough(p versionedPort, kind, group string) {
	l.flow.Processors = append(l.flow.Processors, ProcessorSpec{ID: p.ID, Name: p.Name, Type: kind, GroupID: group, Disabled: p.State == "DISABLED"})
}

func (l *loader) processor(p *versionedProcessor, group string, parameters map[string]string) {
	out := ProcessorSpec{ID: p.ID, Name: p.Name, Type: p.Type, GroupID: group, Properties: l.properties(&p.versionedService, parameters),
		AutoTerminated: p.AutoTerminated, Tasks: p.Tasks, Disabled: p.State == "DISABLED"}
	if strings.EqualFold(p.Strategy, "CRON_DRIVEN") {
		out.Cron = p.Period
	} else {
		out.Period = l.duration(p.Name, "schedulingPeriod", p.Period, 0)
	}
	out.Penalty = l.duration(p.Name, "penaltyDuration", p.Penalty, defaultPenalty)
	out.Yield = l.duration(p.Name, "yieldDuration", p.Yield, defaultYield)
	l.flow.Processors = append(l.flow.Processors, out)
}

func (l *loader) duration(name, field, s string, otherwise time.Duration) time.Duration {
	if s == "" {
		return otherwise
	}
	d, err := ParseDuration(s)
	if err != nil {
		l.wrong.add("%s: %s: %v", name, field, err)
	}
	return d
}

func (l *loader) connection(c *versionedConnection) {
	out := Connection{ID: c.ID, Name: c.Name, Source: c.Source.ID, Destination: c.Destination.ID, Relationships: c.Relationships,
		MaxCount: defaultMaxCount, MaxBytes: defaultMaxBytes, Expiration: l.duration("connection "+c.ID, "flowFileExpiration", c.Expiration, 0)}
	if c.Source.Type != "" && c.Source.Type != "PROCESSOR" {
		out.Relationships = []string{""} // a funnel or port has one way out, which has no name
	}
	if c.MaxCount != nil {
		out.MaxCount = *c.MaxCount
	}
	if c.MaxBytes != nil {
		n, err := ParseSize(*c.MaxBytes)
		if err != nil {
			l.wrong.add("connection %s: backPressureDataSizeThreshold: %v", c.ID, err)
		}
		out.MaxBytes = n
	}
	for _, p := range c.Prioritizers {
		out.Prioritizers = append(out.Prioritizers, p[strings.LastIndexByte(p, '.')+1:])
	}
	l.flow.Connections = append(l.flow.Connections, out)
}

// parameterForm is #{name} or #{'name'}. ##{name} is the text #{name}, and each further pair
// of hashes stands for one.
var parameterForm = regexp.MustCompile(`#+\{'?([A-Za-z0-9_. -]+?)'?\}`)

func (l *loader) properties(s *versionedService, parameters map[string]string) map[string]string {
	out := map[string]string{}
	for key, v := range s.Properties {
		if v == nil {
			continue
		}
		out[key] = parameterForm.ReplaceAllStringFunc(*v, func(ref string) string {
			hashes := strings.IndexByte(ref, '{')
			if hashes%2 == 0 {
				return ref[hashes/2:]
			}
			name := parameterForm.FindStringSubmatch(ref)[1]
			value, ok := parameters[name]
			if !ok {
				l.wrong.add("%s: property %q names the parameter %q, which has no value", s.Name, key, name)
			}
			return ref[:hashes/2] + value
		})
	}
	return out
}

// String names a flow in logs.
func (f *Flow) String() string {
	return fmt.Sprintf("%d processors, %d connections, %d services", len(f.Processors), len(f.Connections), len(f.Services))
}

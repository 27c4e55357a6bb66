package flow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// Problem is what keeps a flow from running as it should.
type Problem struct {
	ComponentID string `json:"componentId,omitempty"` // empty for the flow itself
	Field       string `json:"field,omitempty"`       // the member at fault; properties.NAME for a property
	Message     string `json:"message"`
	Warning     bool   `json:"warning,omitempty"` // the flow can run, but may not do what was meant
}

// Errors reports whether any of the problems is more than a warning.
func Errors(problems []Problem) bool {
	return slices.ContainsFunc(problems, func(p Problem) bool { return !p.Warning })
}

// Validate finds what is wrong with a flow for agents of a manifest, in order of components
// and fields. Parameters of the class may be given: those that the flow refers to and has
// not are looked for there. Without a manifest types and their properties are not checked.
// No message contains the value of a sensitive property or parameter.
func Validate(f *Flow, m *manifest.Manifest, params ...Params) []Problem {
	v := &validator{f: f, m: m, look: newLookup(f, params...), out: map[string][]*Connection{}, in: map[string][]*Connection{}, services: map[string]service{}}
	for g := range f.Root.groups() {
		for _, c := range g.Connections {
			v.out[c.Source.ID] = append(v.out[c.Source.ID], c)
			v.in[c.Destination.ID] = append(v.in[c.Destination.ID], c)
		}
		for _, s := range g.Services {
			v.services[s.ID] = service{s, g}
		}
	}
	for g, parent := range f.Root.groups() {
		v.group(g, parent)
	}
	v.cycles()
	slices.SortStableFunc(v.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.ComponentID, b.ComponentID), cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	return v.problems
}

// service is a controller service and the group it can be used in and below.
type service struct {
	*ControllerService
	group *Group
}

type validator struct {
	f        *Flow
	m        *manifest.Manifest // nil where there is none
	look     *lookup
	out, in  map[string][]*Connection
	services map[string]service
	problems []Problem
}

func (v *validator) add(id, field, format string, args ...any) {
	v.problems = append(v.problems, Problem{ComponentID: id, Field: field, Message: fmt.Sprintf(format, args...)})
}

func (v *validator) warn(id, field, format string, args ...any) {
	v.problems = append(v.problems, Problem{ComponentID: id, Field: field, Message: fmt.Sprintf(format, args...), Warning: true})
}

// cpp reports whether the flow is checked for C++ agents.
func (v *validator) cpp() bool { return v.m != nil && v.m.AgentType == manifest.CPP }

func (v *validator) group(g, parent *Group) {
	for _, p := range g.Processors {
		v.processor(p, g)
	}
	for _, s := range g.Services {
		if c := v.component(manifest.ControllerService, s.Type, s.Bundle, s.ID); c != nil {
			v.properties(c, s.ID, g, s.Properties)
		}
		v.bulletins(s.ID, s.Bulletins)
		if s.Disabled && v.cpp() {
			v.add(s.ID, "disabled", "a C++ agent enables every controller service")
		}
	}
	for _, p := range g.Inputs {
		if len(v.out[p.ID]) == 0 {
			v.warn(p.ID, "", "nothing leads from the input port %q into its group", p.Name)
		}
		v.tasks(p.ID, p.Tasks, false)
	}
	for _, p := range g.Outputs {
		if len(v.in[p.ID]) == 0 {
			v.warn(p.ID, "", "nothing leads to the output port %q", p.Name)
		}
		if len(v.out[p.ID]) == 0 && parent != nil {
			v.warn(p.ID, "", "nothing leads from the output port %q", p.Name)
		}
		v.tasks(p.ID, p.Tasks, false)
	}
	for _, n := range g.Funnels {
		if len(v.in[n.ID]) > 0 && len(v.out[n.ID]) == 0 {
			v.warn(n.ID, "", "the funnel leads nowhere: what comes in stays in its queues")
		}
	}
	for _, r := range g.Remotes {
		v.remote(r)
	}
	for _, c := range g.Connections {
		v.connection(c)
	}
	v.oneOf(g.ID, "flowFileConcurrency", g.Concurrency, "", "UNBOUNDED", "SINGLE_FLOWFILE_PER_NODE", "SINGLE_BATCH_PER_NODE")
	v.oneOf(g.ID, "flowFileOutboundPolicy", g.Outbound, "", "STREAM_WHEN_AVAILABLE", "BATCH_OUTPUT")
	if v.cpp() && (g.Concurrency != "" && g.Concurrency != "UNBOUNDED" || g.Outbound != "" && g.Outbound != "STREAM_WHEN_AVAILABLE") {
		v.add(g.ID, "flowFileConcurrency", "a C++ agent has no such setting of groups")
	}
}

// component finds a type in the manifest.
func (v *validator) component(kind manifest.Kind, typ string, b Bundle, id string) *manifest.Component {
	if v.m == nil {
		return nil
	}
	if c, ok := v.m.Find(kind, typ, b.coordinates()); ok {
		return c
	}
	switch what := strings.TrimSuffix(string(kind), "s"); {
	case !v.m.Has(kind, typ):
		v.add(id, "type", "the agents of this class have no %s %s", what, typ)
	case b == Bundle{}:
		v.add(id, "bundle", "the %s %s is in several bundles of the agents: one must be chosen", what, typ)
	default:
		v.add(id, "bundle", "the %s %s is not in the agents' bundle %s", what, typ, b.coordinates())
	}
	return nil
}

func (v *validator) processor(p *Processor, g *Group) {
	c := v.component(manifest.Processor, p.Type, p.Bundle, p.ID)
	v.schedule(p, c)
	v.duration(p.ID, "penaltyDuration", p.Penalty)
	v.duration(p.ID, "yieldDuration", p.Yield)
	v.bulletins(p.ID, p.Bulletins)
	if p.RunMillis < 0 {
		v.add(p.ID, "runDurationMillis", "%d is negative", p.RunMillis)
	}
	if r := p.Retry; r != nil {
		v.duration(p.ID, "retry.maxBackoffPeriod", r.MaxBackoff)
		v.oneOf(p.ID, "retry.backoffMechanism", r.Backoff, "PENALIZE_FLOWFILE", "YIELD_PROCESSOR")
		if r.Count < 0 {
			v.add(p.ID, "retry.retryCount", "%d is negative", r.Count)
		}
	}
	if v.cpp() {
		if p.Disabled {
			v.add(p.ID, "disabled", "a C++ agent runs every processor")
		}
		if p.Retry != nil && len(p.Retry.Relationships) > 0 {
			v.add(p.ID, "retry", "a C++ agent retries by connections alone")
		}
		if p.Annotation != "" {
			v.add(p.ID, "annotationData", "a C++ agent has no such thing")
		}
	}
	if c == nil {
		return
	}
	v.properties(c, p.ID, g, p.Properties)
	v.relationships(p, c)
	v.input(p, c)
}

// relationships checks that everything a processor gives goes somewhere.
func (v *validator) relationships(p *Processor, c *manifest.Component) {
	gone := map[string]bool{}
	known := func(rel, id, field string) {
		gone[rel] = true
		if !c.HasRelationship(rel) && !c.DynamicRelationships {
			v.add(id, field, "the processor %s has no relationship %q", p.Type, rel)
		}
	}
	for _, o := range v.out[p.ID] {
		for _, rel := range o.Relationships {
			known(rel, o.ID, "selectedRelationships")
		}
	}
	for _, rel := range p.AutoTerminated {
		if gone[rel] {
			v.warn(p.ID, "autoTerminatedRelationships", "the relationship %q is connected and ended as well", rel)
		}
		known(rel, p.ID, "autoTerminatedRelationships")
	}
	if p.Retry != nil {
		for _, rel := range p.Retry.Relationships {
			if !c.HasRelationship(rel) && !c.DynamicRelationships {
				v.add(p.ID, "retry.retriedRelationships", "the processor %s has no relationship %q", p.Type, rel)
			}
		}
	}
	for _, rel := range c.Relationships {
		if !gone[rel] {
			v.add(p.ID, "relationships", "the relationship %q is neither connected nor ended", rel)
		}
	}
	if c.DynamicRelationships {
		for name := range p.Properties {
			if _, described := c.Property(name); !described && !gone[name] {
				v.warn(p.ID, "relationships", "the relationship %q that the property makes is neither connected nor ended", name)
			}
		}
	}
}

// input checks connections to a processor. As in NiFi those from itself do not count.
func (v *validator) input(p *Processor, c *manifest.Component) {
	fed := slices.ContainsFunc(v.in[p.ID], func(o *Connection) bool { return o.Source.ID != p.ID })
	switch {
	case c.Input == manifest.InputRequired && !fed:
		v.add(p.ID, "inputRequirement", "the processor %s works on flow files, and no connection brings any", p.Type)
	case c.Input == manifest.InputForbidden && fed:
		v.add(p.ID, "inputRequirement", "the processor %s takes no flow files, and a connection brings some", p.Type)
	}
}

func (v *validator) connection(c *Connection) {
	if !isSize(c.MaxSize) {
		v.add(c.ID, "backPressureDataSizeThreshold", "%q is not a size such as 1 GB", c.MaxSize)
	}
	v.duration(c.ID, "flowFileExpiration", c.Expiration)
	if v.cpp() && len(c.Prioritizers) > 0 {
		v.add(c.ID, "prioritizers", "a C++ agent has no prioritizers")
	}
}

func (v *validator) remote(r *RemoteGroup) {
	for target := range strings.SplitSeq(r.Targets, ",") {
		if !webAddress(strings.TrimSpace(target)) {
			v.add(r.ID, "targetUris", "%q is not an address such as https://nifi:8443/nifi", strings.TrimSpace(target))
		}
	}
	v.duration(r.ID, "communicationsTimeout", r.Timeout)
	v.duration(r.ID, "yieldDuration", r.Yield)
	v.oneOf(r.ID, "transportProtocol", r.Transport, "RAW", "HTTP")
	if r.ProxyPort < 0 || r.ProxyPort > 65535 {
		v.add(r.ID, "proxyPort", "%d is no port", r.ProxyPort)
	}
	for _, p := range slices.Concat(r.Inputs, r.Outputs) {
		field := "ports." + p.ID
		v.tasks(r.ID, p.Tasks, false)
		if p.BatchSize != "" && !isSize(p.BatchSize) {
			v.add(r.ID, field, "the batch size %q is not a size such as 1 MB", p.BatchSize)
		}
		if p.BatchDuration != "" {
			v.duration(r.ID, field, p.BatchDuration)
		}
		if p.TargetID != "" && !isID(p.TargetID) {
			v.add(r.ID, field, "the target %q is not a UUID", p.TargetID)
		}
	}
}

func (v *validator) oneOf(id, field, value string, allowed ...string) {
	if !slices.Contains(allowed, value) {
		v.add(id, field, "%q is not one of %s", value, strings.Join(slices.DeleteFunc(allowed, func(s string) bool { return s == "" }), ", "))
	}
}

func (v *validator) bulletins(id, level string) {
	v.oneOf(id, "bulletinLevel", level, "", "DEBUG", "INFO", "WARN", "ERROR", "NONE")
}

func (v *validator) tasks(id string, n int, serial bool) {
	const field = "concurrentlySchedulableTaskCount"
	switch {
	case n < 1:
		v.add(id, field, "at least one task is needed, not %d", n)
	case n > 255: // what a C++ agent's type can hold
		v.add(id, field, "at most 255 tasks are possible, not %d", n)
	case serial && n > 1:
		v.warn(id, field, "the processor never runs more than one task")
	}
}

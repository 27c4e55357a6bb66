package flow

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge/jsontext"
)

// ParseJSON reads NiFi's flow.json, or a group as NiFi exports it. The flow gets an id that
// follows from the root group's: see For. What the text has and a Flow has not, such as
// labels and reporting tasks, is left out and told of in the problems, which are warnings.
func ParseJSON(text []byte) (*Flow, []Problem, error) {
	if err := jsontext.Check(text, 2*maxGroups+16); err != nil {
		return nil, nil, Invalid.New("the flow is %v", err)
	}
	root := gjson.ParseBytes(text)
	d := &nifiDecoder{}
	var flow nifiFlow
	if root.Get("flowContents").Exists() {
		var snapshot nifiSnapshot
		if err := json.Unmarshal(text, &snapshot); err != nil {
			return nil, nil, unreadable(err)
		}
		flow.Root, flow.Threads = snapshot.Contents, 1
		for _, name := range slices.Sorted(maps.Keys(snapshot.Contexts)) {
			flow.Contexts = append(flow.Contexts, snapshot.Contexts[name])
		}
		d.left("externalControllerServices", len(snapshot.External))
	} else {
		if err := json.Unmarshal(text, &flow); err != nil {
			return nil, nil, unreadable(err)
		}
		d.left("controllerServices", len(flow.Services))
		d.left("reportingTasks", len(flow.Reporting))
		d.left("parameterProviders", len(flow.Providers))
		d.left("registries", len(flow.Registries))
		d.left("templates", len(flow.Templates))
	}
	if flow.Root == nil {
		return nil, nil, Invalid.Field("rootGroup", "rootGroup: missing; a flow.json or a group exported by NiFi is expected")
	}
	d.services = map[string]string{}
	d.instances(*flow.Root)
	f := &Flow{ID: imported(flow.Root.ID), Threads: flow.Threads, Root: d.group(*flow.Root)}
	for _, c := range flow.Contexts {
		f.Contexts = append(f.Contexts, d.context(c))
	}
	f, err := finish(f)
	return f, d.problems, err
}

// unreadable tells of JSON that is not a flow's.
func unreadable(err error) error {
	if e, ok := err.(*json.UnmarshalTypeError); ok { //nolint:errorlint // json returns it as it is
		return Invalid.Field(e.Field, "%s: a %s is not expected", e.Field, e.Value)
	}
	return Invalid.New("the flow cannot be read: %v", err)
}

// imported returns the id of a flow that was read, which has none.
func imported(root string) string {
	return uuid.NewSHA1(uuid.NameSpaceOID, []byte("flow of "+root)).String()
}

type nifiDecoder struct {
	problems []Problem
	services map[string]string // ids of controller services by the ids of their instances
}

// instances notes the controller services: a flow.json refers to the instances of the NiFi
// that wrote it, which have other ids than the services in the text.
func (d *nifiDecoder) instances(g nifiGroup) {
	for _, s := range g.Services {
		if s.Instance != "" {
			d.services[s.Instance] = strings.ToLower(s.ID)
		}
	}
	for _, c := range g.Groups {
		d.instances(c)
	}
}

// encrypted reports whether a value can be read by the NiFi alone that wrote it.
func encrypted(v string) bool { return strings.HasPrefix(v, "enc{") && strings.HasSuffix(v, "}") }

// lost notes a value that is encrypted.
func lost(id, field string) Problem {
	return Problem{ComponentID: id, Field: field, Message: "left out: the value is encrypted for whom it was exported from", Warning: true}
}

// left notes that a list is left out, unless it is empty.
func (d *nifiDecoder) left(what string, n int) { d.leftIn("", what, n) }

func (d *nifiDecoder) leftIn(id, what string, n int) {
	if n > 0 {
		d.problems = append(d.problems, Problem{ComponentID: id, Field: what, Message: "left out: a flow here has none", Warning: true})
	}
}

func (d *nifiDecoder) head(h nifiHead) Head {
	return Head{ID: strings.ToLower(h.ID), Name: h.Name, Comments: h.Comments, Position: h.Position, Revision: Revision{Version: 1}}
}

func (d *nifiDecoder) context(c nifiContext) *ParameterContext {
	out := &ParameterContext{Head: Head{ID: c.ID, Name: c.Name, Comments: c.Description, Revision: Revision{Version: 1}}, Inherits: c.Inherits}
	if out.ID == "" { // of older exports
		out.ID = uuid.NewSHA1(uuid.NameSpaceOID, []byte("parameter context "+c.Name)).String()
	}
	if len(out.Inherits) == 0 {
		out.Inherits = nil
	}
	for _, p := range c.Parameters {
		if p.Value != nil && encrypted(*p.Value) {
			d.problems = append(d.problems, lost(out.ID, "parameters."+p.Name))
			p.Value = nil
		}
		out.Parameters = append(out.Parameters, Parameter{Name: p.Name, Description: p.Description, Sensitive: p.Sensitive, Value: p.Value})
	}
	return out
}

func (d *nifiDecoder) group(g nifiGroup) *Group {
	out := &Group{Head: d.head(g.nifiHead), Context: g.Context, Concurrency: g.Concurrency, Outbound: g.Outbound}
	d.leftIn(out.ID, "labels", len(g.Labels))
	d.leftIn(out.ID, "variables", len(g.Variables))
	for _, c := range g.Groups {
		out.Groups = append(out.Groups, d.group(c))
	}
	for _, p := range g.Processors {
		out.Processors = append(out.Processors, d.processor(p))
	}
	for _, s := range g.Services {
		out.Services = append(out.Services, &ControllerService{
			Head: d.head(s.nifiHead), Type: s.Type, Bundle: or(s.Bundle, Bundle{}), Properties: d.values(s.ID, s.Properties),
			Bulletins: or(s.Bulletins, defaultBulletins), Annotation: s.Annotation, Disabled: s.State == "DISABLED",
		})
	}
	for _, p := range g.Inputs {
		out.Inputs = append(out.Inputs, d.port(p, KindInput))
	}
	for _, p := range g.Outputs {
		out.Outputs = append(out.Outputs, d.port(p, KindOutput))
	}
	for _, f := range g.Funnels {
		out.Funnels = append(out.Funnels, &Funnel{d.head(f.nifiHead)})
	}
	for _, r := range g.Remotes {
		out.Remotes = append(out.Remotes, d.remote(r))
	}
	for _, c := range g.Connections {
		out.Connections = append(out.Connections, &Connection{
			Head: d.head(c.nifiHead), Source: End{ID: strings.ToLower(c.Source.ID)}, Destination: End{ID: strings.ToLower(c.Destination.ID)},
			Relationships: c.Relationships, MaxObjects: or(c.MaxObjects, defaultMaxObjects), MaxSize: or(c.MaxSize, defaultMaxSize),
			Expiration: or(c.Expiration, defaultExpiration), Prioritizers: some(c.Prioritizers), Bends: some(c.Bends),
		})
		if c.Balance != "" && c.Balance != "DO_NOT_LOAD_BALANCE" {
			d.leftIn(c.ID, "loadBalanceStrategy", 1)
		}
	}
	return out
}

// some returns a list, nil where it is empty.
func some[T any](in []T) []T {
	if len(in) == 0 {
		return nil
	}
	return in
}

// values returns properties that have a value.
func (d *nifiDecoder) values(id string, in map[string]*string) map[string]string {
	var out map[string]string
	for _, name := range slices.Sorted(maps.Keys(in)) {
		switch v := in[name]; {
		case v == nil:
		case encrypted(*v):
			d.problems = append(d.problems, lost(id, "properties."+name))
		default:
			if out == nil {
				out = map[string]string{}
			}
			out[name] = *v
			if service, ok := d.services[*v]; ok {
				out[name] = service
			}
		}
	}
	return out
}

func (d *nifiDecoder) processor(p nifiProcessor) *Processor {
	out := &Processor{
		Head: d.head(p.nifiHead), Type: p.Type, Bundle: or(p.Bundle, Bundle{}), Properties: d.values(p.ID, p.Properties),
		Strategy: or(p.Strategy, defaultStrategy), Period: or(p.Period, "0 sec"), Tasks: or(p.Tasks, 1),
		Penalty: or(p.Penalty, defaultPenalty), Yield: or(p.Yield, defaultYield), Bulletins: or(p.Bulletins, defaultBulletins),
		RunMillis: p.RunMillis, AutoTerminated: p.AutoTerminated, Annotation: p.Annotation, Disabled: p.State == "DISABLED",
	}
	if len(p.Retried) > 0 {
		out.Retry = &Retry{or(p.RetryCount, defaultRetries), p.Retried, or(p.Backoff, defaultBackoff), or(p.MaxBackoff, defaultMaxBackoff)}
	}
	return out
}

func (d *nifiDecoder) port(p nifiPort, kind Kind) *Port {
	return &Port{Head: d.head(p.nifiHead), Type: kind, Tasks: or(p.Tasks, 1), Remote: p.Remote}
}

func (d *nifiDecoder) remote(r nifiRemote) *RemoteGroup {
	ports := func(in []nifiRemotePort) []*RemotePort {
		var out []*RemotePort
		for _, p := range in {
			batch := or(p.Batch, nifiBatch{})
			out = append(out, &RemotePort{
				ID: strings.ToLower(p.ID), Name: p.Name, Comments: p.Comments, TargetID: strings.ToLower(p.Target), Tasks: or(p.Tasks, 1), Compression: p.Compression,
				BatchCount: batch.Count, BatchSize: batch.Size, BatchDuration: batch.Duration, Stopped: p.State == "ENABLED" || p.State == "DISABLED",
			})
		}
		return out
	}
	return &RemoteGroup{
		Head: d.head(r.nifiHead), Targets: cmp.Or(r.Targets, r.Target), Timeout: or(r.Timeout, defaultTimeout), Yield: or(r.Yield, "10 sec"),
		Transport: or(r.Transport, defaultTransport), Interface: r.Interface, ProxyHost: r.ProxyHost, ProxyPort: r.ProxyPort,
		ProxyUser: r.ProxyUser, ProxyPassword: r.ProxyPassword, Inputs: ports(r.Inputs), Outputs: ports(r.Outputs),
	}
}

package flow

import (
	"cmp"
	"slices"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// RenderJSON writes a flow for one Java agent as NiFi's flow.json, with the values of
// parameters in place: see Resolve. Types get the bundles that the manifest has them in. The
// text depends on nothing but the arguments.
func RenderJSON(f *Flow, m *manifest.Manifest, p Params) ([]byte, error) {
	r, err := Resolve(f, m, p)
	if err != nil {
		return nil, err
	}
	return ExportJSON(r, m)
}

// ExportJSON writes a flow as NiFi's flow.json with its parameters. It can be read by NiFi,
// and by ParseJSON.
func ExportJSON(f *Flow, m *manifest.Manifest) ([]byte, error) {
	c := f.clone()
	c.canon()
	e := &nifiEncoder{m: m, names: map[string]*Head{}, contexts: c.context()}
	for component := range c.All() {
		e.names[component.Meta().ID] = component.Meta()
		if r, ok := component.(*RemoteGroup); ok {
			for _, p := range slices.Concat(r.Inputs, r.Outputs) {
				e.names[p.ID] = &Head{Name: p.Name, Comments: p.Comments}
			}
		}
	}
	contexts := make([]nifiContext, 0, len(c.Contexts))
	for _, pc := range c.Contexts {
		contexts = append(contexts, e.context(pc))
	}
	root := e.group(c.Root, "")
	return encode(nifiFlow{
		Encoding: nifiVersion{2, 0}, Threads: max(c.Threads, 1), Registries: []any{}, Contexts: contexts,
		Providers: []any{}, Services: []any{}, Reporting: []any{}, Templates: []any{}, Root: &root,
	})
}

type nifiEncoder struct {
	m        *manifest.Manifest
	names    map[string]*Head  // of what connections lead to
	contexts map[string]string // by groups
}

func (*nifiEncoder) head(h Head) nifiHead {
	return nifiHead{ID: h.ID, Instance: h.ID, Name: h.Name, Comments: h.Comments, Position: h.Position}
}

// list applies to to a list, which is never null.
func list[A, B any](in []A, to func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, a := range in {
		out = append(out, to(a))
	}
	return out
}

func (e *nifiEncoder) group(g *Group, parent string) nifiGroup {
	return nifiGroup{
		nifiHead:    e.head(g.Head),
		Groups:      list(g.Groups, func(c *Group) nifiGroup { return e.group(c, g.ID) }),
		Remotes:     list(g.Remotes, func(r *RemoteGroup) nifiRemote { return e.remote(r, g.ID) }),
		Processors:  list(g.Processors, func(p *Processor) nifiProcessor { return e.processor(p, g.ID) }),
		Inputs:      list(g.Inputs, func(p *Port) nifiPort { return e.port(p, g.ID) }),
		Outputs:     list(g.Outputs, func(p *Port) nifiPort { return e.port(p, g.ID) }),
		Connections: list(g.Connections, func(c *Connection) nifiConnection { return e.connection(c, g.ID) }),
		Labels:      []any{},
		Funnels: list(g.Funnels, func(f *Funnel) nifiFunnel {
			return nifiFunnel{e.head(f.Head), nifiTail{KindFunnel, g.ID}}
		}),
		Services:    list(g.Services, func(s *ControllerService) nifiService { return e.service(s, g.ID) }),
		Variables:   map[string]any{},
		Context:     e.contexts[g.ID],
		Expiration:  defaultExpiration,
		MaxObjects:  defaultMaxObjects,
		MaxSize:     defaultMaxSize,
		Concurrency: cmp.Or(g.Concurrency, unbounded),
		Outbound:    cmp.Or(g.Outbound, whenAvailable),
		nifiTail:    nifiTail{KindGroup, parent},
	}
}

func (e *nifiEncoder) context(c *ParameterContext) nifiContext {
	return nifiContext{
		ID: c.ID, Instance: c.ID, Name: c.Name, Description: c.Comments, Component: KindContext,
		Inherits: list(c.Inherits, same),
		Parameters: list(c.Parameters, func(p Parameter) nifiParameter {
			return nifiParameter{Name: p.Name, Description: p.Description, Sensitive: p.Sensitive, Value: p.Value}
		}),
	}
}

// known returns the type and the bundle that the manifest has for a component, or its own.
func (e *nifiEncoder) known(kind manifest.Kind, typ string, b Bundle) (*manifest.Component, string, *Bundle) {
	c := find(e.m, kind, typ, b)
	switch {
	case c != nil:
		known := Bundle(c.Bundle.Coordinates)
		return c, c.Type, &known
	case b == Bundle{}:
		return nil, typ, nil
	}
	return nil, typ, &b
}

func pointers(props map[string]string) map[string]*string {
	out := map[string]*string{}
	for name, v := range props {
		out[name] = &v
	}
	return out
}

func (e *nifiEncoder) processor(p *Processor, group string) nifiProcessor {
	_, typ, bundle := e.known(manifest.Processor, p.Type, p.Bundle)
	retry := Retry{Count: defaultRetries, Backoff: defaultBackoff, MaxBackoff: defaultMaxBackoff}
	if p.Retry != nil {
		retry = *p.Retry
	}
	state := "RUNNING"
	if p.Disabled {
		state = "DISABLED"
	}
	return nifiProcessor{
		nifiHead: e.head(p.Head), Type: typ, Bundle: bundle, Properties: pointers(p.Properties), Descriptors: map[string]any{}, Style: map[string]any{},
		Annotation: p.Annotation, Period: &p.Period, Strategy: &p.Strategy, Node: "ALL", Penalty: &p.Penalty, Yield: &p.Yield,
		Bulletins: &p.Bulletins, RunMillis: p.RunMillis, Tasks: &p.Tasks, AutoTerminated: list(p.AutoTerminated, same), State: state,
		RetryCount: &retry.Count, Retried: list(retry.Relationships, same), Backoff: &retry.Backoff, MaxBackoff: &retry.MaxBackoff,
		nifiTail: nifiTail{KindProcessor, group},
	}
}

func same[T any](v T) T { return v }

func (e *nifiEncoder) service(s *ControllerService, group string) nifiService {
	c, typ, bundle := e.known(manifest.ControllerService, s.Type, s.Bundle)
	state := "ENABLED"
	if s.Disabled {
		state = "DISABLED"
	}
	var apis []manifest.API
	if c != nil {
		apis = c.Provides
	}
	level := cmp.Or(s.Bulletins, defaultBulletins)
	return nifiService{
		nifiHead: e.head(s.Head), Type: typ, Bundle: bundle, Properties: pointers(s.Properties), Descriptors: map[string]any{},
		APIs: list(apis, func(a manifest.API) nifiAPI {
			return nifiAPI{a.Type, Bundle{a.Group, a.Artifact, a.Version}}
		}),
		Annotation: s.Annotation, State: state, Bulletins: &level, nifiTail: nifiTail{KindService, group},
	}
}

func (e *nifiEncoder) port(p *Port, group string) nifiPort {
	return nifiPort{nifiHead: e.head(p.Head), Type: p.Type, Tasks: &p.Tasks, State: "RUNNING", Remote: p.Remote, nifiTail: nifiTail{p.Type, group}}
}

func (e *nifiEncoder) end(end End) nifiEnd {
	h := e.names[end.ID]
	return nifiEnd{ID: end.ID, Type: end.Type, Group: end.Group, Name: h.Name, Comments: h.Comments, Instance: end.ID}
}

func (e *nifiEncoder) connection(c *Connection, group string) nifiConnection {
	relationships := list(c.Relationships, same)
	if c.Source.Type != KindProcessor {
		relationships = []string{""} // the nameless one that ports and funnels have
	}
	return nifiConnection{
		nifiHead: e.head(c.Head), Source: e.end(c.Source), Destination: e.end(c.Destination), Label: 1, Relationships: relationships,
		MaxObjects: &c.MaxObjects, MaxSize: &c.MaxSize, Expiration: &c.Expiration, Prioritizers: list(c.Prioritizers, same),
		Bends:   list(c.Bends, same),
		Balance: "DO_NOT_LOAD_BALANCE", Compression: "DO_NOT_COMPRESS", nifiTail: nifiTail{KindConnection, group},
	}
}

func (e *nifiEncoder) remote(r *RemoteGroup, group string) nifiRemote {
	ports := func(in []*RemotePort, kind Kind) []nifiRemotePort {
		return list(in, func(p *RemotePort) nifiRemotePort {
			state := "RUNNING"
			if p.Stopped {
				state = "ENABLED"
			}
			var batch *nifiBatch
			if b := (nifiBatch{p.BatchCount, p.BatchSize, p.BatchDuration}); b != (nifiBatch{}) {
				batch = &b
			}
			return nifiRemotePort{
				ID: p.ID, Instance: p.ID, Name: p.Name, Comments: p.Comments, RemoteGroup: r.ID, Tasks: &p.Tasks, Compression: p.Compression,
				Batch: batch, nifiTail: nifiTail{kind, r.ID}, Target: cmp.Or(p.TargetID, p.ID), State: state,
			}
		})
	}
	return nifiRemote{
		nifiHead: e.head(r.Head), Targets: r.Targets, Timeout: &r.Timeout, Yield: &r.Yield, Transport: &r.Transport, Interface: r.Interface,
		ProxyHost: r.ProxyHost, ProxyPort: r.ProxyPort, ProxyUser: r.ProxyUser, ProxyPassword: r.ProxyPassword,
		Inputs: ports(r.Inputs, KindRemoteInput), Outputs: ports(r.Outputs, KindRemoteOutput), nifiTail: nifiTail{KindRemote, group},
	}
}

package flow

import (
	"cmp"
	"maps"
	"slices"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// RenderYAML writes a flow for one agent as MiNiFi Config Version 3, with the values of
// parameters in place: see Resolve. The text depends on nothing but the arguments. Agents of C++ and those of
// Java up to 1.x read two dialects of it; the manifest says which.
func RenderYAML(f *Flow, m *manifest.Manifest, p Params) ([]byte, error) {
	r, err := Resolve(f, m, p)
	if err != nil {
		return nil, err
	}
	return ExportYAML(r, m)
}

// ExportYAML writes a flow as MiNiFi Config Version 3 with its parameters, in the dialect of C++ agents unless the
// manifest is a Java agent's. Places on the canvas and comments have no place there. An error of the reason
// Unsupported names what else has none and would change what the flow does.
func ExportYAML(f *Flow, m *manifest.Manifest) ([]byte, error) {
	c := f.clone()
	c.canon()
	java := m != nil && m.AgentType == manifest.Java
	if err := c.plain(java); err != nil {
		return nil, err
	}
	e := &yamlEncoder{m: m, java: java, contexts: c.context()}
	doc := yamlMap{
		{"MiNiFi Config Version", 3},
		{"Flow Controller", yamlMap{{"name", c.Root.Name}, {"id", c.Root.ID}}},
	}
	if len(c.Contexts) > 0 {
		doc = append(doc, yamlPair{"Parameter Contexts", list(c.Contexts, e.context)})
	}
	return writeYAML(append(doc, e.contents(c.Root)...)), nil
}

// plain refuses what no agent that reads YAML does.
func (f *Flow) plain(java bool) error {
	for c := range f.All() {
		what := ""
		switch c := c.(type) {
		case *Processor:
			switch {
			case c.Disabled:
				what = "disabled"
			case c.Retry != nil:
				what = "retry"
			case c.Annotation != "" && !java:
				what = "annotationData"
			}
		case *ControllerService:
			if c.Disabled {
				what = "disabled"
			}
		case *Connection:
			if len(c.Prioritizers) > 0 && !java || len(c.Prioritizers) > 1 {
				what = "prioritizers"
			}
		case *Group:
			if c.Concurrency != "" || c.Outbound != "" {
				what = "flowFileConcurrency"
			}
		}
		if what != "" {
			return Unsupported.Field(at(c, what), "the %s %s: %s has no place in a flow in YAML", c.Kind(), c.Meta().ID, what)
		}
	}
	return nil
}

type yamlEncoder struct {
	m        *manifest.Manifest
	java     bool              // the dialect of Java agents up to 1.x
	contexts map[string]string // by groups
}

// contents returns what is in a group. Processors and connections are there even if they are none.
func (e *yamlEncoder) contents(g *Group) yamlMap {
	out := yamlMap{}
	if name := e.contexts[g.ID]; name != "" {
		out = append(out, yamlPair{"Parameter Context Name", name})
	}
	out = append(out, yamlPair{"Processors", list(g.Processors, e.processor)}, yamlPair{"Connections", list(g.Connections, e.connection)})
	add := func(key string, list []yamlMap) {
		if len(list) > 0 {
			out = append(out, yamlPair{key, list})
		}
	}
	add("Funnels", list(g.Funnels, func(f *Funnel) yamlMap { return named(f.Head) }))
	add("Input Ports", list(g.Inputs, func(p *Port) yamlMap { return named(p.Head) }))
	add("Output Ports", list(g.Outputs, func(p *Port) yamlMap { return named(p.Head) }))
	add("Controller Services", list(g.Services, e.service))
	add("Remote Process Groups", list(g.Remotes, e.remote))
	add("Process Groups", list(g.Groups, func(c *Group) yamlMap { return append(named(c.Head), e.contents(c)...) }))
	return out
}

// named returns what all components have.
func named(h Head) yamlMap {
	out := yamlMap{{"id", h.ID}}
	if h.Name != "" {
		out = append(out, yamlPair{"name", h.Name})
	}
	return out
}

func (e *yamlEncoder) context(c *ParameterContext) yamlMap {
	out := append(named(c.Head), yamlPair{"description", c.Comments}, yamlPair{"Parameters", list(c.Parameters, func(p Parameter) yamlMap {
		return yamlMap{{"name", p.Name}, {"description", p.Description}, {"sensitive", p.Sensitive}, {"value", or(p.Value, "")}}
	})})
	if len(c.Inherits) > 0 {
		out = append(out, yamlPair{"Inherited Parameter Contexts", c.Inherits})
	}
	return out
}

func (e *yamlEncoder) class(kind manifest.Kind, typ string, b Bundle) string {
	if c := find(e.m, kind, typ, b); c != nil {
		return c.Type
	}
	return typ
}

func settings(props map[string]string) yamlMap {
	out := yamlMap{}
	for _, name := range slices.Sorted(maps.Keys(props)) {
		out = append(out, yamlPair{name, props[name]})
	}
	return out
}

func (e *yamlEncoder) processor(p *Processor) yamlMap {
	out := append(named(p.Head),
		yamlPair{"class", e.class(manifest.Processor, p.Type, p.Bundle)},
		yamlPair{"max concurrent tasks", p.Tasks},
		yamlPair{"scheduling strategy", p.Strategy},
		yamlPair{"scheduling period", p.Period},
		yamlPair{"penalization period", p.Penalty},
		yamlPair{"yield period", p.Yield},
		yamlPair{"bulletin level", cmp.Or(p.Bulletins, defaultBulletins)},
		yamlPair{"run duration nanos", p.RunMillis * 1_000_000},
		yamlPair{"auto-terminated relationships list", list(p.AutoTerminated, same)},
	)
	if p.Annotation != "" {
		out = append(out, yamlPair{"annotation data", p.Annotation})
	}
	return append(out, yamlPair{"Properties", settings(p.Properties)})
}

func (e *yamlEncoder) service(s *ControllerService) yamlMap {
	kind := "class"
	if e.java {
		kind = "type"
	}
	return append(named(s.Head), yamlPair{kind, e.class(manifest.ControllerService, s.Type, s.Bundle)}, yamlPair{"Properties", settings(s.Properties)})
}

// fixed are the relationships that sources other than processors have in a C++ agent.
var fixed = map[Kind][]string{
	KindFunnel: {"success"}, KindInput: {"success"}, KindOutput: {"success"}, KindRemoteOutput: {"undefined"},
}

func (e *yamlEncoder) connection(c *Connection) yamlMap {
	relationships := c.Relationships
	if c.Source.Type != KindProcessor {
		relationships = fixed[c.Source.Type]
		if e.java {
			relationships = []string{}
		}
	}
	out := append(named(c.Head),
		yamlPair{"source id", c.Source.ID},
		yamlPair{"source relationship names", relationships},
		yamlPair{"destination id", c.Destination.ID},
		yamlPair{"max work queue size", c.MaxObjects},
		yamlPair{"max work queue data size", c.MaxSize},
		yamlPair{"flowfile expiration", c.Expiration},
	)
	if len(c.Prioritizers) > 0 {
		out = append(out, yamlPair{"queue prioritizer class", c.Prioritizers[0]})
	}
	return out
}

func (e *yamlEncoder) remote(r *RemoteGroup) yamlMap {
	out := append(named(r.Head), yamlPair{"url", r.Targets}, yamlPair{"timeout", r.Timeout}, yamlPair{"yield period", r.Yield}, yamlPair{"transport protocol", r.Transport})
	text := func(key, v string) {
		if v != "" {
			out = append(out, yamlPair{key, v})
		}
	}
	text("local network interface", r.Interface)
	text("proxy host", r.ProxyHost)
	text("proxy user", r.ProxyUser)
	text("proxy password", r.ProxyPassword)
	if r.ProxyPort > 0 {
		out = append(out, yamlPair{"proxy port", r.ProxyPort})
	}
	return append(out, yamlPair{"Input Ports", list(r.Inputs, remotePort)}, yamlPair{"Output Ports", list(r.Outputs, remotePort)})
}

func remotePort(p *RemotePort) yamlMap {
	out := yamlMap{{"id", p.ID}, {"name", p.Name}, {"max concurrent tasks", p.Tasks}}
	if p.Compression {
		out = append(out, yamlPair{"use compression", true})
	}
	var batch yamlMap
	if p.BatchCount > 0 {
		batch = append(batch, yamlPair{"count", p.BatchCount})
	}
	if p.BatchSize != "" {
		batch = append(batch, yamlPair{"size", p.BatchSize})
	}
	if p.BatchDuration != "" {
		batch = append(batch, yamlPair{"duration", p.BatchDuration})
	}
	if batch != nil {
		out = append(out, yamlPair{"batch size", batch})
	}
	props := yamlMap{}
	if p.TargetID != "" {
		props = append(props, yamlPair{"Port UUID", p.TargetID})
	}
	return append(out, yamlPair{"Properties", props})
}

package flow

import (
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// Resolve returns the flow with the values of parameters in its properties, for one agent,
// and without parameter contexts. What an agent would take for a reference in such a value
// is escaped. An error is of the reason MissingParameter, or Invalid where a secret would
// end in the open: a sensitive parameter in a property that the manifest does not call
// sensitive. Without a manifest that is not looked at.
func Resolve(f *Flow, m *manifest.Manifest, p Params) (*Flow, error) {
	return f.resolve(m, p, Escape)
}

// Literal returns the flow with the texts that its properties stand for, for whom runs it:
// parameters have their values, and what was escaped is so no more. Sent to an agent it would
// be another flow. An error is of the reason MissingParameter.
func Literal(f *Flow) (*Flow, error) {
	return f.resolve(nil, Params{}, same)
}

// resolve puts the values of parameters into properties; how the literal text of a property
// is to be written, write tells.
func (f *Flow) resolve(m *manifest.Manifest, p Params, write func(literal string) string) (*Flow, error) {
	look := newLookup(f, p)
	out := f.clone()
	out.Contexts = nil
	for g := range out.Root.groups() {
		g.Context = ""
		for i, c := range g.Processors {
			c = c.clone().(*Processor)
			if err := look.resolve(g, c.ID, find(m, manifest.Processor, c.Type, c.Bundle), c.Properties, write); err != nil {
				return nil, err
			}
			g.Processors[i] = c
		}
		for i, s := range g.Services {
			s = s.clone().(*ControllerService)
			if err := look.resolve(g, s.ID, find(m, manifest.ControllerService, s.Type, s.Bundle), s.Properties, write); err != nil {
				return nil, err
			}
			g.Services[i] = s
		}
	}
	out.canon()
	return out, nil
}

// find returns what the manifest says of a type; nil where it says nothing, or there is none.
func find(m *manifest.Manifest, kind manifest.Kind, typ string, b Bundle) *manifest.Component {
	if m == nil {
		return nil
	}
	c, _ := m.Find(kind, typ, b.coordinates())
	return c
}

// resolve puts values of parameters into properties, in place.
func (l *lookup) resolve(g *Group, id string, c *manifest.Component, props map[string]string, write func(string) string) error {
	for name, v := range props {
		field := id + ".properties." + name
		literal, err := expand(v, func(parameter string) (string, error) {
			p, ok := l.find(g, parameter)
			switch {
			case !ok:
				return "", MissingParameter.Field(field, "the property %q of %s refers to the parameter %q, which does not exist", name, id, parameter)
			case p.Value == nil:
				return "", MissingParameter.Field(field, "the property %q of %s refers to the parameter %q, which has no value", name, id, parameter)
			case p.Sensitive && !keepsSecrets(c, name):
				return "", Invalid.Field(field, "the property %q of %s is not sensitive and refers to the sensitive parameter %q", name, id, parameter)
			}
			return *p.Value, nil
		})
		if err != nil {
			return err
		}
		props[name] = write(literal)
	}
	return nil
}

// keepsSecrets reports whether a sensitive parameter may go into a property.
func keepsSecrets(c *manifest.Component, property string) bool {
	if c == nil {
		return true
	}
	d, ok := c.Property(property)
	if !ok {
		return c.SensitiveDynamicProperties
	}
	return d.Sensitive
}

// HasSecrets reports whether a flow holds what only its agents may see: values of properties that the manifest
// calls sensitive, references to sensitive parameters, a proxy's password.
func HasSecrets(f *Flow, m *manifest.Manifest, p Params) bool {
	look := newLookup(f, p)
	secret := func(g *Group, c *manifest.Component, props map[string]string) bool {
		for name, v := range props {
			if c != nil && v != "" {
				if d, ok := c.Property(name); ok && d.Sensitive {
					return true
				}
			}
			for _, r := range References(v) {
				if parameter, ok := look.find(g, r); ok && parameter.Sensitive {
					return true
				}
			}
		}
		return false
	}
	for g := range f.Root.groups() {
		for _, c := range g.Processors {
			if secret(g, find(m, manifest.Processor, c.Type, c.Bundle), c.Properties) {
				return true
			}
		}
		for _, c := range g.Services {
			if secret(g, find(m, manifest.ControllerService, c.Type, c.Bundle), c.Properties) {
				return true
			}
		}
		for _, r := range g.Remotes {
			if r.ProxyPassword != "" {
				return true
			}
		}
	}
	return false
}

// Redact returns the flow without the values of sensitive parameters, and of the properties
// that the manifest calls sensitive where these do not refer to a parameter.
func Redact(f *Flow, m *manifest.Manifest) *Flow {
	out := f.clone()
	for i, c := range out.Contexts {
		c = c.clone().(*ParameterContext)
		for j := range c.Parameters {
			if c.Parameters[j].Sensitive {
				c.Parameters[j].Value = nil
			}
		}
		out.Contexts[i] = c
	}
	hide := func(c *manifest.Component, props map[string]string) {
		if c == nil {
			return
		}
		for name, v := range props {
			if d, ok := c.Property(name); ok && d.Sensitive && len(References(v)) == 0 {
				delete(props, name)
			}
		}
	}
	for g := range out.Root.groups() {
		for i, c := range g.Processors {
			c = c.clone().(*Processor)
			hide(find(m, manifest.Processor, c.Type, c.Bundle), c.Properties)
			g.Processors[i] = c
		}
		for i, s := range g.Services {
			s = s.clone().(*ControllerService)
			hide(find(m, manifest.ControllerService, s.Type, s.Bundle), s.Properties)
			g.Services[i] = s
		}
		for i, r := range g.Remotes {
			r = r.clone().(*RemoteGroup)
			r.ProxyPassword = ""
			g.Remotes[i] = r
		}
	}
	out.canon()
	return out
}

// WithoutRevisions returns the flow as one that was never changed: what is exported for git.
func WithoutRevisions(f *Flow) *Flow { return f.each(func(h *Head) { h.Revision = Revision{} }) }

// For returns the flow under another id and for another class.
func (f *Flow) For(id, class string) (*Flow, error) {
	c := f.clone()
	c.ID, c.Class = id, class
	return finish(c)
}

// each returns the flow with another head of every component.
func (f *Flow) each(do func(*Head)) *Flow {
	out := f.clone()
	replace(out.Contexts, do)
	for g := range out.Root.groups() {
		do(&g.Head) // a copy already
		replace(g.Processors, do)
		replace(g.Services, do)
		replace(g.Inputs, do)
		replace(g.Outputs, do)
		replace(g.Funnels, do)
		replace(g.Remotes, do)
		replace(g.Connections, do)
	}
	return out
}

func replace[C Component](list []C, do func(*Head)) {
	for i, c := range list {
		c = c.clone().(C)
		do(c.Meta())
		list[i] = c
	}
}

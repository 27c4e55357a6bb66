package flow

import (
	"fmt"
	"slices"

	"github.com/google/uuid"
)

// What a flow may hold.
const (
	maxComponents = 20_000
	maxGroups     = 64      // levels of groups in groups
	maxText       = 1 << 20 // bytes of a property's value, a comment or an annotation
	maxName       = 1_024
	maxContexts   = 500
	maxMembers    = 5_000 // properties of a component, parameters of a context
)

// check reports the first breach of what every flow keeps to: see the package's words.
func (f *Flow) check() error {
	if f.Root == nil {
		return Invalid.Field("rootGroup", "rootGroup: missing")
	}
	if !isID(f.ID) {
		return Invalid.Field("identifier", "identifier: %q is not a UUID", f.ID)
	}
	if f.Threads < 0 || f.Threads > 1000 {
		return Invalid.Field("maxTimerDrivenThreadCount", "maxTimerDrivenThreadCount: %d is not between 0 and 1000", f.Threads)
	}
	where, err := f.places()
	if err != nil {
		return err
	}
	if err := f.checkContexts(); err != nil {
		return err
	}
	for g := range f.Root.groups() {
		if err := g.checkPorts(); err != nil {
			return err
		}
		for _, c := range g.Connections {
			if err := c.check(g, where); err != nil {
				return err
			}
		}
	}
	return nil
}

// place is where an id is: the component that has it, or whose port does, and its group.
type place struct {
	kind  Kind
	group *Group
	at    Component
}

// places returns where every id is, after a check of what each component says of itself.
func (f *Flow) places() (map[string]place, error) {
	where := map[string]place{}
	put := func(id string, p place) error {
		if !isID(id) {
			return Invalid.Field(id+".identifier", "%s: the identifier %q is not a UUID", p.kind, id)
		}
		if _, twice := where[id]; twice {
			return ComponentExists.New("the identifier %s is there twice", id)
		}
		if len(where) == maxComponents {
			return Invalid.New("a flow has at most %d components", maxComponents)
		}
		where[id] = p
		return nil
	}
	for c, g := range f.All() {
		if err := put(c.Meta().ID, place{c.Kind(), g, c}); err != nil {
			return nil, err
		}
		if err := sane(c); err != nil {
			return nil, err
		}
		if r, ok := c.(*RemoteGroup); ok {
			for _, p := range r.Inputs {
				if err := put(p.ID, place{KindRemoteInput, g, r}); err != nil {
					return nil, err
				}
			}
			for _, p := range r.Outputs {
				if err := put(p.ID, place{KindRemoteOutput, g, r}); err != nil {
					return nil, err
				}
			}
		}
	}
	return where, nil
}

// at returns the field of a component, for an error.
func at(c Component, field string) string { return c.Meta().ID + "." + field }

// sane checks what a component says without a look at any other.
func sane(c Component) error {
	h := c.Meta()
	fail := func(field, format string, args ...any) error {
		return Invalid.Field(at(c, field), "%s %s: %s: %s", c.Kind(), h.ID, field, fmt.Sprintf(format, args...))
	}
	if len(h.Name) > maxName {
		return fail("name", "longer than %d bytes", maxName)
	}
	if len(h.Comments) > maxText {
		return fail("comments", "longer than %d bytes", maxText)
	}
	properties := func(props map[string]string) error {
		if len(props) > maxMembers {
			return fail("properties", "more than %d", maxMembers)
		}
		for name, v := range props {
			if name == "" || len(name) > maxName || len(v) > maxText {
				return fail("properties."+name, "a name has 1 to %d bytes and a value at most %d", maxName, maxText)
			}
		}
		return nil
	}
	switch c := c.(type) {
	case *Processor:
		if c.Type == "" {
			return fail("type", "missing")
		}
		return properties(c.Properties)
	case *ControllerService:
		if c.Type == "" {
			return fail("type", "missing")
		}
		if h.Name == "" {
			return fail("name", "missing")
		}
		return properties(c.Properties)
	case *Connection:
		if c.MaxObjects < 0 {
			return fail("backPressureObjectThreshold", "%d is negative", c.MaxObjects)
		}
	case *Port:
		if c.Type != KindInput && c.Type != KindOutput {
			return fail("type", "%q is neither %s nor %s", c.Type, KindInput, KindOutput)
		}
		if h.Name == "" {
			return fail("name", "missing")
		}
	case *Group, *ParameterContext:
		if h.Name == "" {
			return fail("name", "missing")
		}
	}
	return nil
}

func (f *Flow) checkContexts() error {
	if len(f.Contexts) > maxContexts {
		return Invalid.Field("parameterContexts", "a flow has at most %d parameter contexts", maxContexts)
	}
	names := map[string]*ParameterContext{}
	for _, c := range f.Contexts {
		if names[c.Name] != nil {
			return ComponentExists.New("there are two parameter contexts %q", c.Name)
		}
		names[c.Name] = c
		if len(c.Parameters) > maxMembers {
			return Invalid.Field(at(c, "parameters"), "a parameter context has at most %d parameters", maxMembers)
		}
		seen := map[string]bool{}
		for _, p := range c.Parameters {
			field := at(c, "parameters."+p.Name)
			if !parameterName.MatchString(p.Name) {
				return Invalid.Field(field, "%q is no name of a parameter: letters, digits, -, _, . and spaces are allowed", p.Name)
			}
			if seen[p.Name] {
				return ComponentExists.New("the parameter context %q has two parameters %q", c.Name, p.Name)
			}
			seen[p.Name] = true
			if p.Value != nil && len(*p.Value) > maxText {
				return Invalid.Field(field, "the value of %q is longer than %d bytes", p.Name, maxText)
			}
		}
	}
	for _, c := range f.Contexts {
		for _, name := range c.Inherits {
			if names[name] == nil {
				return Invalid.Field(at(c, "inheritedParameterContexts"), "there is no parameter context %q to inherit from", name)
			}
		}
	}
	for _, c := range f.Contexts {
		if inherits(names, c) {
			return Invalid.Field(at(c, "inheritedParameterContexts"), "the parameter context %q inherits from itself", c.Name)
		}
	}
	for g := range f.Root.groups() {
		if g.Context != "" && names[g.Context] == nil {
			return Invalid.Field(at(g, "parameterContextName"), "there is no parameter context %q", g.Context)
		}
	}
	return nil
}

// inherits reports whether a context inherits from itself, over others or at once.
func inherits(names map[string]*ParameterContext, c *ParameterContext) bool {
	seen := map[string]bool{}
	var down func(o *ParameterContext) bool
	down = func(o *ParameterContext) bool {
		for _, name := range o.Inherits {
			if name == c.Name {
				return true
			}
			if !seen[name] {
				seen[name] = true
				if down(names[name]) {
					return true
				}
			}
		}
		return false
	}
	return down(c)
}

func (g *Group) checkPorts() error {
	for _, ports := range [][]*Port{g.Inputs, g.Outputs} {
		names := map[string]bool{}
		for _, p := range ports {
			if names[p.Name] {
				return ComponentExists.New("the group %s has two ports of the name %q on one side", g.ID, p.Name)
			}
			names[p.Name] = true
		}
	}
	return nil
}

// check reports an end that is not there, or where the connection's group does not reach: it
// reaches what is directly in it, and the ports of the groups in it.
func (c *Connection) check(g *Group, where map[string]place) error {
	for _, e := range []struct {
		field         string
		id            string
		inner, outer  Kind // the port of a group within, and the port of the group itself
		remote, other Kind
	}{
		{"source", c.Source.ID, KindOutput, KindInput, KindRemoteOutput, KindRemoteInput},
		{"destination", c.Destination.ID, KindInput, KindOutput, KindRemoteInput, KindRemoteOutput},
	} {
		fail := func(format string, args ...any) error {
			return Invalid.Field(at(c, e.field+".id"), "connection %s: its %s %s", c.ID, e.field, fmt.Sprintf(format, args...))
		}
		p, ok := where[e.id]
		if !ok {
			return fail("%q does not exist", e.id)
		}
		switch p.kind {
		case KindProcessor, KindFunnel, e.outer, e.remote:
			if p.group != g {
				return fail("%s is not in the group %s", e.id, g.ID)
			}
		case e.inner:
			if p.group == nil || !slices.Contains(g.Groups, p.group) {
				return fail("%s is not the port of a group in %s", e.id, g.ID)
			}
		default:
			return fail("%s is a %s, which cannot be one", e.id, p.kind)
		}
	}
	if len(c.Relationships) == 0 && where[c.Source.ID].kind == KindProcessor {
		return Invalid.Field(at(c, "selectedRelationships"), "connection %s: no relationship of its source is selected", c.ID)
	}
	return nil
}

// isID reports whether a text is a UUID in its usual form.
func isID(id string) bool {
	return len(id) == 36 && uuid.Validate(id) == nil
}

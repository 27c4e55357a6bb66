package flow

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
)

func (p *Processor) clone() Component {
	c := *p
	c.Properties = maps.Clone(p.Properties)
	c.AutoTerminated = slices.Clone(p.AutoTerminated)
	if p.Retry != nil {
		r := *p.Retry
		r.Relationships = slices.Clone(r.Relationships)
		c.Retry = &r
	}
	return &c
}

func (c *Connection) clone() Component {
	n := *c
	n.Relationships = slices.Clone(c.Relationships)
	n.Prioritizers = slices.Clone(c.Prioritizers)
	n.Bends = slices.Clone(c.Bends)
	return &n
}

func (s *ControllerService) clone() Component {
	c := *s
	c.Properties = maps.Clone(s.Properties)
	return &c
}

func (f *Funnel) clone() Component { c := *f; return &c }
func (p *Port) clone() Component   { c := *p; return &c }

func (r *RemoteGroup) clone() Component {
	c := *r
	c.Inputs, c.Outputs = slices.Clone(r.Inputs), slices.Clone(r.Outputs)
	for _, ports := range [][]*RemotePort{c.Inputs, c.Outputs} {
		for i, p := range ports {
			n := *p
			ports[i] = &n
		}
	}
	return &c
}

// clone copies the lists of a group and of the groups in it; what else is in the lists is shared.
func (g *Group) clone() Component {
	c := *g
	c.Processors = slices.Clone(g.Processors)
	c.Services = slices.Clone(g.Services)
	c.Inputs = slices.Clone(g.Inputs)
	c.Outputs = slices.Clone(g.Outputs)
	c.Funnels = slices.Clone(g.Funnels)
	c.Remotes = slices.Clone(g.Remotes)
	c.Connections = slices.Clone(g.Connections)
	c.Groups = make([]*Group, len(g.Groups))
	for i, child := range g.Groups {
		c.Groups[i] = child.clone().(*Group)
	}
	return &c
}

func (p *ParameterContext) clone() Component {
	c := *p
	c.Inherits = slices.Clone(p.Inherits)
	c.Parameters = slices.Clone(p.Parameters)
	for i, v := range c.Parameters {
		if v.Value != nil {
			value := *v.Value
			c.Parameters[i].Value = &value
		}
	}
	return &c
}

// clone copies the flow's lists; components other than groups are shared.
func (f *Flow) clone() *Flow {
	c := *f
	c.Contexts = slices.Clone(f.Contexts)
	c.Root = f.Root.clone().(*Group)
	return &c
}

// settings returns the group without what is in it.
func (g *Group) settings() *Group {
	return &Group{Head: g.Head, Context: g.Context, Concurrency: g.Concurrency, Outbound: g.Outbound}
}

// groups goes through a group and those in it, outer ones first, each with its parent.
func (g *Group) groups() iter.Seq2[*Group, *Group] {
	return func(yield func(*Group, *Group) bool) {
		var down func(g, parent *Group) bool
		down = func(g, parent *Group) bool {
			if !yield(g, parent) {
				return false
			}
			for _, c := range g.Groups {
				if !down(c, g) {
					return false
				}
			}
			return true
		}
		down(g, nil)
	}
}

// own goes through the components that are directly in the group.
func (g *Group) own() iter.Seq[Component] {
	return func(yield func(Component) bool) {
		_ = each(g.Processors, yield) && each(g.Services, yield) && each(g.Inputs, yield) && each(g.Outputs, yield) &&
			each(g.Funnels, yield) && each(g.Remotes, yield) && each(g.Groups, yield) && each(g.Connections, yield)
	}
}

func each[C Component](list []C, yield func(Component) bool) bool {
	for _, c := range list {
		if !yield(c) {
			return false
		}
	}
	return true
}

// All goes through the flow's components with the groups they are in: the parameter contexts
// and the root group first, which are in none. They are not to be changed.
func (f *Flow) All() iter.Seq2[Component, *Group] {
	return func(yield func(Component, *Group) bool) {
		for _, c := range f.Contexts {
			if !yield(c, nil) {
				return
			}
		}
		if !yield(f.Root, nil) {
			return
		}
		for g := range f.Root.groups() {
			for c := range g.own() {
				if !yield(c, g) {
					return
				}
			}
		}
	}
}

// Find returns a component and the group it is in. They are not to be changed.
func (f *Flow) Find(id string) (Component, *Group, bool) {
	for c, g := range f.All() {
		if c.Meta().ID == id {
			return c, g, true
		}
	}
	return nil, nil, false
}

// canon brings a flow that nobody else has yet into its one form: lists in order of ids,
// names in sets in order, nothing empty where nothing would do, the ends of connections
// filled in.
func (f *Flow) canon() {
	sortByID(f.Contexts)
	for i, c := range f.Contexts {
		c = c.clone().(*ParameterContext)
		slices.SortStableFunc(c.Parameters, func(a, b Parameter) int { return cmp.Compare(a.Name, b.Name) })
		f.Contexts[i] = c
	}
	ends := map[string]End{}
	for g := range f.Root.groups() {
		if g.Concurrency == unbounded {
			g.Concurrency = ""
		}
		if g.Outbound == whenAvailable {
			g.Outbound = ""
		}
		sortByID(g.Processors)
		sortByID(g.Services)
		sortByID(g.Inputs)
		sortByID(g.Outputs)
		sortByID(g.Funnels)
		sortByID(g.Remotes)
		sortByID(g.Groups)
		sortByID(g.Connections)
		for i, p := range g.Processors {
			p = p.clone().(*Processor)
			p.AutoTerminated = set(p.AutoTerminated)
			if p.Retry != nil {
				if p.Retry.Relationships = set(p.Retry.Relationships); p.Retry.Relationships == nil {
					p.Retry = nil // nothing is tried again
				}
			}
			g.Processors[i] = p
		}
		for i, r := range g.Remotes {
			r = r.clone().(*RemoteGroup)
			for _, ports := range [][]*RemotePort{r.Inputs, r.Outputs} {
				slices.SortStableFunc(ports, func(a, b *RemotePort) int { return cmp.Compare(a.ID, b.ID) })
			}
			for _, p := range slices.Concat(r.Inputs, r.Outputs) {
				if p.TargetID == p.ID {
					p.TargetID = ""
				}
			}
			for _, p := range r.Inputs {
				ends[p.ID] = End{p.ID, KindRemoteInput, r.ID}
			}
			for _, p := range r.Outputs {
				ends[p.ID] = End{p.ID, KindRemoteOutput, r.ID}
			}
			g.Remotes[i] = r
		}
		for c := range g.own() {
			if id := c.Meta().ID; connects(c.Kind()) {
				ends[id] = End{id, c.Kind(), g.ID}
			}
		}
	}
	for g := range f.Root.groups() {
		for i, c := range g.Connections {
			c = c.clone().(*Connection)
			for _, end := range []*End{&c.Source, &c.Destination} {
				if known, ok := ends[end.ID]; ok {
					*end = known
				}
			}
			c.Relationships = set(c.Relationships)
			if c.Source.Type != KindProcessor {
				c.Relationships = nil // NiFi and C++ agents have a nameless or a fixed one there
			}
			g.Connections[i] = c
		}
	}
}

// connects reports whether connections can lead to a kind.
func connects(k Kind) bool {
	return k == KindProcessor || k == KindFunnel || k == KindInput || k == KindOutput
}

func sortByID[C Component](list []C) {
	slices.SortStableFunc(list, func(a, b C) int { return cmp.Compare(a.Meta().ID, b.Meta().ID) })
}

// set returns names in order, each once and none empty; nil for none.
func set(names []string) []string {
	out := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return strings.TrimSpace(s) == "" })
	slices.Sort(out)
	if out = slices.Compact(out); len(out) == 0 {
		return nil
	}
	return out
}

// context returns the name of the parameter context that each group uses, by the group's id.
func (f *Flow) context() map[string]string {
	out := map[string]string{}
	for g, parent := range f.Root.groups() {
		out[g.ID] = g.Context
		if g.Context == "" && parent != nil {
			out[g.ID] = out[parent.ID]
		}
	}
	return out
}

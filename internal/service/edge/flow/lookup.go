package flow

// Params are values of parameters beside the flow's own. An agent's stand before its
// class's, and these before the flow's. One that the flow calls sensitive is.
type Params struct {
	Agent, Class []Parameter
}

// lookup finds parameters as the groups of a flow see them.
type lookup struct {
	over     map[string]Parameter // of the agent and the class
	contexts map[string]*ParameterContext
	of       map[string]string // the context's name by the group's id
}

func newLookup(f *Flow, params ...Params) *lookup {
	l := &lookup{over: map[string]Parameter{}, contexts: map[string]*ParameterContext{}, of: f.context()}
	for _, c := range f.Contexts {
		l.contexts[c.Name] = c
	}
	for _, p := range params {
		for _, v := range p.Class {
			l.over[v.Name] = v
		}
		for _, v := range p.Agent {
			v.Sensitive = v.Sensitive || l.over[v.Name].Sensitive
			l.over[v.Name] = v
		}
	}
	return l
}

// find returns a parameter by the name that a component of the group refers to it.
func (l *lookup) find(g *Group, name string) (Parameter, bool) {
	p, ok := l.inherited(l.contexts[l.of[g.ID]], name, map[string]bool{})
	if o, over := l.over[name]; over {
		o.Sensitive = o.Sensitive || p.Sensitive
		return o, true
	}
	return p, ok
}

// inherited looks into a context and then into those it inherits from, in their order.
func (l *lookup) inherited(c *ParameterContext, name string, seen map[string]bool) (Parameter, bool) {
	if c == nil || seen[c.Name] {
		return Parameter{}, false
	}
	seen[c.Name] = true
	for _, p := range c.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	for _, from := range c.Inherits {
		if p, ok := l.inherited(l.contexts[from], name, seen); ok {
			return p, true
		}
	}
	return Parameter{}, false
}

// value returns what a reference in a group stands for.
func (l *lookup) value(g *Group, name string) (string, error) {
	p, ok := l.find(g, name)
	if !ok {
		return "", MissingParameter.New("there is no parameter %q", name)
	}
	if p.Value == nil {
		return "", MissingParameter.New("the parameter %q has no value", name)
	}
	return *p.Value, nil
}

// expand returns the literal text that a value stands for in a group.
func (l *lookup) expand(g *Group, value string) (string, error) {
	return expand(value, func(name string) (string, error) { return l.value(g, name) })
}

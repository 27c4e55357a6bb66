package engine

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/agent/expression"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// Limits of one flow.
const (
	maxProcessors  = 1000
	maxConnections = 4000
	maxTasks       = 64
	maxThreads     = 256
	maxID          = 200
	maxProblems    = 20
)

// plan is a flow that was validated, with its components made.
type plan struct {
	flow  *flow.Flow
	nodes []*node
	links []link

	threads int
}

// problems gathers what is wrong with a flow.
type problems []string

func (p *problems) add(format string, args ...any) {
	if len(*p) < maxProblems {
		*p = append(*p, fmt.Sprintf(format, args...))
	}
}

func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	return InvalidFlow.New("the flow is not valid: %s", strings.Join(p, "; "))
}

// duration reads the field of a component.
func (p *problems) duration(of, field, text string) time.Duration {
	d, err := flow.ParseDuration(text)
	if err != nil {
		p.add("%s: %s: %v", of, field, err)
	}
	return d
}

// parts is a flow flattened: funnels and ports are processors of kinds of their own.
type parts struct {
	nodes       []*node
	services    []*flow.ControllerService
	connections []*flow.Connection
}

func (e *Engine) take(f *flow.Flow, wrong *problems) parts {
	var out parts
	node := func(spec *flow.Processor, g *flow.Group) {
		out.nodes = append(out.nodes, &node{engine: e, spec: spec, group: g.ID, out: map[string][]*queue{}, sessions: map[*Session]struct{}{}})
	}
	pass := func(kind string, h flow.Head, g *flow.Group) {
		node(&flow.Processor{Head: h, Type: kind, Period: "0 sec", Penalty: "0 sec", Yield: "0 sec"}, g)
	}
	for c, g := range f.All() {
		switch c := c.(type) {
		case *flow.Processor:
			node(c, g)
		case *flow.Funnel:
			pass(funnelType, c.Head, g)
		case *flow.Port:
			pass(portType, c.Head, g)
		case *flow.ControllerService:
			out.services = append(out.services, c)
		case *flow.Connection:
			out.connections = append(out.connections, c)
		case *flow.RemoteGroup:
			wrong.add("process group %q: remote process groups are not supported", g.Name)
		}
	}
	return out
}

// prepare validates a flow and makes its components. Nothing of the engine changes.
func (e *Engine) prepare(f *flow.Flow) (*plan, error) {
	var wrong problems
	parts := e.take(f, &wrong)
	if len(parts.nodes) > maxProcessors || len(parts.services) > maxProcessors || len(parts.connections) > maxConnections {
		return nil, InvalidFlow.New("a flow may have %d processors and %d connections", maxProcessors, maxConnections)
	}
	if f.Threads < 0 || f.Threads > maxThreads {
		return nil, InvalidFlow.New("a flow may have %d threads, not %d", maxThreads, f.Threads)
	}
	services := e.prepareServices(parts.services, &wrong)
	p := &plan{flow: f, threads: cmp.Or(f.Threads, defaultThreads)}
	linked := map[string]*ends{}
	for _, n := range parts.nodes {
		switch id := n.spec.ID; {
		case id == "" || len(id) > maxID:
			wrong.add("processor %q has no usable identifier", n.spec.Name)
		case linked[id] != nil:
			wrong.add("two components have the identifier %s", id)
		default:
			linked[id] = &ends{node: n, routes: map[string]bool{}}
			p.nodes = append(p.nodes, n)
		}
	}
	p.links = connect(parts.connections, linked, &wrong)
	for _, n := range p.nodes {
		if n.spec.Disabled {
			n.def = &Definition{Type: n.spec.Type}
			n.log = e.log
			continue
		}
		e.prepareNode(n, services, linked[n.spec.ID], &wrong)
	}
	if err := wrong.err(); err != nil {
		return nil, err
	}
	return p, nil
}

// ends are the connections at a processor.
type ends struct {
	node   *node
	inputs int
	routes map[string]bool // relationships with a connection
}

func connect(connections []*flow.Connection, at map[string]*ends, wrong *problems) []link {
	var out []link
	seen := map[string]bool{}
	for _, c := range connections {
		from, to := at[c.Source.ID], at[c.Destination.ID]
		l := link{id: c.ID, name: c.Name, relationships: c.Relationships, maxCount: c.MaxObjects,
			expiration: wrong.duration("connection "+c.ID, "flowFileExpiration", c.Expiration)}
		if from != nil && from.node.passes() {
			l.relationships = []string{""} // a funnel or port has one way out, which has no name
		}
		switch {
		case c.ID == "" || len(c.ID) > maxID:
			wrong.add("a connection from %s has no usable identifier", c.Source.ID)
		case seen[c.ID]:
			wrong.add("two connections have the identifier %s", c.ID)
		case from == nil:
			wrong.add("connection %s begins at %q, which is not in the flow", c.ID, c.Source.ID)
		case to == nil:
			wrong.add("connection %s ends at %q, which is not in the flow", c.ID, c.Destination.ID)
		case len(l.relationships) == 0:
			wrong.add("connection %s carries no relationship", c.ID)
		default:
			l.from, l.to = from.node, to.node
			to.inputs++
			for _, r := range l.relationships {
				from.routes[r] = true
			}
		}
		var err error
		if l.maxBytes, err = flow.ParseSize(c.MaxSize); err != nil {
			wrong.add("connection %s: backPressureDataSizeThreshold: %v", c.ID, err)
		}
		for _, name := range c.Prioritizers {
			order := prioritizers[name[strings.LastIndexByte(name, '.')+1:]]
			if order == nil {
				wrong.add("connection %s has the unknown prioritizer %q", c.ID, name)
			}
			l.order = append(l.order, order)
		}
		seen[c.ID] = true
		out = append(out, l)
	}
	return out
}

func (e *Engine) prepareServices(list []*flow.ControllerService, wrong *problems) map[string]*service {
	out := map[string]*service{}
	// Services that others need come first.
	slices.SortStableFunc(list, func(a, b *flow.ControllerService) int { return e.needs(a) - e.needs(b) })
	for _, spec := range list {
		if spec.Disabled || spec.ID == "" {
			continue
		}
		def := e.definition(spec.Type)
		if def == nil || def.NewService == nil {
			wrong.add("controller service %s has the unknown type %q", spec.Name, spec.Type)
			continue
		}
		settings := e.settings(def, spec.ID, spec.Name, spec.Properties, out, wrong)
		if settings == nil {
			continue
		}
		instance, err := def.NewService(settings)
		if err != nil {
			wrong.add("controller service %s: %v", spec.Name, err)
			continue
		}
		out[spec.ID] = &service{def: def, instance: instance}
	}
	return out
}

// needs counts the properties of a service that name another.
func (e *Engine) needs(spec *flow.ControllerService) (n int) {
	def := e.definition(spec.Type)
	if def == nil {
		return 0
	}
	for _, p := range def.Properties {
		if p.Service != "" {
			n++
		}
	}
	return n
}

// service is a controller service that was made.
type service struct {
	def      *Definition
	instance any
}

func (e *Engine) prepareNode(n *node, services map[string]*service, at *ends, wrong *problems) {
	spec := n.spec
	n.def = e.definition(spec.Type)
	if n.def == nil || n.def.New == nil {
		wrong.add("processor %s has the unknown type %q", spec.Name, spec.Type)
		return
	}
	n.tasks = max(spec.Tasks, 1)
	if n.tasks > maxTasks {
		wrong.add("processor %s: %d concurrent tasks are more than %d", spec.Name, n.tasks, maxTasks)
	}
	if strings.EqualFold(spec.Strategy, "CRON_DRIVEN") {
		var err error
		if n.schedule, err = flow.ParseCron(spec.Period); err != nil {
			wrong.add("processor %s: %q is not a cron schedule: %v", spec.Name, spec.Period, err)
		}
	} else {
		n.period = wrong.duration(spec.Name, "schedulingPeriod", spec.Period)
	}
	n.penalty = wrong.duration(spec.Name, "penaltyDuration", spec.Penalty)
	n.yield = wrong.duration(spec.Name, "yieldDuration", spec.Yield)
	n.settings = e.settings(n.def, spec.ID, spec.Name, spec.Properties, services, wrong)
	if n.settings == nil {
		return
	}
	n.log = slog.New(bulletinHandler{Handler: e.log.Handler(), to: &e.bulletins, of: n}).With("processor", spec.Name, "processor_id", spec.ID)
	n.settings.Log = n.log
	var err error
	if n.proc, err = n.def.New(n.settings); err != nil {
		wrong.add("processor %s: %v", spec.Name, err)
		return
	}
	names := n.relationships()
	for r := range at.routes {
		if !slices.Contains(names, r) {
			wrong.add("processor %s has no relationship %q", spec.Name, r)
		}
	}
	for _, r := range names {
		if pass := r == ""; !pass && !at.routes[r] && !slices.Contains(spec.AutoTerminated, r) {
			wrong.add("relationship %q of processor %s is neither connected nor auto-terminated", r, spec.Name)
		}
		n.out[r] = nil
	}
	switch {
	case n.def.Input == InputRequired && at.inputs == 0:
		wrong.add("processor %s needs an incoming connection", spec.Name)
	case n.def.Input == InputForbidden && at.inputs > 0:
		wrong.add("processor %s takes no incoming connections", spec.Name)
	}
}

func (n *node) relationships() []string {
	var out []string
	for _, r := range n.def.Relationships {
		out = append(out, r.Name)
	}
	if n.def.Dynamic != nil && n.def.Dynamic.Relationship && n.def.Routes == nil {
		out = append(out, n.settings.Added()...)
	}
	if n.def.Routes != nil {
		out = append(out, n.def.Routes(n.settings)...)
	}
	return out
}

// settings validates the properties of a component; nil if something is wrong with them.
func (e *Engine) settings(def *Definition, id, name string, values map[string]string, services map[string]*service, wrong *problems) *Settings {
	before := len(*wrong)
	s := &Settings{ID: id, Name: name, Log: e.log, Clock: e.clock, def: def, values: map[string]string{}, exprs: map[string]*expression.Template{}, services: map[string]any{}}
	known := map[string]*Property{}
	for i := range def.Properties {
		known[def.Properties[i].Name] = &def.Properties[i]
	}
	for key, v := range values {
		if known[key] == nil && def.Dynamic == nil {
			wrong.add("%s: %s has no property %q", name, def.Name(), key)
			continue
		}
		s.values[key] = v
		if known[key] == nil && def.Dynamic.Expression {
			e.template(s, key, v, wrong)
		}
	}
	for _, p := range def.Properties {
		if v := s.Text(p.Name); v == "" {
			if p.Required {
				wrong.add("%s: property %q needs a value", name, p.Name)
			}
		} else if err := e.check(s, &p, v, services, wrong); err != nil {
			if p.Sensitive { // its value is in no message
				err = errors.New("the value is not valid")
			}
			wrong.add("%s: property %q: %v", name, p.Name, err)
		}
	}
	if len(*wrong) > before || before >= maxProblems {
		return nil
	}
	return s
}

func (e *Engine) check(s *Settings, p *Property, v string, services map[string]*service, wrong *problems) error {
	if p.Service != "" {
		svc := services[v]
		if svc == nil || !slices.Contains(svc.def.Provides, p.Service) {
			return fmt.Errorf("%q is no controller service that is enabled and of the right kind", v)
		}
		s.services[p.Name] = svc.instance
		return nil
	}
	constant := true
	if p.Expression {
		if t := e.template(s, p.Name, v, wrong); t != nil {
			constant = t.Constant()
		}
	}
	if !constant {
		return nil
	}
	if len(p.Allowed) > 0 && !slices.Contains(p.Allowed, v) {
		return fmt.Errorf("%q is none of %s", v, strings.Join(p.Allowed, ", "))
	}
	if p.Check != nil {
		return p.Check(v)
	}
	return nil
}

func (e *Engine) template(s *Settings, name, v string, wrong *problems) *expression.Template {
	t, err := expression.Parse(v)
	if err != nil {
		wrong.add("%s: property %q: %v", s.Name, name, err)
		return nil
	}
	s.exprs[name] = t
	return t
}

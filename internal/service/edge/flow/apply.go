package flow

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// Action is what a Change does.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	Delete Action = "delete"
	Move   Action = "move" // to another group; another place on the canvas is an Update
)

// Change is one step of editing.
type Change struct {
	Action Action

	// Component is, for Create and Update, what is to be. A Group stands for its settings. Its
	// revision is not looked at.
	Component Component

	ID string // for Delete and Move: of the component

	// Group is where Create puts the component and Move moves it. A parameter context is in none.
	Group string

	// Revision is, but for Create, the revision that the change was thought out for: another
	// version than the component has is refused. Its client is noted as who changed it.
	Revision Revision

	// Connections lets Delete and Move take along, that is delete, the connections that lead
	// to the component or come from it, which are a reason to refuse otherwise.
	Connections bool
}

// New returns a flow without components but for an empty root group of the flow's name.
func New(id, class, name string) (*Flow, error) {
	root := uuid.NewSHA1(uuid.NameSpaceOID, []byte("root of "+id)).String()
	f := &Flow{ID: id, Class: class, Threads: 1, Root: &Group{Head: Head{ID: root, Name: name, Revision: Revision{Version: 1}}}}
	return finish(f)
}

// Apply returns the flow after changes, which are all made or none. Its errors are of the reasons Invalid, NoSuchComponent, ComponentExists, WrongRevision and InUse.
func Apply(f *Flow, changes ...Change) (*Flow, error) {
	e := &editor{f: f.clone()}
	for _, c := range changes {
		if err := e.do(c); err != nil {
			return nil, err
		}
	}
	if err := e.f.whole(); err != nil {
		return nil, err
	}
	e.f.canon()
	if err := e.f.check(); err != nil {
		return nil, err
	}
	return e.f, nil
}

// editor holds a flow that nobody else has: its lists may be changed, its components replaced.
type editor struct{ f *Flow }

func (e *editor) do(c Change) error {
	switch c.Action {
	case Create:
		return e.create(c)
	case Update:
		return e.update(c)
	case Delete:
		return e.remove(c)
	case Move:
		return e.move(c)
	}
	return Invalid.Field("action", "%q is no action", c.Action)
}

func (e *editor) create(c Change) error {
	if c.Component == nil {
		return Invalid.Field("component", "nothing to create")
	}
	n := c.Component.clone()
	if g, ok := n.(*Group); ok {
		n = g.settings()
	}
	h := n.Meta()
	if h.ID == "" {
		return Invalid.Field("identifier", "a new component needs an identifier")
	}
	if _, _, exists := e.f.Find(h.ID); exists {
		return ComponentExists.New("there is a component %s already", h.ID)
	}
	h.Revision = Revision{Version: 1, ClientID: c.Revision.ClientID}
	if p, ok := n.(*Processor); ok && h.Name == "" {
		h.Name = p.Type[strings.LastIndexByte(p.Type, '.')+1:]
	}
	if pc, ok := n.(*ParameterContext); ok {
		e.f.Contexts = append(e.f.Contexts, pc)
		return nil
	}
	g, err := e.group(c.Group)
	if err != nil {
		return err
	}
	g.put(n)
	return nil
}

func (e *editor) update(c Change) error {
	if c.Component == nil {
		return Invalid.Field("component", "nothing to change")
	}
	n := c.Component.clone()
	old, g, err := e.find(n.Meta().ID, c.Revision)
	if err != nil {
		return err
	}
	if old.Kind() != n.Kind() {
		return Invalid.Field("type", "%s is a %s and cannot become a %s", n.Meta().ID, old.Kind(), n.Kind())
	}
	n.Meta().Revision = Revision{Version: old.Meta().Revision.Version + 1, ClientID: c.Revision.ClientID}
	switch n := n.(type) {
	case *Group:
		was := old.(*Group) // a copy of the editor's own
		was.Head, was.Context, was.Concurrency, was.Outbound = n.Head, n.Context, n.Concurrency, n.Outbound
	case *ParameterContext:
		e.rename(old.(*ParameterContext).Name, n.Name)
		e.f.Contexts[slices.Index(e.f.Contexts, old.(*ParameterContext))] = n
	default:
		g.take(old)
		g.put(n)
	}
	return nil
}

// rename lets those follow who use a parameter context by its name.
func (e *editor) rename(old, name string) {
	if old == name {
		return
	}
	for g := range e.f.Root.groups() {
		if g.Context == old {
			g.Context = name
		}
	}
	for i, c := range e.f.Contexts {
		if j := slices.Index(c.Inherits, old); j >= 0 {
			c = c.clone().(*ParameterContext)
			c.Inherits[j] = name
			e.f.Contexts[i] = c
		}
	}
}

func (e *editor) remove(c Change) error {
	old, g, err := e.find(c.ID, c.Revision)
	if err != nil {
		return err
	}
	switch o := old.(type) {
	case *ParameterContext:
		return e.removeContext(o)
	case *ControllerService:
		if err := e.unused(o); err != nil {
			return err
		}
	}
	if g == nil {
		return InUse.New("the root group cannot be deleted")
	}
	if err := e.disconnect(old, g, c.Connections); err != nil {
		return err
	}
	g.take(old)
	return nil
}

func (e *editor) removeContext(c *ParameterContext) error {
	for g := range e.f.Root.groups() {
		if g.Context == c.Name {
			return InUse.New("the parameter context %q is that of the group %s", c.Name, g.ID)
		}
	}
	for _, o := range e.f.Contexts {
		if slices.Contains(o.Inherits, c.Name) {
			return InUse.New("the parameter context %q inherits from %q", o.Name, c.Name)
		}
	}
	e.f.Contexts = slices.DeleteFunc(e.f.Contexts, func(o *ParameterContext) bool { return o == c })
	return nil
}

// unused refuses where a property's value is the service's id.
func (e *editor) unused(s *ControllerService) error {
	for c := range e.f.All() {
		for name, v := range properties(c) {
			if v == s.ID && c != Component(s) {
				return InUse.New("the controller service %s is used by the property %q of %s", s.ID, name, c.Meta().ID)
			}
		}
	}
	return nil
}

// properties returns the properties of a component; nil where it has none.
func properties(c Component) map[string]string {
	switch c := c.(type) {
	case *Processor:
		return c.Properties
	case *ControllerService:
		return c.Properties
	}
	return nil
}

// disconnect deletes the connections from outside a component to it and its ports, or
// refuses where there are any and that is not asked for.
func (e *editor) disconnect(c Component, g *Group, drop bool) error {
	mine := map[string]bool{c.Meta().ID: true}
	switch c := c.(type) {
	case *Group:
		for _, p := range slices.Concat(c.Inputs, c.Outputs) {
			mine[p.ID] = true
		}
	case *RemoteGroup:
		for _, p := range slices.Concat(c.Inputs, c.Outputs) {
			mine[p.ID] = true
		}
	}
	for holder := range e.f.Root.groups() {
		if group, ok := c.(*Group); ok && within(holder, group) {
			continue // goes along with the group
		}
		holder.Connections = slices.DeleteFunc(slices.Clone(holder.Connections), func(o *Connection) bool {
			return drop && (mine[o.Source.ID] || mine[o.Destination.ID])
		})
		for _, o := range holder.Connections {
			if mine[o.Source.ID] || mine[o.Destination.ID] {
				return InUse.New("the %s %s is connected by %s", c.Kind(), c.Meta().ID, o.ID)
			}
		}
	}
	return nil
}

// within reports whether a group is another or in it.
func within(g, outer *Group) bool {
	for o := range outer.groups() {
		if o == g {
			return true
		}
	}
	return false
}

func (e *editor) move(c Change) error {
	old, from, err := e.find(c.ID, c.Revision)
	if err != nil {
		return err
	}
	to, err := e.group(c.Group)
	if err != nil {
		return err
	}
	if from == nil {
		return Invalid.Field("id", "the %s %s cannot be moved", old.Kind(), c.ID)
	}
	if g, ok := old.(*Group); ok && within(to, g) {
		return Invalid.Field("group", "the group %s cannot be moved into itself", c.ID)
	}
	if err := e.disconnect(old, from, c.Connections); err != nil {
		return err
	}
	if old.Kind() == KindConnection {
		return Invalid.Field("id", "a connection is where its source is and cannot be moved")
	}
	from.take(old)
	n := old
	if _, ok := old.(*Group); !ok { // a group is the editor's own copy already
		n = old.clone()
	}
	n.Meta().Revision = Revision{Version: n.Meta().Revision.Version + 1, ClientID: c.Revision.ClientID}
	to.put(n)
	return nil
}

// group finds the group of an id; an empty one is the root's.
func (e *editor) group(id string) (*Group, error) {
	if id == "" {
		return e.f.Root, nil
	}
	for g := range e.f.Root.groups() {
		if g.ID == id {
			return g, nil
		}
	}
	return nil, NoSuchComponent.Field("group", "there is no process group %s", id)
}

// find returns a component that has the revision which a change was made for.
func (e *editor) find(id string, r Revision) (Component, *Group, error) {
	c, g, ok := e.f.Find(id)
	if !ok {
		return nil, nil, NoSuchComponent.Field("id", "there is no component %s", id)
	}
	if now := c.Meta().Revision; now.Version != r.Version {
		by := ""
		if now.ClientID != "" {
			by = fmt.Sprintf(" and was last changed by %s", now.ClientID)
		}
		return nil, nil, WrongRevision.Field("revision.version", "the %s %s has the revision %d%s; the change was made for %d",
			c.Kind(), id, now.Version, by, r.Version)
	}
	return c, g, nil
}

// put adds a component to a group.
func (g *Group) put(c Component) {
	switch c := c.(type) {
	case *Processor:
		g.Processors = append(g.Processors, c)
	case *ControllerService:
		g.Services = append(g.Services, c)
	case *Connection:
		g.Connections = append(g.Connections, c)
	case *Funnel:
		g.Funnels = append(g.Funnels, c)
	case *RemoteGroup:
		g.Remotes = append(g.Remotes, c)
	case *Group:
		g.Groups = append(g.Groups, c)
	case *Port:
		if c.Type == KindOutput {
			g.Outputs = append(g.Outputs, c)
		} else {
			g.Inputs = append(g.Inputs, c)
		}
	}
}

// take removes a component from a group.
func (g *Group) take(c Component) {
	switch c := c.(type) {
	case *Processor:
		g.Processors = without(g.Processors, c)
	case *ControllerService:
		g.Services = without(g.Services, c)
	case *Connection:
		g.Connections = without(g.Connections, c)
	case *Funnel:
		g.Funnels = without(g.Funnels, c)
	case *RemoteGroup:
		g.Remotes = without(g.Remotes, c)
	case *Group:
		g.Groups = without(g.Groups, c)
	case *Port:
		g.Inputs, g.Outputs = without(g.Inputs, c), without(g.Outputs, c)
	}
}

func without[C comparable](list []C, c C) []C {
	return slices.DeleteFunc(list, func(o C) bool { return o == c })
}

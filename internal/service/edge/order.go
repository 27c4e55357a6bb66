package edge

import (
	"context"
	"slices"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/store"
)

// Bounds of orders.
const (
	orderLife     = 24 * time.Hour
	maxOpenOrders = 100 // of a class, and of an agent
	keepOrders    = 7 * 24 * time.Hour
)

// Request is an operation that an operator wants.
type Request struct {
	Operation, Operand string
	Args               map[string]string
	Class              string // all agents of it, unless Agent says one
	Agent              string
	Life               time.Duration // until when agents get it; a day if zero
}

// Order makes an order.
func (s *Service) Order(ctx context.Context, r Request) (Order, error) {
	if r.Agent != "" {
		a, err := s.agentFor(ctx, r.Agent)
		switch {
		case err != nil:
			return Order{}, err
		case r.Class != "" && r.Class != a.Class:
			return Order{}, Invalid.Field("agentClass", "agent %q belongs to class %q", r.Agent, a.Class)
		}
		r.Class = a.Class
	}
	if err := s.may(ctx, Operate, r.Class); err != nil {
		return Order{}, err
	}
	if err := checkKind(r); err != nil {
		return Order{}, err
	}
	if r.Life <= 0 {
		r.Life = orderLife
	}
	who, _ := caller.From(ctx)
	o := &Order{Operation: r.Operation, Operand: r.Operand, Args: r.Args, Class: r.Class, Agent: r.Agent, By: who.ARN}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		c, ok := s.store.classes.Get(tx, r.Class)
		if !ok {
			return NoSuchClass.Field("agentClass", "there is no agent class %q", r.Class)
		}
		if c.Manifest != "" && !s.supports(tx, c.Manifest, r.Operation, r.Operand) {
			return NotSupported.Field("operation", "the manifest of class %q does not support %s %s", r.Class, r.Operation, r.Operand)
		}
		if r.Operand == "asset" {
			if _, ok := s.store.resources.Get(tx, r.Args["resource"]); !ok {
				return NoSuchResource.Field("args.resource", "there is no resource %q", r.Args["resource"])
			}
		}
		if n := len(s.ordersFor(tx, r.Class, r.Agent)); n >= maxOpenOrders {
			return TooMany.New("there are %d operations under way", n)
		}
		o.Number, o.Created, o.Expires = tx.Revision(), tx.Now(), tx.Now().Add(r.Life)
		return s.store.orders.Put(tx, orderKey(o.Number), o)
	})
	if err == nil {
		s.changed(ctx, o.Class, o.Agent, "operation ordered", "operation %d: %s %s", o.Number, o.Operation, o.Operand)
	}
	return *o, err
}

// checkKind refuses operations that nobody may order, and arguments they do not have.
func checkKind(r Request) error {
	kind, ok := kindOf(r.Operation, r.Operand)
	if !ok || len(r.Operand) > maxName {
		return Invalid.Field("operation", "%s %s cannot be ordered", clip(r.Operation), clip(r.Operand))
	}
	if len(r.Args) > 100 {
		return TooMany.Field("args", "there are more than 100 arguments")
	}
	for n, v := range r.Args {
		if _, ok := kind.Args[n]; kind.Args != nil && !ok {
			return Invalid.Field("args."+clip(n), "%s %s has no argument %q", r.Operation, r.Operand, clip(n))
		}
		if len(n) > 512 || len(v) > 8<<10 {
			return TooLarge.Field("args."+clip(n), "an argument is too long")
		}
	}
	for n, required := range kind.Args {
		if required && r.Args[n] == "" {
			return Invalid.Field("args."+n, "%s %s needs the argument %q", r.Operation, r.Operand, n)
		}
	}
	return nil
}

// Cancel takes an order back. Agents that have got it carry it out.
func (s *Service) Cancel(ctx context.Context, number int64) error {
	o, ok := s.store.orders.Get(s.deps.Store.Snapshot(), orderKey(number))
	if !ok {
		return NoSuchOrder.Field("id", "there is no operation %d", number)
	}
	if err := s.may(ctx, Operate, o.Class); err != nil {
		return err
	}
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		o, ok := s.store.orders.Get(tx, orderKey(number))
		if !ok {
			return NoSuchOrder.Field("id", "there is no operation %d", number)
		}
		next := *o
		next.Cancelled = true
		return s.store.orders.Put(tx, orderKey(number), &next)
	})
	if err == nil {
		s.changed(ctx, o.Class, o.Agent, "operation cancelled", "operation %d: %s %s", o.Number, o.Operation, o.Operand)
	}
	return err
}

// OrderStatus is an order with how far agents have come.
type OrderStatus struct {
	Order
	States map[State]int `json:"states"`
}

// Orders lists the orders of a class, the newest first.
func (s *Service) Orders(ctx context.Context, class string) ([]OrderStatus, error) {
	if err := s.may(ctx, View, class); err != nil {
		return nil, err
	}
	out := []OrderStatus{}
	for _, o := range s.store.orders.Find(s.deps.Store.Snapshot(), "class", class) {
		states, err := s.states(ctx, o.Number)
		if err != nil {
			return nil, err
		}
		out = append(out, OrderStatus{*o, states})
	}
	slices.Reverse(out)
	return out, nil
}

// OrderOf returns one order.
func (s *Service) OrderOf(ctx context.Context, number int64) (OrderStatus, error) {
	o, ok := s.anyOrder(s.deps.Store.Snapshot(), number)
	if !ok {
		return OrderStatus{}, NoSuchOrder.Field("id", "there is no operation %d", number)
	}
	if err := s.may(ctx, View, o.Class); err != nil {
		return OrderStatus{}, err
	}
	states, err := s.states(ctx, number)
	return OrderStatus{*o, states}, err
}

// anyOrder finds an order by its number, also one that nobody ordered: what a rollout or the assignment of
// resources brings to agents, which their histories list.
func (s *Service) anyOrder(r store.Reader, number int64) (*Order, bool) {
	if o, ok := s.store.orders.Get(r, orderKey(number)); ok {
		return o, true
	}
	if ro, ok := s.store.rollouts.Get(r, orderKey(number)); ok {
		return &Order{Number: number, Operation: "UPDATE", Operand: "configuration", Args: map[string]string{"flowId": ro.Version}, Class: ro.Class, By: ro.By, Created: ro.Created}, true
	}
	for _, c := range s.store.classes.All(r, "") {
		switch number {
		case c.Order:
			return &Order{Number: number, Operation: "UPDATE", Operand: "configuration", Args: map[string]string{"flowId": c.Version}, Class: c.Name}, true
		case c.ResourceOrder:
			return &Order{Number: number, Operation: "SYNC", Operand: "resource", Class: c.Name}, true
		}
	}
	return nil, false
}

// states counts the agents by how far they have come with an order.
func (s *Service) states(ctx context.Context, order int64) (map[State]int, error) {
	out := map[State]int{}
	for _, st := range []State{Queued, Deployed, Done, Failed, Cancelled} {
		n, err := s.store.progress.Count(ctx, progressGroup(order, st))
		if err != nil {
			return nil, err
		}
		if n > 0 {
			out[st] = n
		}
	}
	return out, nil
}

// History is an agent's progress with the orders that are known, the newest first.
func (s *Service) History(ctx context.Context, agent string) ([]Progress, error) {
	a, err := s.Agent(ctx, agent)
	if err != nil {
		return nil, err
	}
	if err := s.written(ctx); err != nil {
		return nil, err
	}
	snap := s.deps.Store.Snapshot()
	var numbers []int64
	for _, o := range s.store.orders.Find(snap, "class", a.Class) {
		if o.Agent == "" || o.Agent == agent {
			numbers = append(numbers, o.Number)
		}
	}
	for _, r := range s.store.rollouts.Find(snap, "class", a.Class) {
		numbers = append(numbers, r.Number)
	}
	if c, ok := s.store.classes.Get(snap, a.Class); ok {
		for _, n := range []int64{c.Order, c.ResourceOrder} {
			if n != 0 && !slices.Contains(numbers, n) {
				numbers = append(numbers, n)
			}
		}
	}
	slices.Sort(numbers)
	slices.Reverse(numbers)
	out := []Progress{}
	for _, n := range numbers {
		row, ok, err := s.store.progress.Get(ctx, progressKey(n, agent))
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, *row.Doc)
		}
	}
	return out, nil
}

// ordersFor are the orders that an agent of a class may have to carry out, the oldest first.
func (s *Service) ordersFor(r store.Reader, class, agent string) []*Order {
	if s.store.orders.Len(r) == 0 {
		return nil // most heartbeats come while nothing is ordered
	}
	var out []*Order
	now := s.deps.Clock.Now()
	open := func(o *Order) bool { return !o.Cancelled && now.Before(o.Expires) }
	for _, o := range s.store.orders.Find(r, "all of class", class) {
		if open(o) {
			out = append(out, o)
		}
	}
	if agent != "" {
		for _, o := range s.store.orders.Find(r, "agent", agent) {
			if open(o) {
				out = append(out, o)
			}
		}
	}
	return out
}

// openOrders are the numbers of all that an agent may have progress with.
func (s *Service) openOrders(r store.Reader, class, agent string) []int64 {
	var out []int64
	if c, ok := s.store.classes.Get(r, class); ok {
		for _, n := range []int64{c.Order, c.Rollout, c.ResourceOrder} {
			if n != 0 {
				out = append(out, n)
			}
		}
	}
	for _, o := range s.ordersFor(r, class, agent) {
		out = append(out, o.Number)
	}
	return out
}

// orderArgs are what an agent is sent with an order.
func (s *Service) orderArgs(r store.Reader, o *Order) map[string]any {
	args := map[string]any{}
	for n, v := range o.Args {
		args[n] = v
	}
	switch {
	case o.Operation == "UPDATE" && o.Operand == "asset":
		delete(args, "resource")
		if res, ok := s.store.resources.Get(r, o.Args["resource"]); ok {
			if o.Args["file"] == "" {
				args["file"] = res.Name
			}
			if o.Args["forceDownload"] == "" {
				args["forceDownload"] = "false"
			}
			args[DownloadArg] = Download{Path: resourcePath(res.ID)}
		}
	case o.Operation == "TRANSFER":
		args[DownloadArg] = Download{Path: "debug/" + orderKey(o.Number), Target: true}
	}
	return args
}

// DownloadArg is the argument that stands for a URL, which the front makes: absolute and
// relative, under the names that agents know them by.
const DownloadArg = "\x00download"

// Download is a place to get something from, or to bring it to.
type Download struct {
	// Path is relative to the address of the C2 protocol.
	Path string
	// Target says that the agent sends, and Flow that it gets a flow.
	Target, Flow bool
}

// flowArgs are the arguments of an UPDATE configuration.
func flowArgs(version, _ string) map[string]any {
	return map[string]any{"flowId": version, DownloadArg: Download{Path: "flows/" + version, Flow: true}}
}

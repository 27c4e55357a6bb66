package gateway

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// instance is one provisioned plugin. It outlives the snapshots that hold it and is
// closed when the last of them has retired.
type instance struct {
	id        string
	kind      *Plugin
	order     int // of the kind among all kinds: 0 runs first
	scope     scope
	protocols Protocol
	plugin    any
	holders   atomic.Int32
}

// scope is what a plugin entity is configured for; empty members stand for all.
type scope struct{ route, service, consumer string }

// specificity lists the scopes a request falls under, most specific first. The first
// instance of a kind wins.
func specificity(route, service, consumer string) [8]scope {
	return [8]scope{
		{route, service, consumer},
		{route, "", consumer},
		{"", service, consumer},
		{route, service, ""},
		{"", "", consumer},
		{route, "", ""},
		{"", service, ""},
		{},
	}
}

// chain is the plugins that apply to one combination of route, service and consumer, by
// phase and in order.
type chain struct {
	preread  []Prereader
	rewrite  []Rewriter
	access   []accessStep
	response []Responder
	header   []HeaderFilter
	body     []BodyFilter
	log      []Logger
}

type accessStep struct {
	order int
	run   Accessor
}

var emptyChain = new(chain)

func newChain(instances []*instance) *chain {
	if len(instances) == 0 {
		return emptyChain
	}
	c := new(chain)
	for _, in := range instances {
		c.add(in.plugin, in.order)
		if composite, ok := in.plugin.(Composite); ok {
			for _, part := range composite.Parts() {
				c.add(part, in.order)
			}
		}
	}
	return c
}

// add puts a plugin, or a part of one, into the phases it acts in.
func (c *chain) add(plugin any, order int) {
	if p, ok := plugin.(Prereader); ok {
		c.preread = append(c.preread, p)
	}
	if p, ok := plugin.(Rewriter); ok {
		c.rewrite = append(c.rewrite, p)
	}
	if p, ok := plugin.(Accessor); ok {
		c.access = append(c.access, accessStep{order, p})
	}
	if p, ok := plugin.(Responder); ok {
		c.response = append(c.response, p)
	}
	if p, ok := plugin.(HeaderFilter); ok {
		c.header = append(c.header, p)
	}
	if p, ok := plugin.(BodyFilter); ok {
		c.body = append(c.body, p)
	}
	if p, ok := plugin.(Logger); ok {
		c.log = append(c.log, p)
	}
}

// applicable finds the instances that apply, one per kind, in order, and then the chains of
// filters.
func (s *snapshot) applicable(route *Route, consumer string) []*instance {
	routeID, serviceID := "", ""
	protocols := overHTTP
	if route != nil {
		routeID, protocols = route.ID, route.Protocols
		if route.Service != nil {
			serviceID = route.Service.ID
		}
	}
	var picked []*instance
	seen := make(map[scope]bool, 8)
	for _, sc := range specificity(routeID, serviceID, consumer) {
		if seen[sc] {
			continue
		}
		seen[sc] = true
		for _, in := range s.plugins[sc] {
			if in.protocols&protocols == 0 {
				continue
			}
			if !slices.ContainsFunc(picked, func(p *instance) bool { return p.kind == in.kind }) {
				picked = append(picked, in)
			}
		}
	}
	slices.SortFunc(picked, func(a, b *instance) int { return cmp.Compare(a.order, b.order) })
	return append(picked, s.filtersOf(route)...)
}

// chainFor returns the chain of a route for requests without a consumer. It is compiled
// when it is first needed, so that a change costs nothing for routes that see no traffic.
func (s *snapshot) chainFor(r *Route) *chain {
	if c := s.chains[r.slot].Load(); c != nil {
		return c
	}
	c := newChain(s.applicable(r, ""))
	s.chains[r.slot].Store(c)
	return c
}

type chainKey struct {
	route    *Route
	consumer string
}

// maxConsumerChains bounds how many chains of consumers a snapshot keeps; further ones
// are compiled for each request.
const maxConsumerChains = 100_000

// chainForConsumer returns the chain of a route for requests of a consumer.
func (s *snapshot) chainForConsumer(r *Route, consumer string) *chain {
	if !s.consumerPlugins[consumer] {
		return s.chainFor(r)
	}
	key := chainKey{r, consumer}
	if c, ok := s.consumerChains.Load(key); ok {
		return c.(*chain)
	}
	c := newChain(s.applicable(r, consumer))
	if s.consumerChainCount.Add(1) <= maxConsumerChains {
		s.consumerChains.Store(key, c)
	}
	return c
}

// broken stands in for a plugin that could not be made: nothing passes it, because a
// request must never pass for want of the plugin that would have stopped it.
type broken struct{}

// Preread implements Prereader.
func (broken) Preread(x *Exchange) { x.Fail(500, "An unexpected error occurred") }

// Access implements Accessor.
func (broken) Access(x *Exchange) { x.Fail(500, "An unexpected error occurred") }

func (g *Gateway) newInstance(id string, r schema.Record) *instance {
	name, _ := r["name"].(string)
	in := &instance{id: id, scope: scope{refID(r["route"]), refID(r["service"]), refID(r["consumer"])}}
	for _, p := range list(r["protocols"]) {
		in.protocols |= protocolByName[p]
	}
	kind, ok := g.kinds[name]
	if !ok {
		in.kind, in.plugin = &Plugin{Name: name}, broken{}
		g.deps.Log.Error("a stored plugin is of a kind this node does not have", "plugin", id, "name", name)
		return in
	}
	in.kind, in.order = kind.Plugin, kind.order
	config, _ := r["config"].(schema.Record)
	config, err := g.resolveSecrets(kind.Config, config)
	var plugin any
	if err == nil {
		plugin, err = kind.make(config, Env{
			ID: id, Clock: g.deps.Clock, Log: g.deps.Log.With("plugin", name, "plugin_id", id), Directory: g, Records: records{g},
		})
	}
	if err != nil {
		g.deps.Log.Error("a plugin could not be made; its routes answer 500", "plugin", id, "name", name, "err", err)
		plugin = broken{}
	}
	in.plugin = plugin
	return in
}

// make calls New. A panic is an error: the record is stored, and one that no node could
// start with would be the end of all of them.
func (k *kind) make(config schema.Record, env Env) (plugin any, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("a panic: %v", r)
		}
	}()
	return k.New(config, env)
}

func (in *instance) release(g *Gateway) {
	if in.holders.Add(-1) > 0 {
		return
	}
	if c, ok := in.plugin.(Closer); ok {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			g.deps.Log.Warn("closing a plugin", "plugin", in.id, "name", in.kind.Name, "err", err)
		}
	}
}

package gateway

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/balancer"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Version is the version of Kong whose behaviour the gateway has.
const Version = "3.9.1"

// Deps is what the gateway needs from others.
type Deps struct {
	Store   *store.Store
	Clock   clock.Clock
	Log     *slog.Logger
	Plugins []Plugin // the kinds of plugin there are
	// Filters are what chains of filters may be made of; nil: there are no such chains.
	Filters Filters
	// Flavor is how routes are written; empty: TraditionalCompatible.
	Flavor Flavor
	// DebugHeader is whether a request with "Kong-Debug: 1" is told its route and service.
	DebugHeader bool
	// Secret looks up a variable of the node's environment for references to the vault
	// "env"; nil: there are none.
	Secret func(name string) (string, bool)
	// Resolver resolves the names of services and targets; nil: as the system is configured.
	Resolver balancer.Resolver
	// Audit is told of the changes that a caller made, before they are answered; nil: nobody is.
	Audit func(context.Context, []Change)
	// Observe is told of every exchange after its log phase, for metrics and access logs.
	// It must not keep the exchange. It may be nil.
	Observe func(*Exchange)
}

// Gateway holds the entities, and the router and plugin chains compiled from them.
type Gateway struct {
	deps        Deps
	kinds       map[string]*kind
	entities    map[string]*schema.Entity
	order       []*schema.Entity
	public      []*schema.Entity // those that are not private
	collections map[string]collection

	current   atomic.Pointer[snapshot]
	changed   atomic.Int64 // newest revision that concerns the data plane
	building  sync.Mutex
	compiled  compiled
	upstreams map[string]*upstream // by id; under building
	dirty     chan struct{}
	hash      atomic.Pointer[string] // of the declaration that is the whole configuration
	consumers sync.Map               // id → *consumerView
	retired   sync.WaitGroup         // snapshots that still hold plugin instances
	cancel    func()
	pool      sync.Pool
}

// kind is a registered plugin with what New derives from it.
type kind struct {
	*Plugin
	order  int
	record *schema.Field
}

// New registers the entities with the store and compiles the first snapshot. Call it
// before the store serves traffic, and Close when no listener uses the gateway any more.
func New(d Deps) (*Gateway, error) {
	g := &Gateway{
		deps: d, kinds: map[string]*kind{}, entities: map[string]*schema.Entity{},
		collections: map[string]collection{}, dirty: make(chan struct{}, 1),
	}
	if g.deps.Resolver == nil {
		g.deps.Resolver = balancer.NewDNS(balancer.DNSConfig{Clock: d.Clock})
	}
	g.pool.New = func() any { return &Exchange{gw: g} }
	kinds := slices.Clone(d.Plugins)
	slices.SortFunc(kinds, func(a, b Plugin) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Name, b.Name))
	})
	plugins := g.pluginsEntity()
	entities := []*schema.Entity{certificates, snis, g.caCertificatesEntity(), services, routesEntity(d.Flavor), consumers, plugins, upstreams, targets, vaults, keySets, keys}
	if d.Filters != nil {
		entities = append(entities, filterChainsEntity(d.Filters))
	}
	for i := range kinds {
		k := &kind{Plugin: &kinds[i], order: i, record: pluginRecord(plugins.Record, &kinds[i])}
		if g.kinds[k.Name] != nil {
			return nil, fmt.Errorf("gateway: plugin %q is listed twice", k.Name)
		}
		g.kinds[k.Name] = k
		for _, e := range k.Entities {
			if !slices.Contains(entities, e) { // several kinds may share one
				entities = append(entities, e)
			}
		}
	}
	for _, e := range entities {
		if g.entities[e.Name] != nil {
			return nil, fmt.Errorf("gateway: entity %q is declared twice", e.Name)
		}
		g.entities[e.Name] = e
		var more []store.Rule[schema.Record]
		if e == plugins {
			more = append(more, g.configRefers("ca_certificates"))
		}
		g.collections[e.Name] = register(d.Store, e, more...)
	}
	g.order = entities
	for _, e := range entities {
		if !e.Private {
			g.public = append(g.public, e)
		}
	}
	g.current.Store(g.build(d.Store.Snapshot()))
	g.cancel = d.Store.Subscribe(func(view *store.Snapshot, changes []store.Change) {
		if len(changes) > 0 && !slices.ContainsFunc(changes, func(c store.Change) bool { return compiles(c.Collection) }) {
			return
		}
		g.changed.Store(view.Revision())
		select {
		case g.dirty <- struct{}{}:
		default:
		}
	})
	return g, nil
}

// compiles reports whether a collection's records are compiled into snapshots. All others
// are read from the store when they are asked for.
func compiles(collection string) bool {
	switch collection {
	case prefix + "services", prefix + "routes", prefix + "plugins", prefix + "upstreams", prefix + "targets",
		prefix + "certificates", prefix + "snis", prefix + "ca_certificates", prefix + collectionChains:
		return true
	}
	return false
}

// Run follows changes that other nodes made and removes expired records, until ctx ends.
func (g *Gateway) Run(ctx context.Context) error {
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.dirty:
			g.refresh()
		case <-sweep.C:
			if err := g.Sweep(ctx); err != nil && ctx.Err() == nil {
				g.deps.Log.Warn("removing expired records", "err", err)
			}
		}
	}
}

// Sweep removes records whose ttl has passed. They have been invisible since.
func (g *Gateway) Sweep(ctx context.Context) error {
	g.forgetConsumers()
	for _, e := range g.order {
		if !e.Expires {
			continue
		}
		var ids []string
		for id, doc := range g.collection(e.Name).All(g.deps.Store.Snapshot(), "") {
			if g.expired(*doc) {
				ids = append(ids, id)
			}
		}
		for _, id := range ids {
			if err := g.deps.Store.Update(ctx, func(tx *store.Tx) error {
				if doc, ok := g.collection(e.Name).Get(tx, id); !ok || !g.expired(*doc) {
					return nil
				}
				_, err := g.collection(e.Name).Delete(tx, id)
				return err
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

// refresh makes the data plane show every change the store has made known so far. Writers
// that wait here together share one build.
func (g *Gateway) refresh() {
	want := g.changed.Load()
	if g.current.Load().revision >= want {
		return
	}
	g.building.Lock()
	defer g.building.Unlock()
	view := g.deps.Store.Snapshot()
	old := g.current.Load()
	if old.revision >= want {
		return
	}
	g.current.Store(g.build(view))
	old.release()
}

// Close waits until no exchange uses a plugin any more and closes the instances. The
// listeners must have stopped.
func (g *Gateway) Close() {
	g.cancel()
	g.current.Load().release()
	for _, u := range g.upstreams {
		u.balancer.Close()
	}
	g.retired.Wait()
}

// Entities returns the entities of the Admin API in the order they were declared.
func (g *Gateway) Entities() []*schema.Entity { return g.public }

// Entity returns an entity by the name of its collection.
func (g *Gateway) Entity(name string) (*schema.Entity, bool) {
	e, ok := g.entities[name]
	return e, ok
}

// Plugins returns the kinds of plugin in the order they run.
func (g *Gateway) Plugins() []Plugin {
	out := make([]Plugin, len(g.kinds))
	for _, k := range g.kinds {
		out[k.order] = *k.Plugin
	}
	return out
}

// PluginRecord returns the record of the plugins entity for one kind.
func (g *Gateway) PluginRecord(name string) (*schema.Field, []schema.Check, bool) {
	k, ok := g.kinds[name]
	if !ok {
		return nil, nil, false
	}
	return k.record, k.Checks, true
}

// EnabledPlugins returns the names of the kinds configured anywhere, sorted.
func (g *Gateway) EnabledPlugins() []string {
	out := []string{}
	for _, doc := range g.collection("plugins").All(g.deps.Store.Snapshot(), "") {
		if n := str((*doc)["name"]); !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out
}

// Consumer finds a consumer by id, or where that fails by username.
func (g *Gateway) Consumer(idOrName string) (*Consumer, bool) {
	view := g.deps.Store.Snapshot()
	id, doc := "", (*schema.Record)(nil)
	ok := false
	if schema.IsUUID(idOrName) {
		id = lowerASCII(idOrName)
		doc, ok = g.collection("consumers").Get(view, id)
	} else {
		id, doc, ok = g.lookup(view, consumers, "username", idOrName)
	}
	if !ok {
		return nil, false
	}
	if seen, known := g.consumers.Load(id); known {
		if c := seen.(*consumerView); c.doc == doc {
			return &c.Consumer, true
		}
	}
	r := *doc
	c := &consumerView{doc, Consumer{ID: str(r["id"]), Username: str(r["username"]), CustomID: str(r["custom_id"]), Tags: list(r["tags"]),
		CreatedAt: int64(num(r["created_at"])), UpdatedAt: int64(num(r["updated_at"]))}}
	g.consumers.Store(c.ID, c)
	return &c.Consumer, true
}

// consumerView is a consumer with the document it was made of: while that is stored, it
// need not be made again.
type consumerView struct {
	doc *schema.Record
	Consumer
}

// forgetConsumers drops the views of consumers that are gone.
func (g *Gateway) forgetConsumers() {
	view := g.deps.Store.Snapshot()
	g.consumers.Range(func(id, _ any) bool {
		if !g.collection("consumers").Has(view, id.(string)) {
			g.consumers.Delete(id)
		}
		return true
	})
}

// ByID finds an entity of a collection.
func (g *Gateway) ByID(collection, id string) (schema.Record, bool) {
	c, ok := g.collections[collection]
	if !ok {
		return nil, false
	}
	doc, ok := c.Get(g.deps.Store.Snapshot(), id)
	if !ok || g.expired(*doc) {
		return nil, false
	}
	return *doc, true
}

// Children walks the entities of a collection whose foreign field points at id.
func (g *Gateway) Children(collection, field, id string) iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		c, ok := g.collections[collection]
		if !ok {
			return
		}
		for _, doc := range c.Find(g.deps.Store.Snapshot(), field, id) {
			if !g.expired(*doc) && !yield(*doc) {
				return
			}
		}
	}
}

// Each walks all entities of a collection in order of their ids.
func (g *Gateway) Each(collection string) iter.Seq[schema.Record] {
	return func(yield func(schema.Record) bool) {
		c, ok := g.collections[collection]
		if !ok {
			return
		}
		for _, doc := range c.All(g.deps.Store.Snapshot(), "") {
			if !g.expired(*doc) && !yield(*doc) {
				return
			}
		}
	}
}

// records is the gateway as plugins write to it.
type records struct{ g *Gateway }

func (r records) entity(collection string) (*schema.Entity, error) {
	e, ok := r.g.entities[collection]
	if !ok {
		return nil, notFound()
	}
	return e, nil
}

func (r records) Create(ctx context.Context, collection string, rec schema.Record) (schema.Record, error) {
	e, err := r.entity(collection)
	if err != nil {
		return nil, err
	}
	return r.g.Create(ctx, e, rec)
}

func (r records) Update(ctx context.Context, collection, id string, patch schema.Record) (schema.Record, error) {
	e, err := r.entity(collection)
	if err != nil {
		return nil, err
	}
	return r.g.Patch(ctx, e, id, patch)
}

func (r records) Edit(ctx context.Context, collection, id string, change func(schema.Record) schema.Record) error {
	e, err := r.entity(collection)
	if err != nil {
		return err
	}
	return r.g.change(ctx, func(tx *store.Tx) error {
		var old schema.Record
		_, stored, ok := r.g.find(tx, e, id)
		if ok {
			old = r.g.exported(e, stored)
		}
		in := change(old)
		if in == nil {
			return nil
		}
		in["id"] = id
		full, err := r.g.complete(tx, e, in, nil)
		if err != nil {
			return err
		}
		if old["ttl"] != nil && schema.Equal(in["ttl"], old["ttl"]) { // which was rounded down
			full[expiresField] = stored[expiresField]
		}
		return r.g.write(tx, e, full, false)
	})
}

func (r records) Delete(ctx context.Context, collection, id string) (bool, error) {
	e, err := r.entity(collection)
	if err != nil {
		return false, err
	}
	return r.g.Delete(ctx, e, id)
}

// ByUnique finds an entity by the value of a unique field. Records whose ttl has passed
// are not found.
func (g *Gateway) ByUnique(collection, field, value string) (schema.Record, bool) {
	e, ok := g.entities[collection]
	if !ok {
		return nil, false
	}
	_, doc, ok := g.lookup(g.deps.Store.Snapshot(), e, field, value)
	if !ok || g.expired(*doc) {
		return nil, false
	}
	return *doc, true
}

// ByTogether finds an entity by the fields that are unique together in its collection.
func (g *Gateway) ByTogether(collection string, fields schema.Record) (schema.Record, bool) {
	e, ok := g.entities[collection]
	if !ok || len(e.UniqueTogether) == 0 {
		return nil, false
	}
	_, doc, ok := g.collection(collection).Lookup(g.deps.Store.Snapshot(), togetherRule, togetherValue(e, fields))
	if !ok || g.expired(*doc) {
		return nil, false
	}
	return *doc, true
}

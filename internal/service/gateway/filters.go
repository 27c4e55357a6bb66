package gateway

import (
	"encoding/json"
	"fmt"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Filters are the filters, in WebAssembly, that chains may be made of.
type Filters interface {
	// Schema returns the JSON schema of a filter's configuration; false where there is no
	// such filter.
	Schema(name string) (schema.Record, bool)
	// Check tells what is wrong with a filter's configuration, or "".
	Check(name string, config any) string
	// New makes an instance of a chain: it takes part in requests as a plugin does.
	New(chain []Filter) (any, error)
}

// Filter is one of a chain.
type Filter struct {
	Name   string
	Config []byte // text as it is, all else as JSON; empty where there is none
}

// NoSuchFilter is what is wrong with the name of a filter that there is none of.
const NoSuchFilter = "no such filter"

// collectionChains is the collection of the chains of filters.
const collectionChains = "filter_chains"

// filterChainsEntity describes chains of filters. There is one for a route or a service.
func filterChainsEntity(f Filters) *schema.Entity {
	known := func(v any) string {
		if _, ok := f.Schema(str(v)); !ok {
			return NoSuchFilter
		}
		return ""
	}
	filter := &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
		{Name: "name", Kind: schema.String, Required: true, Check: known},
		{Name: "enabled", Kind: schema.Boolean, Required: true, Default: true},
		{Name: "config", Kind: schema.JSON},
	}, Checks: []schema.Check{{Custom: func(r schema.Record, bad func(field, msg string)) {
		if msg := f.Check(str(r["name"]), r["config"]); msg != "" {
			bad("config", msg)
		}
	}}}}
	return &schema.Entity{
		Name: collectionChains, Path: "filter-chains", EndpointKey: "name",
		UniqueTogether: []string{"route", "service"},
		Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			fieldID, fieldCreated, fieldUpdated, fieldName,
			{Name: "enabled", Kind: schema.Boolean, Required: true, Default: true},
			{Name: "route", Kind: schema.Foreign, Reference: "routes", Cascade: true},
			{Name: "service", Kind: schema.Foreign, Reference: "services", Cascade: true},
			{Name: "filters", Kind: schema.Array, Required: true, LenMin: schema.Ptr(1), Elements: filter},
			fieldTags,
		}, Checks: []schema.Check{
			{MutuallyExclusive: []string{"service", "route"}}, {AtLeastOneOf: []string{"service", "route"}},
		}},
	}
}

// Filters returns what chains may be made of; nil where there are no filters at all.
func (g *Gateway) Filters() Filters { return g.deps.Filters }

// FilterUse is a filter that is configured for a route, by itself or by its service.
type FilterUse struct {
	Name    string         `json:"name"`
	Config  any            `json:"config"`
	From    string         `json:"from"` // service or route
	Enabled bool           `json:"enabled"`
	Chain   FilterUseChain `json:"filter_chain"`
}

// FilterUseChain names a chain.
type FilterUseChain struct {
	ID   string `json:"id"`
	Name any    `json:"name"`
}

// FilterUses lists the filters of a route in the order they run.
func (g *Gateway) FilterUses(route schema.Record) []FilterUse {
	out := []FilterUse{}
	add := func(from, id string) {
		for chain := range g.Children(collectionChains, from, id) {
			on, _ := chain["enabled"].(bool)
			for _, v := range asList(chain["filters"]) {
				f, _ := v.(schema.Record)
				enabled, _ := f["enabled"].(bool)
				out = append(out, FilterUse{str(f["name"]), f["config"], from, on && enabled, FilterUseChain{str(chain["id"]), chain["name"]}})
			}
		}
	}
	if id := refID(route["service"]); id != "" {
		add("service", id)
	}
	add("route", str(route["id"]))
	return out
}

// newChainInstance makes the instance of a chain of filters; nil where none is enabled.
func (g *Gateway) newChainInstance(id string, r schema.Record) *instance {
	in := &instance{id: id, scope: scope{route: refID(r["route"]), service: refID(r["service"])}, kind: &Plugin{Name: collectionChains},
		order: len(g.kinds), protocols: overHTTP}
	if in.scope.route != "" {
		in.order++ // a service's go first
	}
	var list []Filter
	for _, v := range asList(r["filters"]) {
		f, _ := v.(schema.Record)
		if enabled, _ := f["enabled"].(bool); enabled {
			list = append(list, Filter{str(f["name"]), configBytes(f["config"])})
		}
	}
	if len(list) == 0 {
		return nil
	}
	var err error
	if in.plugin, err = g.deps.Filters.New(list); err != nil {
		g.deps.Log.Error("a chain of filters could not be made; its routes answer 500", "chain", id, "err", err)
		in.plugin = broken{}
	}
	return in
}

// buildFilters puts the chains of filters into a snapshot.
func (g *Gateway) buildFilters(view *store.Snapshot, s *snapshot, old, next map[*schema.Record]*instance) {
	for id, doc := range g.collection(collectionChains).All(view, "") {
		if enabled, _ := (*doc)["enabled"].(bool); !enabled {
			continue
		}
		in := old[doc]
		if in == nil {
			in = g.newChainInstance(id, *doc)
		}
		if in == nil {
			continue
		}
		next[doc] = in
		in.holders.Add(1)
		s.all = append(s.all, in)
		s.filters[in.scope] = in
	}
}

// configBytes is a configuration as filters read it.
func configBytes(v any) []byte {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return []byte(v)
	}
	raw, err := json.Marshal(v)
	if err != nil { // decoded from JSON, it encodes
		panic(fmt.Sprintf("gateway: a stored configuration: %v", err))
	}
	return raw
}

// filtersOf returns the chains of filters that apply to a route, in order.
func (s *snapshot) filtersOf(route *Route) []*instance {
	if route == nil || len(s.filters) == 0 {
		return nil
	}
	var out []*instance
	if route.Service != nil {
		if in := s.filters[scope{service: route.Service.ID}]; in != nil {
			out = append(out, in)
		}
	}
	if in := s.filters[scope{route: route.ID}]; in != nil {
		out = append(out, in)
	}
	return out
}

package gateway

import (
	"crypto/tls"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/expression"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// closeTimeout bounds how long a retired plugin instance may take to close.
const closeTimeout = 10 * time.Second

// snapshot is everything the data plane needs, compiled from one revision of the store.
// It never changes. Exchanges hold it while they use it, so that plugin instances close
// only when nobody can be inside them.
type snapshot struct {
	gw       *Gateway
	revision int64
	router   *router
	streams  *streamRouter
	routed   []*Route
	// upstreams are by name: what a service's host may be.
	upstreams map[string]*upstream
	chains    []atomic.Pointer[chain]
	global    *chain
	plugins   map[scope][]*instance
	filters   map[scope]*instance // chains of filters
	all       []*instance
	// consumerPlugins tells which consumers have plugins of their own.
	consumerPlugins    map[string]bool
	consumerChains     sync.Map // chainKey → *chain
	consumerChainCount atomic.Int64

	material *material
	asks     asks

	refs atomic.Int64 // one for being current, one for every exchange
}

// acquire takes a hold on the current snapshot.
func (g *Gateway) acquire() *snapshot {
	for {
		s := g.current.Load()
		n := s.refs.Load()
		if n > 0 && s.refs.CompareAndSwap(n, n+1) {
			return s
		}
	}
}

// release gives a hold back. Whoever gives back the last one closes the plugin
// instances that no newer snapshot has.
func (s *snapshot) release() {
	if s.refs.Add(-1) == 0 {
		go s.retire()
	}
}

func (s *snapshot) retire() {
	for _, in := range s.all {
		in.release(s.gw)
	}
	s.gw.retired.Done()
}

// compiled remembers what was made of a stored document, so that a change recompiles
// what changed and nothing else. Documents are immutable and shared, so that a
// document's address is its identity.
type compiled struct {
	services map[*schema.Record]*Service
	routes   map[*schema.Record]*compiledRoute
	plugins  map[*schema.Record]*instance
	filters  map[*schema.Record]*instance

	material    compiledMaterial
	upstreamTLS map[identity]*tls.Config
}

type compiledRoute struct {
	route   *Route
	service *Service // with which it was compiled
}

// build compiles a snapshot from the store. It is called under g.building.
func (g *Gateway) build(view *store.Snapshot) *snapshot {
	old := g.compiled
	next := compiled{
		services: make(map[*schema.Record]*Service, len(old.services)),
		routes:   make(map[*schema.Record]*compiledRoute, len(old.routes)),
		plugins:  make(map[*schema.Record]*instance, len(old.plugins)),
		filters:  map[*schema.Record]*instance{},

		material: g.material(view), upstreamTLS: map[identity]*tls.Config{},
	}
	services := make(map[string]*Service, len(old.services))
	for id, doc := range g.collection("services").All(view, "") {
		s := old.services[doc]
		if s == nil {
			s = compileService(id, *doc)
		}
		if s.TLS() {
			if c := g.upstreamTLS(view, next.material.material, *doc, next.upstreamTLS); s.TLSConfig != c {
				s = compileService(id, *doc)
				s.TLSConfig = c
			}
		}
		next.services[doc], services[id] = s, s
	}
	routes := make([]*Route, 0, len(old.routes))
	for id, doc := range g.collection("routes").All(view, "") {
		service := services[refID((*doc)["service"])]
		c := old.routes[doc]
		if c == nil || c.service != service {
			c = &compiledRoute{compileRoute(id, *doc, service, g.deps.Flavor), service}
		}
		next.routes[doc] = c
		if service == nil || service.Enabled {
			routes = append(routes, c.route)
		}
	}
	s := &snapshot{
		gw: g, revision: view.Revision(), plugins: map[scope][]*instance{}, filters: map[scope]*instance{}, consumerPlugins: map[string]bool{},
		chains: make([]atomic.Pointer[chain], number(routes)), material: next.material.material,
	}
	if g.deps.Filters != nil {
		g.buildFilters(view, s, old.filters, next.filters)
	}
	for id, doc := range g.collection("plugins").All(view, "") {
		if enabled, _ := (*doc)["enabled"].(bool); !enabled {
			continue
		}
		in := old.plugins[doc]
		if in == nil {
			in = g.newInstance(id, *doc)
		}
		next.plugins[doc] = in
		in.holders.Add(1)
		s.all = append(s.all, in)
		s.plugins[in.scope] = append(s.plugins[in.scope], in)
		if in.scope.consumer != "" {
			s.consumerPlugins[in.scope.consumer] = true
		}
	}
	switch old := g.current.Load(); {
	case old == nil:
		s.router, s.streams = newRouter(routes), newStreamRouter(routes)
	case slices.Equal(old.routed, routes):
		s.router, s.streams = old.router, old.streams // plugins changed, the way to them did not
	default:
		s.router, s.streams = old.router.amend(routes), newStreamRouter(routes)
	}
	s.routed = routes
	s.asks = s.compileAsks()
	s.upstreams = g.buildUpstreams(view)
	s.global = newChain(s.applicable(nil, ""))
	s.refs.Store(1)
	g.compiled = next
	g.retired.Add(1)
	return s
}

// number gives those routes a slot that have none yet, and returns how many slots there are.
func number(routes []*Route) int {
	slots := len(routes)
	for _, r := range routes {
		slots = max(slots, r.slot+1)
	}
	taken := make([]bool, slots)
	for _, r := range routes {
		if r.slot >= 0 {
			taken[r.slot] = true
		}
	}
	free := 0
	for _, r := range routes {
		if r.slot < 0 {
			for taken[free] {
				free++
			}
			r.slot, taken[free] = free, true
		}
	}
	return slots
}

func compileService(id string, r schema.Record) *Service {
	s := &Service{
		doc: &document{record: r},
		ID:  id, Name: str(r["name"]), Protocol: protocolByName[str(r["protocol"])],
		Host: str(r["host"]), Port: num(r["port"]), Path: str(r["path"]), Tags: list(r["tags"]),
		Retries:        num(r["retries"]),
		ConnectTimeout: millis(r["connect_timeout"]),
		ReadTimeout:    millis(r["read_timeout"]),
		WriteTimeout:   millis(r["write_timeout"]),
	}
	s.Enabled, _ = r["enabled"].(bool)
	s.address()
	return s
}

func compileRoute(id string, r schema.Record, service *Service, flavor Flavor) *Route {
	route := &Route{
		doc: &document{record: r}, slot: -1,
		ID: id, Name: str(r["name"]), Tags: list(r["tags"]), Service: service,
		RedirectStatus: num(r["https_redirect_status_code"]),
		methods:        list(r["methods"]),
		regexPriority:  num(r["regex_priority"]),
		createdAt:      int64(num(r["created_at"])),
		sources:        parseEnds(r["sources"]),
		destinations:   parseEnds(r["destinations"]),
		pathV1:         flavor == Traditional && r["path_handling"] == "v1",
	}
	route.StripPath, _ = r["strip_path"].(bool)
	route.PreserveHost, _ = r["preserve_host"].(bool)
	route.RequestBuffering, _ = r["request_buffering"].(bool)
	route.ResponseBuffering, _ = r["response_buffering"].(bool)
	for _, p := range list(r["protocols"]) {
		route.Protocols |= protocolByName[p]
	}
	for _, h := range list(r["hosts"]) {
		route.hosts = append(route.hosts, parseHostRule(h))
	}
	for _, h := range list(r["snis"]) {
		route.snis = append(route.snis, parseHostRule(h))
	}
	for _, p := range list(r["paths"]) {
		rule, err := parsePathRule(p)
		if err != nil { // validated when it was written
			continue
		}
		route.paths = append(route.paths, rule)
	}
	headers, _ := r["headers"].(schema.Record)
	for name, values := range headers {
		route.headers = append(route.headers, parseHeaderRule(name, list(values)))
	}
	if text := str(r["expression"]); text != "" && flavor == Expressions {
		sub := expression.HTTP
		if route.Protocols&overStream != 0 {
			sub = expression.Stream
		}
		route.expression, _ = expression.Parse(text, sub) // validated when it was written
		route.priority = int64(num(r["priority"]))
	}
	return route
}

func parseEnds(v any) []endRule {
	var out []endRule
	ends, _ := v.([]any)
	for _, e := range ends {
		r, _ := e.(schema.Record)
		rule := endRule{port: uint16(num(r["port"]))}
		if ip := str(r["ip"]); ip != "" {
			rule.network, _ = parseNetwork(ip) // validated when it was written
		}
		out = append(out, rule)
	}
	return out
}

func parseHostRule(h string) hostRule {
	rule := hostRule{text: strings.ToLower(h)}
	if name, port, ok := strings.Cut(rule.text, ":"); ok {
		if n, err := strconv.Atoi(port); err == nil {
			rule.text, rule.port = name, n
		}
	}
	switch {
	case strings.HasPrefix(rule.text, "*."):
		rule.kind, rule.text = hostSuffix, rule.text[1:]
	case strings.HasSuffix(rule.text, ".*"):
		rule.kind, rule.text = hostPrefix, rule.text[:len(rule.text)-1]
	}
	return rule
}

// parsePathRule compiles one entry of a route's paths: "~" begins a regular expression,
// anchored at its start; anything else is a prefix.
func parsePathRule(p string) (pathRule, error) {
	expr, ok := strings.CutPrefix(p, "~")
	if !ok {
		normal, _ := NormalizePath(p)
		return pathRule{prefix: normal}, nil
	}
	re, err := regexp.Compile("^(?:" + expr + ")")
	return pathRule{regex: re}, err
}

func parseHeaderRule(name string, values []string) headerRule {
	rule := headerRule{name: name}
	for _, v := range values {
		if expr, ok := strings.CutPrefix(v, "~*"); ok {
			if re, err := regexp.Compile("(?i)" + expr); err == nil {
				rule.regexes = append(rule.regexes, re)
				continue
			}
		}
		rule.values = append(rule.values, strings.ToLower(v))
	}
	return rule
}

// refID returns the id a foreign field points at, or "".
func refID(v any) string {
	r, _ := v.(schema.Record)
	id, _ := r["id"].(string)
	return id
}

func str(v any) string {
	s, _ := v.(string)
	return s
}

func num(v any) int {
	n, _ := v.(float64)
	if n > math.MaxInt32 || n < math.MinInt32 {
		return int(int64(n))
	}
	return int(n)
}

func millis(v any) time.Duration { return time.Duration(num(v)) * time.Millisecond }

// list is schema.Strings by a shorter name.
func list(v any) []string { return schema.Strings(v) }

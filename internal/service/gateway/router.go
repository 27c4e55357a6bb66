package gateway

import (
	"cmp"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Query is what a request is matched by.
type Query struct {
	Method  string
	Host    string // lower case, without port
	Port    int
	Path    string // normalised
	SNI     string
	TLS     bool
	Headers *Header
	// The rest is looked at by expressions, sources and destinations alone.
	RawQuery string
	Src, Dst netip.AddrPort
	Protocol string // of a stream; empty for HTTP
}

// Match is the outcome of routing.
type Match struct {
	Route *Route
	// Prefix is the part of the path that the route strips, and that X-Forwarded-Prefix
	// tells; empty where the route strips nothing.
	Prefix string
	regex  *regexp.Regexp // that matched the path; nil: none did
}

// Captures returns what the groups of the route's regular expression captured in path,
// unnamed groups by number; nil where a prefix matched.
func (m Match) Captures(path string) (names, values []string) {
	if m.regex == nil {
		return nil, nil
	}
	return m.regex.SubexpNames(), m.regex.FindStringSubmatch(path)
}

// A split is a route with those of its paths that share one priority: Kong splits a
// route with prefixes of several lengths, and keeps its regular expressions in one group.
type split struct {
	route         *Route
	rank          int // position in the order of priority, 0 first
	regexes       []*pathRule
	major         int // the first criteria of priority, most significant first
	regexPriority int
	len           int // length of the group's prefixes, 0 where it has none
}

// candidate is a split as it lies in a bucket: with the port its host asked for, and the
// rule that led to it.
type candidate struct {
	*split
	port int
	rule *pathRule
}

// router finds the route of highest priority that matches a request. It is immutable.
//
// Splits lie in buckets by host: one per exact host, one per wildcard, one for splits
// that name no host. Inside a bucket prefixes form a radix tree; regular expressions
// and splits without a path are lists. Every list is in order of rank, so that a search
// ends as soon as it has something better than what is left.
//
// A router of many routes is not built anew for each change: it keeps its buckets, is told
// which of their routes are gone, and has a second router for those that are newer.
type router struct {
	routes []*Route // that the buckets were built from
	gone   map[*Route]bool
	newer  *router // nil: there are none

	exact  map[string]*bucket
	suffix map[string]*bucket
	prefix map[string]*bucket
	any    *bucket
}

type bucket struct {
	tree     node
	regex    []candidate
	pathless []candidate
}

func newRouter(routes []*Route) *router {
	splits := splitRoutes(routes)
	r := &router{
		routes: routes,
		exact:  map[string]*bucket{}, suffix: map[string]*bucket{}, prefix: map[string]*bucket{}, any: new(bucket),
	}
	for _, s := range splits { // in order of rank, so every list comes out in it
		if s.route.expression != nil {
			r.addExpression(s)
			continue
		}
		if len(s.route.hosts) == 0 {
			r.any.add(s, 0)
		}
		for _, h := range s.route.hosts {
			r.bucketOf(h).add(s, h.port)
		}
	}
	return r
}

// A router is amended where it has many routes and few of them differ.
const (
	manyRoutes = 1000
	fewChanges = 200
)

// amend returns a router of routes that has the buckets of r, or a new one.
func (r *router) amend(routes []*Route) *router {
	if len(r.routes) < manyRoutes {
		return newRouter(routes)
	}
	gone := map[*Route]bool{}
	for _, old := range without(r.routes, routes) {
		gone[old] = true
	}
	added := without(routes, r.routes)
	if len(gone)+len(added) > fewChanges {
		return newRouter(routes)
	}
	next := *r
	next.gone, next.newer = gone, nil
	if len(added) > 0 {
		next.newer = newRouter(added)
	}
	return &next
}

// without returns the routes that are not among others.
func without(routes, others []*Route) (out []*Route) {
	slots := 0
	for _, r := range others {
		slots = max(slots, r.slot+1)
	}
	at := make([]*Route, slots)
	for _, r := range others {
		at[r.slot] = r
	}
	for _, r := range routes {
		if r.slot >= slots || at[r.slot] != r {
			out = append(out, r)
		}
	}
	return out
}

func (r *router) bucketOf(h hostRule) *bucket {
	m := r.exact
	switch h.kind {
	case hostSuffix:
		m = r.suffix
	case hostPrefix:
		m = r.prefix
	}
	b := m[h.text]
	if b == nil {
		b = new(bucket)
		m[h.text] = b
	}
	return b
}

func (b *bucket) add(s *split, port int) {
	switch {
	case len(s.regexes) > 0:
		b.regex = append(b.regex, candidate{s, port, nil})
	case s.len > 0:
		for i := range s.route.paths {
			if p := &s.route.paths[i]; p.regex == nil && len(p.prefix) == s.len {
				b.tree.insert(p.prefix, candidate{s, port, p})
			}
		}
	default:
		b.pathless = append(b.pathless, candidate{s, port, nil})
	}
}

// match finds the route for q; ok is false where there is none. It does not allocate,
// unless a regular expression's match has to be measured.
func (r *router) match(q *Query) (Match, bool) {
	s := search{q: q, gone: r.gone}
	s.walk(r)
	if r.newer != nil {
		n := search{q: q}
		n.walk(r.newer)
		if n.best != nil && (s.best == nil || comparePriority(n.best, s.best) < 0) {
			s = n
		}
	}
	if s.best == nil {
		return Match{}, false
	}
	m := Match{Route: s.best.route}
	if s.rule != nil {
		m.regex = s.rule.regex
	}
	switch {
	case m.Route.expression != nil:
		found, _ := m.Route.expression.Find(q)
		if m.regex = found.Regex; m.Route.StripPath {
			m.Prefix = q.Path[:found.Len]
		}
	case s.rule == nil || !m.Route.StripPath:
	case s.rule.regex != nil:
		m.Prefix = q.Path[:s.rule.regex.FindStringIndex(q.Path)[1]]
	default:
		m.Prefix = q.Path[:len(s.rule.prefix)]
	}
	return m, true
}

// search is one walk through the buckets that may hold the answer.
type search struct {
	q    *Query
	gone map[*Route]bool
	best *split
	rule *pathRule
}

func (s *search) walk(r *router) {
	q := s.q
	if len(r.exact) > 0 {
		if b := r.exact[q.Host]; b != nil {
			s.bucket(b)
		}
	}
	if len(r.suffix) > 0 {
		for i := range len(q.Host) {
			if q.Host[i] == '.' {
				if b := r.suffix[q.Host[i:]]; b != nil {
					s.bucket(b)
				}
			}
		}
	}
	if len(r.prefix) > 0 {
		for i := range len(q.Host) {
			if q.Host[i] == '.' {
				if b := r.prefix[q.Host[:i+1]]; b != nil {
					s.bucket(b)
				}
			}
		}
	}
	s.bucket(r.any)
}

// takes reports whether a candidate's route is there and its conditions hold.
func (s *search) takes(c *candidate) bool {
	return c.conditions(s.q) && (len(s.gone) == 0 || !s.gone[c.route])
}

func (s *search) bucket(b *bucket) {
	s.list(b.pathless)
	path := s.q.Path
	for n := &b.tree; n != nil; {
		s.list(n.entries)
		n, path = n.next(path)
	}
	for _, c := range b.regex {
		if s.best != nil && c.rank >= s.best.rank {
			break
		}
		if !s.takes(&c) {
			continue
		}
		for _, rule := range c.regexes {
			if rule.regex.MatchString(s.q.Path) {
				s.best, s.rule = c.split, rule
				break
			}
		}
	}
}

func (s *search) list(cs []candidate) {
	for i := range cs {
		c := &cs[i]
		if s.best != nil && c.rank >= s.best.rank {
			return
		}
		if s.takes(c) {
			s.best, s.rule = c.split, c.rule
			return
		}
	}
}

// conditions checks everything but host name and path, which led here.
func (c *candidate) conditions(q *Query) bool {
	if c.port != 0 && c.port != q.Port {
		return false
	}
	r := c.route
	if r.expression != nil {
		return r.expression.Match(q)
	}
	if !matchEnd(r.sources, q.Src) || !matchEnd(r.destinations, q.Dst) {
		return false
	}
	if len(r.methods) > 0 && !slices.Contains(r.methods, q.Method) {
		return false
	}
	if len(r.snis) > 0 && q.TLS && !slices.ContainsFunc(r.snis, func(h hostRule) bool { return h.match(q.SNI, 0) }) {
		return false
	}
	for i := range r.headers {
		if !r.headers[i].match(q.Headers) {
			return false
		}
	}
	return true
}

func (r *headerRule) match(h *Header) bool {
	if h == nil {
		return false
	}
	for _, f := range h.Fields() {
		if !EqualFold(f.Name, r.name) {
			continue
		}
		if slices.ContainsFunc(r.regexes, func(re *regexp.Regexp) bool { return re.MatchString(f.Value) }) {
			return true
		}
		if len(r.values) > 0 && slices.Contains(r.values, lowerASCII(f.Value)) {
			return true
		}
	}
	return false
}

// splitRoutes returns the routes' splits in order of priority, ranked.
func splitRoutes(routes []*Route) []*split {
	splits := make([]*split, 0, len(routes))
	for _, r := range routes {
		if r.Protocols&overStream != 0 {
			continue
		}
		var regexes []*pathRule
		var lengths []int
		for i := range r.paths {
			p := &r.paths[i]
			if p.regex != nil {
				regexes = append(regexes, p)
			} else if !slices.Contains(lengths, len(p.prefix)) {
				lengths = append(lengths, len(p.prefix))
			}
		}
		if len(regexes) > 0 {
			splits = append(splits, (&split{route: r, regexes: regexes}).prioritise())
		}
		for _, n := range lengths {
			splits = append(splits, (&split{route: r, len: n}).prioritise())
		}
		if len(r.paths) == 0 {
			splits = append(splits, (&split{route: r}).prioritise())
		}
	}
	slices.SortFunc(splits, comparePriority)
	for i, s := range splits {
		s.rank = i
	}
	return splits
}

// comparePriority orders splits as Kong's router does, highest priority first: expressions
// by theirs, then, as in traditional_compatible, more kinds of condition, hosts without a wildcard, more headers, a
// regular expression, its regex_priority, the longer prefix, the older route.
func comparePriority(a, b *split) int {
	if x, y := a.route.expression != nil, b.route.expression != nil; x != y {
		if x {
			return -1
		}
		return 1
	}
	if c := cmp.Compare(b.route.priority, a.route.priority); c != 0 {
		return c
	}
	if c := cmp.Compare(b.major, a.major); c != 0 {
		return c
	}
	if c := cmp.Compare(b.regexPriority, a.regexPriority); c != 0 {
		return c
	}
	if c := cmp.Compare(b.len, a.len); c != 0 {
		return c
	}
	if c := cmp.Compare(a.route.createdAt, b.route.createdAt); c != 0 {
		return c
	}
	return strings.Compare(a.route.ID, b.route.ID)
}

// prioritise fills what comparePriority looks at first.
func (s *split) prioritise() *split {
	r := s.route
	bit := func(b bool) int {
		if b {
			return 1
		}
		return 0
	}
	s.major = r.categories()<<10 | bit(r.plainHosts())<<9 | min(len(r.headers), 255)<<1 | bit(len(s.regexes) > 0)
	if len(s.regexes) > 0 {
		s.regexPriority = r.regexPriority
	}
	return s
}

// categories counts the kinds of condition a route sets.
func (r *Route) categories() int {
	n := 0
	for _, set := range [...]bool{
		len(r.sources) > 0, len(r.destinations) > 0, len(r.methods) > 0, len(r.hosts) > 0, len(r.headers) > 0, len(r.snis) > 0, len(r.paths) > 0,
	} {
		if set {
			n++
		}
	}
	return n
}

// plainHosts reports whether the route names hosts and none of them has a wildcard.
func (r *Route) plainHosts() bool {
	return len(r.hosts) > 0 && !slices.ContainsFunc(r.hosts, func(h hostRule) bool { return h.kind != hostExact })
}

package gateway

import (
	"slices"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestRouter gives tests the router without a store.
type TestRouter struct{ r *router }

// NewTestRouter compiles routes from records as they are stored.
func NewTestRouter(records []schema.Record, flavor ...Flavor) TestRouter {
	routes := make([]*Route, len(records))
	for i, r := range records {
		routes[i] = compileRoute(r["id"].(string), r, nil, append(flavor, TraditionalCompatible)[0])
		routes[i].slot = i
	}
	return TestRouter{newRouter(routes)}
}

// Without returns the router amended: it has not every n-th of its routes.
func (t TestRouter) Without(n int) TestRouter {
	var kept []*Route
	for i, r := range t.r.routes {
		if i%n != 0 {
			kept = append(kept, r)
		}
	}
	return TestRouter{t.r.amend(kept)}
}

// With returns the router amended: it has the routes of records besides.
func (t TestRouter) With(records []schema.Record) TestRouter {
	all := slices.Clone(t.r.routes)
	for _, r := range records {
		route := compileRoute(r["id"].(string), r, nil, TraditionalCompatible)
		route.slot = len(all)
		all = append(all, route)
	}
	return TestRouter{t.r.amend(all)}
}

// Amended reports whether the router has the buckets of another one.
func (t TestRouter) Amended() bool { return t.r.gone != nil }

// Match returns the id of the route that matches, and the prefix to strip.
func (t TestRouter) Match(q *Query) (id, prefix string) {
	m, ok := t.r.match(q)
	if !ok {
		return "", ""
	}
	return m.Route.ID, m.Prefix
}

// UpstreamPath exposes the joining of paths.
var UpstreamPath = upstreamPath

// UpstreamPathV1 exposes the same by the rules of v1.
var UpstreamPathV1 = upstreamPathV1

// SplitAuthority exposes the reading of a Host.
var SplitAuthority = splitAuthority

// NormalTarget exposes how a target is read and written.
func NormalTarget(s string) (string, bool) {
	host, port, ok := splitTarget(s)
	if !ok {
		return "", false
	}
	return joinTarget(host, port), true
}

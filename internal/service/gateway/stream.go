package gateway

import (
	"cmp"
	"slices"
	"strings"
)

// streamRoute is a route of connections as it lies in its router.
type streamRoute struct {
	route *Route
	rank  int // position in the order of priority, 0 first
}

// streamRouter finds the route of highest priority for a connection or a UDP session. It
// is immutable. Routes that name servers lie by these names; every list is in order of rank.
type streamRouter struct {
	names map[string][]streamRoute
	any   []streamRoute
}

func newStreamRouter(routes []*Route) *streamRouter {
	var all []streamRoute
	for _, r := range routes {
		if r.Protocols&overStream != 0 {
			all = append(all, streamRoute{route: r})
		}
	}
	slices.SortFunc(all, func(a, b streamRoute) int { return compareStreams(a.route, b.route) })
	s := &streamRouter{names: map[string][]streamRoute{}}
	for rank, r := range all {
		r.rank = rank
		plain := len(r.route.snis) > 0 && r.route.Protocols&(TCP|UDP) == 0 &&
			!slices.ContainsFunc(r.route.snis, func(h hostRule) bool { return h.kind != hostExact })
		if !plain {
			s.any = append(s.any, r)
			continue
		}
		for _, h := range r.route.snis {
			s.names[h.text] = append(s.names[h.text], r)
		}
	}
	return s
}

// compareStreams orders as Kong does, highest priority first: expressions by theirs, then
// server names, or sources together with destinations, then by how closely the ends are told.
func compareStreams(a, b *Route) int {
	expression := func(r *Route) int {
		if r.expression != nil {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(expression(b), expression(a)), cmp.Compare(b.priority, a.priority),
		cmp.Compare(streamWeight(b), streamWeight(a)),
		cmp.Compare(a.createdAt, b.createdAt), strings.Compare(a.ID, b.ID))
}

// streamWeight is the priority of a route by its fields.
func streamWeight(r *Route) int {
	ends := func(rules []endRule) (n int) {
		for _, e := range rules {
			switch {
			case !e.network.IsValid():
			case e.network.IsSingleIP():
				n |= 8
			default:
				n |= 1
			}
			if e.port != 0 {
				n |= 4
			}
		}
		return n
	}
	weight := ends(r.sources)<<4 | ends(r.destinations)
	switch {
	case len(r.sources) > 0 && len(r.destinations) > 0:
		weight |= 2 << 8
	case len(r.snis) > 0:
		weight |= 1 << 8
	}
	return weight
}

func (s *streamRouter) match(q *Query, takes Protocol) (best streamRoute) {
	for _, list := range [...][]streamRoute{s.names[q.SNI], s.any} {
		for _, r := range list {
			if best.route != nil && r.rank >= best.rank {
				break
			}
			if r.route.takesStream(q, takes) {
				best = r
				break
			}
		}
	}
	return best
}

func (r *Route) takesStream(q *Query, takes Protocol) bool {
	switch {
	case r.Protocols&takes == 0:
		return false
	case r.expression != nil:
		return r.expression.Match(q)
	}
	named := len(r.snis) == 0 || takes&(TLS|TLSPassthrough) == 0 ||
		slices.ContainsFunc(r.snis, func(h hostRule) bool { return h.match(q.SNI, 0) })
	return named && matchEnd(r.sources, q.Src) && matchEnd(r.destinations, q.Dst)
}

// IsStream reports whether this is a connection, or a UDP session, that is passed on as it
// is. Its sizes are Times.BytesIn and BytesOut, and its status, which nobody is told, is one
// of nginx's for streams: 200, 403 and the like where it was refused, 502 where the upstream
// was not reached, 500.
func (x *Exchange) IsStream() bool { return x.query.Protocol != "" }

// Preread routes a connection, or a UDP session, and runs its preread plugins. takes is
// the protocols of which a route must have one: TLS and TLSPassthrough where the client
// speaks TLS to the server of a name. It reports whether the connection may go on, to
// Upstream.Service.
func (g *Gateway) Preread(x *Exchange, takes Protocol, name string) bool {
	q := &x.query
	*q = Query{SNI: strings.ToLower(name), Src: x.Client(), Dst: x.Conn.Local, Protocol: "tcp"}
	switch {
	case takes&UDP != 0:
		q.Protocol = "udp"
	case takes&(TLS|TLSPassthrough) != 0:
		q.Protocol = "tls"
	}
	x.Request.Scheme = q.Protocol
	m := x.snap.streams.match(q, takes)
	if m.route == nil {
		x.chain = emptyChain // what is global is so for requests
		return false
	}
	x.match = Match{Route: m.route}
	x.chain = x.snap.chainFor(m.route)
	for _, p := range x.chain.preread {
		if p.Preread(x); x.answered {
			return false
		}
	}
	service := m.route.Service
	if service == nil {
		x.Response.Status = 503
		return false
	}
	x.Upstream.Service = service
	x.Upstream.derive(service.HostHeader)
	return true
}

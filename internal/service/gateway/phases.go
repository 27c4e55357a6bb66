package gateway

import (
	"strings"
	"time"
)

// Begin returns an empty exchange that holds the current snapshot. The engine fills it,
// passes it through the phases, and gives it back to End.
func (g *Gateway) Begin() *Exchange {
	x := g.pool.Get().(*Exchange)
	x.snap = g.acquire()
	x.chain = x.snap.global
	return x
}

// Access routes the request and runs the rewrite and access plugins. Afterwards the
// exchange is either answered, or Upstream says where it goes.
func (g *Gateway) Access(x *Exchange) {
	s := x.snap
	x.chain = s.global
	for _, p := range s.global.rewrite {
		x.acted = true
		if p.Rewrite(x); x.answered {
			return
		}
	}
	r := &x.Request
	x.query = Query{Method: r.Method, Host: r.Host, Port: r.Port, Path: r.Path, TLS: x.Conn.TLS != nil, Headers: &r.Header,
		RawQuery: r.RawQuery, Src: x.Client(), Dst: x.Conn.Local}
	if x.query.TLS {
		x.query.SNI = x.Conn.TLS.ServerName
	}
	m, ok := s.router.match(&x.query)
	if !ok {
		x.Fail(404, "no Route matched with those values")
		return
	}
	x.match = m
	route := m.Route
	x.chain = s.chainFor(route)
	if !x.protocolFits() {
		return
	}
	if service := route.Service; service != nil {
		x.Upstream.Service = service
		if route.pathV1 {
			x.Upstream.Path = upstreamPathV1(service.Path, r.Path, m.Prefix, route.StripPath)
		} else {
			x.Upstream.Path = upstreamPath(service.Path, r.Path, m.Prefix, route.StripPath)
		}
		x.Upstream.derive(service.HostHeader)
		if route.PreserveHost && r.Authority != "" {
			x.Upstream.HostHeader, x.Upstream.derived = r.Authority, false
		}
	}
	x.runAccess()
	if !x.answered && x.Upstream.Service == nil {
		x.Fail(503, "no Service found with those values")
	}
}

// runAccess runs the access plugins in order. When one of them authenticates a consumer
// that has plugins of its own, the rest of the way is that consumer's chain.
func (x *Exchange) runAccess() {
	steps := x.chain.access
	x.acted = x.acted || len(steps) > 0
	for i := 0; i < len(steps); i++ {
		step := steps[i]
		before := x.consumer
		step.run.Access(x)
		if x.consumer != before && x.consumer != nil {
			if c := x.snap.chainForConsumer(x.match.Route, x.consumer.ID); c != x.chain {
				x.chain, steps = c, c.access
				i = -1
				for i+1 < len(steps) && steps[i+1].order <= step.order {
					i++
				}
			}
		}
		if x.answered {
			return
		}
	}
}

// protocolFits answers requests that reached a route in a protocol it does not take.
func (x *Exchange) protocolFits() bool {
	p := x.match.Route.Protocols
	secure := x.clientSecure()
	if p&(GRPC|GRPCS) != 0 {
		switch {
		case !strings.HasPrefix(x.Request.Header.Get("Content-Type"), "application/grpc"):
			x.Fail(415, "Non-gRPC request matched gRPC route")
		case x.Request.Proto != 2:
			x.Response.Header.Add("Connection", "Upgrade")
			x.Response.Header.Add("Upgrade", "HTTP/2")
			x.Fail(426, "Please use HTTP2 protocol")
		case p&GRPC == 0 && !secure:
			x.Respond(200, nil, Field{"Content-Type", "application/grpc"}, Field{"grpc-status", "1"},
				Field{"grpc-message", "gRPC request matched gRPCs route"})
		}
		return !x.answered
	}
	if p&HTTP != 0 || secure {
		return true
	}
	route := x.match.Route
	if route.RedirectStatus == 426 {
		x.Response.Header.Add("Connection", "Upgrade")
		x.Response.Header.Add("Upgrade", "TLS/1.2, HTTP/1.1")
		x.Fail(426, "Please use HTTPS protocol")
		return false
	}
	target := string(AppendTarget(nil, x.Request.Path, x.Request.RawQuery, x.Request.HasQuery))
	x.Respond(route.RedirectStatus, nil, Field{"Location", "https://" + x.ForwardedHost() + target})
	return false
}

// BuffersResponse reports whether the upstream's answer has to be read as a whole, and
// Response to be called.
func (x *Exchange) BuffersResponse() bool { return len(x.chain.response) > 0 || x.buffers }

// BufferResponse asks for the upstream's answer to be read as a whole, so that header
// filters find its body in Response.Body. It counts before the request is forwarded.
func (x *Exchange) BufferResponse() { x.buffers = true }

// Response runs the plugins that act on an upstream's answer as a whole, which is in
// x.Response. One of them may answer in its place.
func (g *Gateway) Response(x *Exchange) {
	for _, p := range x.chain.response {
		if p.Response(x); x.answered {
			return
		}
	}
}

// HeaderFilter runs the header filters over the answer's head, whoever gave it.
func (g *Gateway) HeaderFilter(x *Exchange) {
	if x.setCookie != "" && x.forwarded {
		x.Response.Header.Add("Set-Cookie", x.setCookie)
	}
	for _, p := range x.chain.header {
		p.HeaderFilter(x)
	}
	if g.deps.DebugHeader && x.Request.Header.Get("Kong-Debug") == "1" {
		x.tellRoute()
	}
}

// tellRoute tells the client which route and service it was taken for.
func (x *Exchange) tellRoute() {
	h := &x.Response.Header
	set := func(name, value string) {
		if value != "" {
			h.Set(name, value)
		}
	}
	route := x.match.Route
	if route == nil {
		return
	}
	set("Kong-Route-Id", route.ID)
	set("Kong-Route-Name", route.Name)
	if s := route.Service; s != nil {
		set("Kong-Service-Id", s.ID)
		set("Kong-Service-Name", s.Name)
	}
}

// FiltersBody reports whether BodyFilter has to be called at all.
func (x *Exchange) FiltersBody() bool { return len(x.chain.body) > 0 }

// BodyFilter runs the body filters over one chunk of the answer's body.
func (g *Gateway) BodyFilter(x *Exchange, chunk []byte, last bool) []byte {
	for _, p := range x.chain.body {
		chunk = p.BodyFilter(x, chunk, last)
	}
	return chunk
}

// End runs the log phase, reports the exchange, and takes it back. The exchange must not
// be used afterwards.
func (g *Gateway) End(x *Exchange) {
	if x.peer != nil {
		x.endTry(x.Times.UpstreamHeader.Sub(x.tries[len(x.tries)-1].Start))
	}
	if x.Times.End.IsZero() {
		x.Times.End = time.Now()
	}
	if x.Logged() {
		x.takeSent()
		for _, p := range x.chain.log {
			p.Log(x)
		}
	}
	if g.deps.Observe != nil && !x.IsStream() { // what is observed is requests
		g.deps.Observe(x)
	}
	snap := x.snap
	x.reset()
	g.pool.Put(x)
	snap.release()
}

// Discard takes back an exchange that never was a request: the client closed the
// connection before it sent one.
func (g *Gateway) Discard(x *Exchange) {
	snap := x.snap
	x.reset()
	g.pool.Put(x)
	snap.release()
}

// Package proxy is the gateway's data plane: it takes HTTP connections, puts every
// request through the gateway's phases, forwards it, and brings the answer back.
//
// Words: a client is who connected to us; an upstream is who we connect to; an exchange
// is one request with its answer (gateway.Exchange); a tunnel is what a connection
// becomes after an upgrade such as WebSocket's; a flow is a connection that is passed on as
// it is, and a session the datagrams of one client's address.
//
// HTTP/1.1 is served by a loop of our own over package http1, one goroutine per
// connection: a head is parsed in place, and what arrives of a body with it leaves with
// it in one write. HTTP/2, over TLS by ALPN or in clear text by prior knowledge, is served
// over package http2, and services of gRPC are called over it. docs/decisions/0003, 0006 and
// 0008 say why and give figures.
//
// Invariants:
//   - No body is held in memory as a whole, in either direction, unless a plugin asks for it
//     or the route buffers requests and the body is small.
//   - A request that two servers could read differently is refused, and its connection closed.
//   - Hop-by-hop headers stay on their hop.
//   - A request is sent to an upstream again only if nothing of it can have had an effect:
//     it never reached the upstream, or its method is idempotent and no byte of an answer
//     was read.
//   - Every wait has a time-out; connections, heads and buffers are bounded.
//
// The package decides nothing about requests; that is the gateway's.
package proxy

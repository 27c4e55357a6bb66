// Package gateway holds the entities of Kong's data model, the router and the
// plugin chains compiled from them, and the Exchange that plugins see.
//
// Words: an entity is a collection of records described by a schema (package schema);
// services, routes, consumers and plugins are the gateway's own, and a kind of plugin may
// bring further ones, such as credentials. A kind of plugin (Plugin) is code; an instance
// is that code with one configuration. A scope is what an instance applies to: a route, a
// service, a consumer, a combination, or everything. A chain is the instances that apply
// to one combination, by phase. A snapshot is router and chains compiled from one revision
// of the store. An Exchange is one request with its answer, or
// one connection or UDP session that is passed on as it is, of which plugins see Preread and
// Log alone.
//
// How it works: entities live in the control store. When a change returns, a new snapshot
// is in force; requests in flight finish on the one they began with, so no change drops a
// request. What did not change is not compiled again. Plugins that do not apply to a
// request, and phases a plugin does not have, cost it nothing.
//
// For TLS, a snapshot holds what handshakes need: the certificates by server name, the
// names for which clients are asked for a certificate of their own, and one configuration
// for each way services speak to their upstreams. It takes no part in a handshake itself.
//
// Invariants:
//   - A field is described once; validation, defaults, form coercion and /schemas follow.
//   - What is accepted acts. What does not act yet is refused with a schema violation.
//   - A plugin that cannot be made fails the requests it would have seen; it never lets
//     them pass unseen.
//   - An instance is closed after the last exchange that could be inside it has ended.
//
// The package opens no listener and knows no HTTP library; package proxy drives it. It
// does not store counters or events.
package gateway

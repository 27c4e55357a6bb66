// Package acme is the plugin acme: certificates for configured domains, obtained when they
// are first asked for from an authority that speaks ACME (RFC 8555), by the challenge
// HTTP-01.
//
// Words: an order is the way to one certificate. A domain is allowed where the
// configuration lists it, or allows any. A certificate is managed where its sni carries
// the tag that says so; what is managed is renewed, anything else is left alone. A storage
// keeps accounts, challenges, and who may not try again yet; certificates are entities of
// their own, which is how handshakes come by them.
//
// Invariants: there is one order at a time for a domain, in all nodes that share a
// storage, and few at a time in an instance. A domain whose order has failed is not tried
// before its backoff has passed. Handshakes and requests never wait for an order. Closing
// an instance ends its orders.
//
// The storages are the gateway's entities, the memory of the node, and servers of Redis,
// Consul and Vault. IP addresses, which no sni can have, are refused.
package acme

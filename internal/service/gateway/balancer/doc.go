// Package balancer chooses the address that a request goes to: it resolves names,
// spreads requests over the addresses of an upstream's targets, and keeps track of which
// of them are healthy.
//
// Words: an upstream is a name that stands for several targets; a target is a host and
// port with a weight; an address is one IP address and port that a target resolved to. A
// table is the addresses in force, made anew when targets, DNS answers or health change.
// A probe is an active health check; a report is what a request told about an address.
//
// Invariants:
//   - Choosing an address takes no allocation and waits for nothing, but for the first
//     answer of DNS.
//   - Addresses that a change leaves in place keep their health, their counters and
//     their load.
//   - A key is hashed to the same address as long as that address is there and healthy;
//     another address coming or going moves about its own share of the keys.
//   - An answer of DNS that has run out serves on while a new one is fetched, and for a
//     bounded time while none can be had.
//   - Goroutines are two per upstream, and as many probes as it allows; they end with it.
//
// The package knows nothing of HTTP requests and entities; package gateway brings them.
package balancer

// Package c2 is the agent's side of MiNiFi's command and control protocol, as Java agents
// speak it: the agent sends heartbeats, the answers carry operations, and each operation is
// acknowledged.
//
// # Invariants
//
//   - An acknowledgement is on the disk before it is sent and until a server has taken it. An
//     operation that comes again is not done again: its acknowledgement is repeated.
//   - Operations are done one after the other, in the order in which they came, while
//     heartbeats go on.
//   - A flow is kept after it runs, so a crash between the two leaves the old one, and the
//     server asks again. One that does not run changes nothing and is acknowledged with the
//     reason.
//   - Whatever a server sends is bounded and checked: answers, flows, assets, names of files,
//     digests. No name leads out of the assets' directory, and links in it are not followed
//     out of it.
//   - With several URLs any one serves; the client stays at the one that answers. Failures are
//     followed by waits that grow, with chance in them, so that a fleet does not come back at once.
package c2

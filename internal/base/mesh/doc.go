// Package mesh connects the nodes of a cluster: they find each other, agree that they may
// work together, and then send each other news, calls and whole connections.
//
// # Words
//
// A peer is another node that is connected. A cast is a short message to all peers that may
// get lost; a call is a question to one peer; a dial makes a connection to a service that a
// peer listens for, as to a port of that host. All of them share one TCP or TLS connection
// per pair of nodes and direction, by yamux.
//
// # How nodes join
//
// Each node dials every address it is told of: by discovery, and by its peers, who tell each
// other the addresses they know. Both sides then say who they are and what their
// configuration is, key by key as digests, and each gives its verdict. Nodes of other
// clusters, databases or configurations are refused, and a refusal names the keys. Then both
// prove that they know the cluster's key, which lies sealed in the database: who only
// reaches the port learns the names of nodes and keys, and can do nothing.
//
// # Invariants
//
//   - Nothing rests on the mesh but speed and forwarding. What is true is in the control
//     store: who lives, who holds a lease, what the configuration is. A node that no peer
//     reaches and that reaches the database serves on.
//   - Every queue, frame, stream and handshake is bounded in size or time.
//   - A node that speaks TLS takes no peer that does not, and the other way round.
//
// # What it does not do
//
// It elects nobody and counts no quorum: see package lease.
package mesh

// Package cluster knows the nodes: which there are, how they do, what they run, and which of
// them should take no new work.
//
// # Words
//
// A node is up while its session in the control store lives (package lease), and down after
// that until it is forgotten. A cordoned node takes no leases and tells load balancers that
// it is not ready; what it has under way goes on. A drained node is cordoned, and has nothing
// under way any more.
//
// # Invariants
//
//   - What a node tells of itself comes with its session's renewals, so that every node can
//     answer for all of them, also when no two nodes can speak with each other.
//   - An order to cordon or drain is in the control store: it holds over restarts until it is
//     taken back, on whichever node it was given.
//
// # What it does not do
//
// It moves no work: who leads gives its leases back when its node is cordoned, and clients go
// where the load balancer sends them.
package cluster

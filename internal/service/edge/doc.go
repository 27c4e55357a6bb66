// Package edge manages agents that run data flows outside: which there are, what they run,
// and how they get from one flow to the next.
//
// # Words
//
// An agent reports in heartbeats, and finds in each answer the operations it is to carry out;
// it acknowledges them one by one. An agent belongs to a class, which has one published flow,
// one manifest, parameters and resources. A manifest says what an agent of some version can
// run; agents name it by a hash, and only one of those that have the same is asked for it.
//
// An order is what an operator, or the platform itself, wants of one agent or of a class: an
// operation, or a rollout, which brings a version of a flow to a class in waves. An agent
// carries out an order by one operation, again if it did not answer in time. Progress is how
// far one agent has come with one order.
//
// # How it works
//
// What must be the same on every node (classes, flows, orders) is in the control store and
// so in every node's memory. What there is once per agent (the agent, its progress) is rows of
// the database. A node remembers of the agents that report to it what decides about the next
// answer, some hundred bytes each; a heartbeat that changes nothing writes nothing. Changes
// are gathered and written a few hundred at a time.
//
// Desired state rules: what an agent is sent follows from the flow and resources it reports
// and those of its class, so a lost answer, a lost acknowledgement and a lost node are made
// good by the next heartbeat, on whichever node. The id of an operation tells order, attempt
// and agent, so that any node understands any acknowledgement.
//
// A wave is a part of the order of all agents' places (store.Rows), so that one number in a
// rollout says which agents are admitted, and every node decides alike. One node at a time,
// by a lease, moves that number on: by health and rate, not by a timer.
//
// # Invariants
//
//   - The state of progress only goes forward: QUEUED, DEPLOYED, then DONE, FAILED or CANCELLED.
//   - An agent is never sent an operation that its manifest does not support.
//   - At most one agent is asked for an unknown manifest at a time, over all nodes.
//   - Every map, queue and list is bounded; agents beyond the memory's bound are read from
//     the database again.
//
// # What it does not do
//
// It knows neither HTTP nor the dialects of C2: package api/c2 translates.
package edge

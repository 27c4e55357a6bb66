// Package lease lets one node of a cluster at a time do something: hold a lock, lead, run a
// schedule.
//
// # Words
//
// A Keeper holds its node's session in the control store and renews it. A Lease is a named
// lock that a session holds: it ends when it is released, or with the session. Its token is
// a number that grows with every holder; what a holder writes outside of the control store
// carries it, so that the writes of an earlier holder can be told from those of a later one.
//
// # Invariants
//
//   - No two sessions hold a lease at one time, by the database's clock and order alone.
//     Skewed clocks, stopped processes and partitions between nodes change nothing about it.
//   - A transaction that calls Lease.Guard commits only while the lease is held: a holder
//     that was stopped past its time and wakes up again writes nothing.
//   - A holder's own context ends before the database lets another hold the lease, unless
//     the whole process stands still; that is what Guard and the token are for.
//   - The loss of all other nodes changes nothing for the one that is left: there is no
//     quorum but the database.
//
// # What it does not do
//
// A node alone (Config.TTL zero) has no session and asks nobody: it holds what it takes.
package lease

// Package store is the control store: a small document store over SQL that every
// service keeps its configuration in.
//
// # Words
//
// A collection holds documents of one Go type under string keys. A rule of a collection
// states that a value is unique, indexed, or refers to a key of another collection. A
// transaction reads and writes documents of any collections and has a revision, a number
// that grows by one with every transaction of all nodes. The feed is the list of changes
// by revision. A snapshot is the whole store at one revision, in memory.
//
// # How it works
//
// All documents are held in memory, in copy-on-write trees, and reads never touch SQL.
// A transaction locks the one row that holds the revision, reads from the feed what other
// nodes committed since, runs against memory that is now exact, and writes its documents
// and their changes. Because the row stays locked until the commit, revisions become
// visible in order on every database and a reader that has seen revision n has everything
// before it; a sequence or an auto-increment column promises neither. Unique keys and
// references are checked in that exact memory under that lock, so they hold over all nodes.
// Transactions that wait together commit together, which pays for the row lock.
//
// Bodies are sealed with AES-256-GCM, bound to collection, key and revision. Keys are
// stored as keyed hashes: who reads the database learns how many documents a collection
// has and when they change, and no name.
//
// # Invariants
//
//   - When Update returns nil the transaction is durable and this node's snapshots show it.
//   - A snapshot never changes, and never shows part of a transaction.
//   - Documents given out are shared: who wants to change one copies it first.
//   - A node that fell behind a compacted feed takes a fresh snapshot; it never skips.
//
// # Beside the documents
//
// A session is a node's life by the database's clock; Tx.Alive asks for one inside a
// transaction, and what it finds dead stays dead. Package lease builds locks on that. Rows
// are sealed like documents, but stay in the database: what there may be hundreds of
// thousands of, such as agents, and nobody follows.
//
// # Moving
//
// NewDump reads all that is kept for good as the database has it, sealed, and Fill puts it
// into an unused database of any sort under the same key, in one transaction. Revisions go
// along, as bodies are bound to them; the feed and the sessions do not.
//
// # What it does not do
//
// Documents are control data: what fits in memory many times over. Checkpoints, counters,
// audit records, object metadata and reference data of the collector belong in package kv.
package store

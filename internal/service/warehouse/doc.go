// Package warehouse answers SQL over objects in buckets and over tables of its own.
//
// # Words
//
// A session is one client's connection with an identity. A schema is a name by which
// sessions reach a namespace; a namespace holds tables and is either local or a database
// of the data catalogue. An external table describes objects below a prefix of a bucket; a
// local table is a log of immutable Parquet files in the warehouse's own area. A worker is
// a child process that runs one statement at a time in DuckDB and holds nothing between
// them. A feed streams objects into a worker's pipes. An object of gzip text is plain when
// a feed has nothing to change in it, and proven when a feed once read it whole: its gzip
// was intact, it was plain, and no row was malformed.
//
// # How a statement runs
//
// The client's text is parsed here as far as it changes the catalogue or the session;
// queries are left to the engine. They are brought to the engine's dialect (rewrite; casts
// and arithmetic are the worker's), the engine's own parser in a worker says which tables
// and functions they use (analyze), each table is found and authorised as the session's identity, and only then the worker
// is handed its descriptors: text and JSON as pipes that a feed fills, Parquet as sealed
// anonymous files. Rows come back in bounded batches, as fast as the client takes them.
//
// The engine's own reader of gzip is fast, but takes a file that was cut for a whole one,
// and misses malformed rows in columns that a query does not need. So text goes through a
// feed at first. When all objects of a table are proven, they are handed over as they are,
// in sealed anonymous files, and the engine decompresses several at a time. The record of
// proven objects is in memory, bounded, and knows an object by its ETag, size and time and
// by the table's definition. Only a statement whose plan cannot end before it has read
// every row proves anything. Never proven is what has quotes, escapes, a header, rows with
// missing or extra fields, NULL markers, empty lines, line ends of another kind, or several
// gzip members.
//
// # Invariants
//
//   - Everything is done as the session's identity; what the authoriser does not allow is
//     refused. Objects are read through Objects, which authorises them as that identity.
//   - A worker serves one identity in its life and gets a fresh engine per statement.
//   - A statement's change is one step: the creation of one log entry, or one transaction
//     of the control store. What a crash leaves before it belongs to nothing.
//   - An answer never rests on part of the data: a feed that fails ends the statement, and
//     a pipe is never read twice.
//   - What is proven changes how fast an answer is, never which. Each object is opened and
//     authorised for each statement; should the engine find a malformed row in a proven
//     one, the statement fails and the object is streamed from then on.
//   - Clear data is never written to a disk.
//
// # What it does not do
//
// A transaction block holds at most one change, which COMMIT makes; more would not be
// atomic. There are no temporary tables, views, functions, grants, constraints but NOT
// NULL, or partitioned external tables. IAM roles in COPY and CREATE EXTERNAL SCHEMA are
// recorded, never assumed.
package warehouse

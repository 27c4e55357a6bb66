// Package kv is the node's own ordered map of bytes to bytes: Pebble on an encrypting file
// system. Object metadata, delivery checkpoints, reference data and everything else that is
// too much or too lively for the control store lives here.
//
// Everything Pebble writes, keys included, passes through AES-256-CTR under a key of each
// file's own, derived from the root key and the file's random salt; random access stays
// cheap and no two files share a key stream. Files are never reused for writing, which
// would repeat one. As CTR does not authenticate, each value is sealed with AES-256-GCM
// too, with its key as additional data: a value that was altered or moved is Corrupt.
//
// A map that is known to exist is inspected before it is opened: what is missing, cut or
// damaged is reported, where Pebble would begin anew or end early, and remove the rest. A
// damaged table fails the reads that need it. Background work that fails is tried again more
// and more slowly.
//
// A batch is atomic. Commit with Sync is durable on return; commits that wait together
// share one write of the log. Keys are compared as bytes. What the keys mean is the
// business of the service that owns them, each under a prefix of its own.
package kv

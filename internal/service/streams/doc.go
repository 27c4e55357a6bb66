// Package streams keeps ordered logs of records.
//
// # Words
//
// A stream has shards, each with a range of the 128-bit hash keys; the MD5 of a record's
// key chooses its shard. Within a shard each record has an offset, which grows by one. A
// batch is what one producer sent together: it is written as one Kafka v2 record batch and
// is never taken apart again. The end of a shard is the offset that the next record gets.
//
// # On disk
//
// A shard is a directory of segments (package segment), named by the offset of their first
// record. A frame holds one batch; its seq is the batch's base offset, its count the number
// of records, its time the newest record's. Each segment has a data key of its own, wrapped
// in the segment's meta.
//
// # Invariants
//
//   - Put and Append return after the records are on the disk, and readers see them only then.
//   - An offset is given once. What was not acknowledged may or may not be there after a
//     crash; what was, is.
//   - A segment's data key is unwrapped for every group of writes and for every read, so a
//     disabled key locks the stream at once.
//   - A damaged batch is an error that names the file, never data, and does not hide what is
//     behind it.
//
// # What it does not do
//
// Consumer groups, splitting and merging of shards, fan-out and the Kafka protocol are
// other views of the same logs and come with their fronts.
package streams

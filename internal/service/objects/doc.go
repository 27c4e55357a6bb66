// Package objects keeps buckets of objects.
//
// # Words
//
// An object has a key, metadata, and one or more parts; a part is a run of frames (package
// segment) of 64 KiB each. Small parts share the segments of a common log; a part larger
// than a mebibyte has a segment of its own, which is deleted with it. An area is a bucket
// that a service of the platform keeps for itself and that no front reaches.
//
// # On disk
//
// Metadata is in the node's index (package kv) under bucket and key, so that a listing is a
// scan. Each object has a data key, wrapped by the bucket's key; each part seals its frames
// under a key derived from that and the part's random salt, so that a part sent again never
// meets the nonces of the first. Frames carry their number within the part: a range is read
// without what lies before it.
//
// # Invariants
//
//   - A put answers after its frames and then its metadata are on the disk. Before the
//     metadata there is no object; a crash in between leaves bytes that the reclaimer finds.
//   - The body that failed its checksum or its signature is never made an object.
//   - Reading asks for the data key each time: a disabled key locks the object at once.
//   - Memory per upload or download is bounded whatever the object's size.
//   - Bytes that fail their checksum are an error that names the object, never data.
//
// # What it does not do
//
// Versions, policies of buckets, tags, lifecycle and object lock are not here yet.
package objects

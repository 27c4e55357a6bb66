// Package delivery carries records from streams into buckets.
//
// # Words
//
// A delivery stream has a source, which is a stream of the account or the records put to it
// directly, and a destination: a bucket, a prefix, a compression. It gathers records until
// they are enough bytes or the oldest has waited long enough, and writes them as one object.
// A lane is the work on one shard of the source.
//
// # Exactly once
//
// Before an object is written, the lane writes down its intent: the range of offsets and
// the object's key. The key is made of the range, so that writing the object again after a
// crash replaces it with the same records. The next range begins where the intent ended.
// So each record of the source is in exactly one object, whenever the node dies.
//
// # Invariants
//
//   - A record put directly is durable in the delivery stream's own log before the answer.
//   - A lane passes over nothing. What it cannot deliver (a bucket that is gone, a key that
//     is disabled, a right that was taken) it tries again, and says so in its status.
//   - Objects are written with the rights of who created the delivery stream, asked anew
//     for each object.
package delivery

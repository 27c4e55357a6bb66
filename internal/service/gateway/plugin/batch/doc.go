// Package batch is the queue between the log phase of a request and a server that takes
// what is logged: Kong's queue record.
//
// Words: an entry is what one request adds. A batch is the entries that are sent at once.
// The queue is full when max_entries or max_bytes entries wait; a batch that is being sent
// does not wait.
//
// Invariants:
//   - Add never blocks. A full queue gives up its oldest entry for a new one, counts it,
//     and says so once until a batch has been sent again.
//   - Entries are sent in the order they were added, each once, except after a failure
//     that hid a success. Two batches are under way at once only with concurrency_limit -1.
//   - A batch that fails is sent again after growing delays until max_retry_time has
//     passed; then it is given up, counted, and said.
//   - Close sends what waits, within its context, and leaves no goroutine behind.
//   - A queue that holds nothing has no goroutine.
//
// The package does not know what an entry is or how it is sent.
package batch

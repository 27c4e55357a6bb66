// Package filelog is the plugin file-log: it appends one line of JSON per request to a file.
//
// Words: a line is a record with its newline. A file is a path that one or more instances
// write to; they share one buffer and one writer, whatever their number.
//
// How it works: a request's line goes to the file's buffer. The writer, a goroutine that
// exists while lines are there, writes what has gathered for a moment in one call, so
// that a busy node makes a few large writes a second and not one per request.
//
// Invariants: a line is whole in the file and in the order its request ended. Log never
// waits for the disk: beyond maxBuffered bytes lines are dropped, counted and told of
// once. What was accepted is in the file when the last instance has closed. A file that
// was moved away by rotation is let go within a second, with reopen at once.
package filelog

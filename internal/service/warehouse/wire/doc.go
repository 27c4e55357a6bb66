// Package wire is what the warehouse and its worker processes say to each other over a
// Unix socket: framed messages, file descriptors beside them, and rows.
//
// A frame is a four-byte big-endian length, a type byte and a payload of length-1
// bytes. Control payloads are JSON; rows are the codec of Batch. Descriptors travel as
// SCM_RIGHTS in front of the frame they belong to, at most MaxDescriptors in one system
// call.
//
// Row cells are an unsigned varint of length+1, zero for NULL, followed by the value in
// the layout its Type names, always little-endian. A reader checks every length, since
// the worker has run a stranger's SQL and is not trusted.
//
// The package knows neither SQL nor DuckDB, holds no state and starts no goroutines.
package wire

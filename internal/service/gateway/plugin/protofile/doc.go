// Package protofile reads .proto files for the plugins that speak gRPC to upstreams in the
// place of clients that do not: their methods, the HTTP bindings of google.api.http, and the
// frames of messages.
//
// Words: a binding is one HTTP method and path template of a method of gRPC. A frame is a
// message behind a byte of flags and its length, as gRPC sends it.
//
// Invariants: imports are read from the file's own directory and what lies under it, and from
// nowhere else; google/protobuf and google/api are built in. Files are bounded in size and
// number. A frame is no longer than its reader allows.
package protofile

// Package post sends what plugins gather to HTTP servers: one URL, one method, one set of
// headers, and a body after the other.
//
// Invariants: connections are kept and bounded. An error names the host and the status and
// never the path, the query, the user or the body, which may hold secrets. Redirects are
// not followed: what is logged goes where it was configured to go.
//
// The package does not queue and does not try again; package batch does.
package post

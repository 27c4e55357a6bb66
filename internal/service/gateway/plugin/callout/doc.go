// Package callout is the HTTP client of plugins that answer a request with what a server
// other than the upstream says.
//
// Invariants: answers and connections are bounded, and a call has a time-out for the whole
// of it. Redirects are not followed. An error names the host and not the URL, which may hold
// secrets. Hop-by-hop headers of an answer are left behind.
package callout

// Package tracing carries a trace through the gateway: it reads the headers by which a
// client says which trace its request belongs to, and writes those that tell the upstream.
//
// Words: a format is a family of such headers (w3c, b3, b3-single, jaeger, ot, datadog, aws,
// gcp). A context is what one format says. The server span is the request as the client
// sees it; the client span is the gateway's request to the upstream, its child.
//
// Invariants: headers that are malformed count as absent; they never fail a request. What
// is written is well formed whatever was read. Ids are random; they are no secrets.
//
// The package exports nothing; the plugins zipkin and opentelemetry do.
package tracing

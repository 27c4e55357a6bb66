// Package opentelemetry is the plugin opentelemetry: it takes part in traces and exports
// sampled requests as spans, and the records of all requests as logs, over OTLP in
// protobuf over HTTP.
//
// Words: the root span is the client's request; a balancer span, its child, is one attempt
// to reach the upstream. The last of them is what the upstream sees as its parent.
//
// Spans are exported wherever the plugin is configured: there is no switch of the whole
// node for it. Without a sampling_rate one trace in a hundred is sampled, unless the
// client has decided.
package opentelemetry

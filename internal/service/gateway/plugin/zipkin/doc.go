// Package zipkin is the plugin zipkin: it takes part in traces and reports each sampled
// request to a Zipkin server, as spans in JSON of its API v2.
//
// Words: the request span is the client's request, the proxy span the gateway's work for
// it and the request to the upstream, a balancer span one attempt to reach it.
//
// Where http_endpoint is not set, headers are passed on and nothing is reported.
package zipkin

// Package statsd holds the plugins statsd and datadog, which send measurements of each
// request in StatsD's line protocol.
//
// Words: a measurement is one line, "prefix.name:value|type", with tags in one of several
// styles. An entry is the lines of one request.
//
// How it works: the lines are made in the log phase, from the exchange, and queued; the
// queue sends them over UDP, a datagram each or several to a datagram, or over TCP.
//
// Measurements of the memory that Kong's workers share are accepted and never sent:
// there is no such memory here.
package statsd

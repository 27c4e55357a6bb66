// Package socketlog holds the plugins tcp-log and udp-log, which send the record of each
// request to a socket: a line each over TCP or TLS, a datagram each over UDP.
//
// Between the request and the socket lies a queue of batch's that drops its oldest record
// when it is full. Over TCP a record that could not be sent is tried again for a moment;
// a datagram is not.
package socketlog

// Package http2 is one connection of HTTP/2 (RFC 9113) as a proxy uses it: many exchanges
// at a time, bodies passed on piece by piece. Frames and header compression are
// golang.org/x/net/http2's; what is here is the order they go in: streams, both windows of
// flow control, settings, pings, goodbyes and resets.
//
// Words: a stream is one exchange. A head is the block of header fields that begins a
// message, a trailer the one that ends it. The window is what may be sent before the
// reader has given leave for more; credit is that leave.
//
// Invariants:
//   - What is to be written goes through one buffer that one goroutine writes: frames of many
//     streams leave in one system call. A stream waits where that buffer is full; a peer
//     that makes it overflow by what must be answered loses the connection.
//   - A body is held up to its stream's window and no further. Of an upstream's connection the
//     window is given back as data arrives, so that a client who is slow holds up nobody else; of
//     a client's as data is read, so that a connection holds no more than its window.
//   - A head or trailer is bounded, and so is what is read to get to its end.
//   - A stream's error says where it is certain that the peer has done nothing
//     (ErrUnprocessed): those, and only those, may be sent again whatever they are.
//   - A client costs what its requests cost. Handlers of a connection are bounded whatever is reset,
//     and frames that bring nobody anything are counted: who sends too many is sent away. Every
//     wait for a client has a time-out.
//   - A stream ends when its Close has returned; nothing of it is touched afterwards.
//
// The package dials nothing, keeps no pool and knows no gateway.
package http2

// Package http1 reads and writes HTTP/1.1 messages for a proxy: heads, chunked bodies,
// and nothing else. It owns no connection and starts no goroutine.
//
// Words: a head is the first line and the header lines up to the empty line. Framing is
// how a message's body is delimited: none, a length, chunked, or the connection's end.
//
// A request's head is read as RFC 9112 writes it and no other way, because what two
// servers read differently is what smuggles requests past the first: CRLF ends a line
// and nothing else does, a field name has no space before its colon, lines do not
// continue (obs-fold), Content-Length and Transfer-Encoding do not stand together or
// repeat, chunked is the only coding, HTTP/1.1 has exactly one Host. An upstream's head
// may end its lines with a bare LF, since it is written anew before anybody else reads it.
//
// Strings of a parsed head lie in the buffer it was parsed from: they are valid as long
// as the buffer is left alone. Nothing here allocates once a Header's array has grown.
package http1

// Package sink writes to servers that take log lines or datagrams and answer nothing.
//
// Invariants: there is one connection, made when it is needed and made anew after an
// error or when it has been idle for too long; over UDP it is also made anew from time to
// time, because a name may lead elsewhere by then. Each write is bounded in time. A write
// that fails on a connection that was used before is tried once more on a new one.
package sink

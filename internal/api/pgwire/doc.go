// Package pgwire is the warehouse's front for PostgreSQL clients: psql, drivers, and what
// builds on them.
//
// It speaks version 3 of the protocol: TLS by SSLRequest, SCRAM-SHA-256 (clear text inside
// TLS for Amazon Redshift's drivers alone), the simple and
// the extended query protocol with portals and row limits, text and binary values,
// CancelRequest, and errors with SQLSTATE and position. It translates and keeps nothing
// but the open connections; statements, authorisation and results are the warehouse's.
//
// Invariants: a connection holds one session of one identity; every queue and buffer is
// bounded, and rows are sent no faster than the client reads them; a client that goes
// away ends its statement; an unknown user and a wrong password look the same, in the
// messages and in the time they take.
//
// It does not serve the COPY sub-protocol, function calls, notifications or replication,
// and says so.
package pgwire

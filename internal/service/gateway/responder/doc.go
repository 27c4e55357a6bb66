// Package responder asks the OCSP responders that certificates name (RFC 6960).
//
// Ask asks about one certificate and believes an answer only if the issuer signed it, or a
// certificate of the issuer's for OCSP, and if it is of the present. A Stapler keeps such
// answers for the certificates that a server shows, so that clients need not ask.
//
// Invariants: a handshake never waits for a responder: it goes without an answer until one
// is there. Only answers that are good are stapled, and none past its time. At most
// maxAsking questions are under way at once, and maxKept answers are kept.
package responder

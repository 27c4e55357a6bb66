// Package mtlsauth is the plugin that authenticates clients by the certificate they showed
// in the TLS handshake, as the plugin of Kong's Enterprise edition does, also by the names
// its fields had before.
//
// Words: an authority is an entity of ca_certificates. A verdict is what became of one
// client's certificates: the chain to an authority, or why there is none. A mapping is an
// entity that says which consumer a subject is. A subject is a name in the certificate: its
// subject alternative names, or where it has none its common name.
//
// How it works: the handshake asks for a certificate and takes any, also none; requests are
// refused. A verdict holds for config.cert_cache_ttl, as long as the authorities stay the
// same, so that a request costs a lookup. Revocation is asked of OCSP first and then of
// CRLs, of every certificate of the chain but the authority's.
//
// Two ways to be configured: with config.ca_certificates, Kong's rules hold, and a client
// needs a consumer. Without it, every uploaded authority counts (or those of
// config.trusted_certificate_ids), and the certificate is enough.
//
// Invariants: what cannot be decided is refused, but for revocation in the mode
// IGNORE_CA_ERROR. Why a client was refused is in the log, not in the answer. Headers that
// tell the upstream about a certificate never come from the client.
//
// The package does not take part in handshakes and stores nothing.
package mtlsauth

// Package openidconnect is the plugin openid-connect of Kong's Enterprise edition: users
// and clients of an OpenID provider are let in by their tokens, or sent to the provider
// and then known by a session.
//
// Words: the provider is who issues tokens; what it serves is discovered from the issuer
// and its keys are fetched, both kept and fetched again at need. Claims are what a token,
// or the provider's answer about one (introspection), says. A grant is tokens with what
// they say.
//
// A request is let in by, in this order: its session, a bearer token, Basic credentials
// that the provider takes; or else a browser is sent to the provider (authorization code
// with state, nonce and PKCE). Those of auth_methods are tried.
//
// Invariants:
//   - A token counts only if it is signed by a key of the provider's in an asymmetric
//     algorithm, names the issuer, and has not expired; an ID token also has to name the
//     client, and the nonce of the login.
//   - Whatever sends a browser somewhere sends it to the provider, to a configured URI, or
//     to the address it came from.
//   - Everything the provider answers is bounded; redirects are not followed. Unknown
//     keys cause at most one fetch in rediscovery_lifetime.
//   - Tokens and passwords are remembered under keyed digests.
//
// Sessions that were ended are kept in the collection sessions, which the plugin session
// brings.
package openidconnect

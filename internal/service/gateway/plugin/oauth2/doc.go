// Package oauth2 is Kong's oauth2 plugin: an authorization server (RFC 6749, PKCE by
// RFC 7636) on the routes it protects, and the check of the tokens it issues.
//
// Words: a client is an application of a consumer's, with the entity oauth2_credentials. A
// token is an access token, mostly with a refresh token, of the entity oauth2_tokens. A
// code is what a client gets for a user who agreed, and exchanges for a token. The user is
// authenticated by an application of the owner's own, which proves itself by the provision
// key and then names the user (authenticated_userid).
//
// /oauth2/authorize and /oauth2/token are answered at the end of any path of the routes, by
// POST over HTTPS alone.
//
// Invariants:
//   - A code is good once, for five minutes, for the client, the service, the plugin and
//     the redirect URI it was issued for. Of several who bring it at once one succeeds;
//     the same holds for a refresh token that is not reused.
//   - An answer sends nobody anywhere but to a URI registered for the client.
//   - Tokens, codes and client ids are found by digest or index; secrets compare in
//     constant time.
package oauth2

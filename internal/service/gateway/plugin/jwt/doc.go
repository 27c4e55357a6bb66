// Package jwt is Kong's jwt plugin: JSON Web Tokens (RFC 7519) signed with the secret or
// the key of a credential, which a claim of the token names.
//
// The algorithm is the credential's, never the token's: a token that says another is
// refused before its signature is looked at.
package jwt

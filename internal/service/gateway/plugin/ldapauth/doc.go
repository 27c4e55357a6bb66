// Package ldapauth is Kong's ldap-auth plugin: a request is authenticated by binding to an
// LDAP directory as the user it names. There is no consumer; the upstream is told the
// user name in X-Credential-Identifier.
//
// The user name becomes one value of the name that is bound to, escaped by RFC 4514, so
// that no user name leads out of the configured base. An empty password is refused
// unasked: a directory takes it for an unauthenticated bind, which succeeds (RFC 4513
// section 5.1.2). Passwords that were right are remembered for a while under a keyed
// digest whose key never leaves the instance; wrong ones are asked about each time.
//
// Connections are kept and bounded in number. One on which a bind failed for any reason
// but the password is not used again.
package ldapauth

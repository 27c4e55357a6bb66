// Package basicauth is Kong's basic-auth plugin: HTTP's Basic authentication (RFC 7617)
// against usernames and passwords of consumers.
//
// A password is kept as Kong keeps it, as the SHA-1 of itself and the consumer's id, so
// that credentials move between the two; as every entity it is sealed in the store.
package basicauth

// Package keyauth is Kong's key-auth plugin: a request is its consumer's if it bears one
// of the consumer's keys, in a header, a query parameter or a field of its body.
//
// It brings the entity keyauth_credentials. Keys are found by their digest, so that a
// wrong key takes the same work as a right one, whatever part of it is right.
package keyauth

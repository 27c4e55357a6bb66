// Package correlationid is Kong's correlation-id plugin: a request without an id of its own
// is given one, and the client may be told.
package correlationid

// Package requestsize is Kong's request-size-limiting plugin: requests with too large a body
// are refused.
//
// A body of known length is refused before any of it is read. One of unknown length is not
// held in memory to be measured, as in Kong, but counted on its way: when it grows too
// large the request is given up and the client gets the same answer.
package requestsize

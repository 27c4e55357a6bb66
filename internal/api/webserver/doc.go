// Package webserver is what every HTTP listener of a node has in common: bounds on connections and on the
// time that a client may take, and the protection of the APIs from web pages.
//
// # Words
//
// A listener's places are the connections that it may have at one time. Some are reserved for clients on this
// machine, so that an operator gets in when others have taken the rest. A connection is idle between two
// requests; when no place is left, the one that has been idle longest gives its place up, as in nginx.
//
// A body's pace is the least rate at which it must arrive behind a grace of half a minute.
//
// An origin is a web page's scheme, host and port, which browsers send with each request that the page makes
// to another server, and with each that changes something.
//
// # How it works
//
// [Listen] wraps a listener and counts its connections. [Paced] puts a deadline on each read of a request's
// body and on each write of its response. [Browser] refuses requests whose Host is no name of the node (a page
// whose DNS name was pointed at the node's address sends that name), and changes on behalf of pages that are
// not among the configured origins. Only those get CORS headers.
//
// # What it does not do
//
// It identifies nobody and bounds no memory: an API that reads bodies into memory counts them itself.
package webserver

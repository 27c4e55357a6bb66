// Package console is the front of the console's port: what operators and edge agents speak
// with a node by HTTP, under one address.
//
// /api/v1/cluster is the platform's own API of the nodes; other fronts are mounted beside it.
// Every call of it is authenticated, on loopback too: by the signature of an access key, or
// by the key and its secret as HTTP Basic. Errors are one JSON object, {"error": {"reason",
// "message", "field"}}, with the HTTP status of their kind.
package console

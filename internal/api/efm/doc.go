// Package efm is the REST front of the edge service, under the paths of Cloudera's Edge Flow
// Manager where these are known: what people and their programs manage agents with.
//
// # One table
//
// An operation is a line of one table: method, path, parameters, the Go types of what it takes
// and gives, and the function that serves it. The routes, the strict reading of requests and
// the OpenAPI document at openapi.json all come from it, so that the document is true. Schemas
// are reflected from the Go types, once for answers and once, under a name that ends in Input
// where they differ, for requests.
//
// # Invariants
//
//   - A member, or a parameter of the query, that nobody knows is an error that names it.
//   - Bodies are bounded, and secrets of flows and parameters are in no answer.
//   - What changes something is application/json, multipart or YAML, as no form of another
//     site can send, and is refused where a browser says that it comes from one.
//   - Errors have the form of package console.
//
// # What it does not do
//
// It decides nothing: rights, revisions and states are the service's and its flows'. What
// agents themselves speak is in package c2.
package efm

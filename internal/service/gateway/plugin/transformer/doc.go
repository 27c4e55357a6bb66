// Package transformer is the plugins request-transformer and response-transformer, which
// remove, rename, replace, add and append headers, arguments and members of bodies, in
// this order.
//
// A pair is an entry name:value of the configuration. Values for requests are templates:
// $(…) is an expression of Lua over headers, query_params, uri_captures and shared, all as
// they were before the plugin acted. A plain lookup in one of the first three takes no Lua.
//
// Bodies are changed where they are JSON objects, requests' also where they are forms; of
// answers only those that are not compressed. Others, and such as are larger than 8 MiB,
// pass as they are.
package transformer

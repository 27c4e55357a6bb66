// Package azurefunctions is the plugin azure-functions: requests of the route are calls of a
// function of Azure's, with the method, path, query, body and type they have, and its answer
// is the answer.
package azurefunctions

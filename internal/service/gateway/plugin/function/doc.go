// Package function is the plugins pre-function and post-function: Lua code in the
// configuration that runs in the phases of a request, before and after all other plugins.
//
// Code of a phase is a chunk that runs for every request, or one that returns the function
// that does. Code of the certificate phase runs in handshakes for the server names of the
// plugin's routes; all it can do there is to ask for the client's certificate.
package function

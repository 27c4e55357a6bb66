// Package auth is what the plugins that authenticate have in common: when they run, what
// happens to a request that fails, how a credential leads to its consumer, where bodies
// hold credentials, and the fields their configurations and credentials share.
//
// Words: a Method finds out who a request is from. A Gate runs a method as Kong runs its
// authentication plugins: several on one route are all required, unless they name an
// anonymous consumer, when one that succeeds is enough. A Failure is what the client of a
// request that was not authenticated is told.
package auth

// Package quota counts what subjects use of their limits, in calendar-aligned windows of
// UTC. The plugins that limit rates share it.
//
// Words: a window is one period, such as a minute, with its beginning; a subject is whom a
// limit is for, within one plugin entity. Taking counts in all limited windows or, when one
// of them has no room, in none; adding counts in any case.
//
// A Counter is where the counts are. Local keeps them in memory. Redis keeps them in a
// Redis server and counts there, in one script for each request. Cluster keeps them in the
// control store, where every node sees them; as a transaction for each request would be
// slow, a node under load takes several at a time and gives back what it did not use. All
// three are exact: no more than the limit is ever taken in a window, however many requests
// come at once and on however many nodes.
//
// Nothing here decides what a request is told; that is for the plugins.
package quota

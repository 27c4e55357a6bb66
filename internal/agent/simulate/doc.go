// Package simulate is a crowd of agents in one process, to find out what a cluster takes: each
// reports, carries out what it is told by believing that it has, and acknowledges. They share
// connections, as thousands behind one address would through a proxy, and nothing runs in them.
//
// Heartbeats are sent at their times whether or not the server keeps up, as far as the bound
// of requests under way lets them, so that a slow answer is seen as such and does not slow the
// load down.
package simulate

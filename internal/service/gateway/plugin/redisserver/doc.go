// Package redisserver is a Redis server that plugins keep what they share in: its
// configuration, as Kong's plugins have it, and the connection to it.
//
// Invariants: nothing waits for the server while a plugin is configured; one that is down is
// an error of each call, and callers do not queue for it.
package redisserver

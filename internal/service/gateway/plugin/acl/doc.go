// Package acl is Kong's acl plugin: it lets requests through, or stops them, by the groups
// of their consumer, or by the groups an authentication plugin found without one.
//
// The groups of consumers are entities of their own, "acls", read for each request from the
// present state, so that a change counts at once.
package acl

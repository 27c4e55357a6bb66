// Package iprestriction is Kong's ip-restriction plugin: it lets requests through, or stops
// them, by the client's address. What is denied stays denied though it is allowed as well.
package iprestriction

// Package termination is Kong's request-termination plugin: it answers requests with a
// configured answer, all of them or those that carry a trigger.
package termination

// Package enroll makes an agent known to its platform: it has a certificate issued for a key
// that never leaves the agent, and renews it.
//
// A token that an operator was given, good once and for a short time, is what a new agent
// shows. The node is known by an authority's certificate or its fingerprint, or else by the
// system's authorities; there is no way to trust whoever answers. Afterwards agent and node
// know each other by certificates. When two thirds of a certificate's life are over a new one
// is asked for, with a new key; while that fails the old one serves until it ends.
package enroll

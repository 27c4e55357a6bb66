// Package fields holds descriptions of configuration fields that several kinds of plugin
// have alike: addresses, ports, time-outs, header names.
//
// Invariant: each has the type, the bounds and the phrases of Kong's definition of it.
package fields

// Package lua runs Lua code inside requests: the code of pre-function and post-function,
// computed log fields, templates, and whole plugins that were written for Kong.
//
// Words: a Program is compiled source. A state is a Lua virtual machine with the libraries
// that code may use: a part of Lua's own, ngx, cjson, and kong, which is Kong's plugin
// development kit. A request takes one state when Lua first acts in it and holds it to its
// end, so that kong.ctx can hold any value; states are kept for further requests, as Kong's
// worker processes are: what code keeps outside of its functions lives as long as the
// state, and each state has its own. A Unit is who code runs for: a configured plugin.
//
// Invariants:
//   - Code reaches no file, no process, no network and no memory but its state's.
//     Plugins from a directory are trusted further: with resty.http, ngx.shared, whose
//     dictionaries all states have in common, and ngx.timer.
//   - A call ends: a watchdog stops it when it takes too long or the heap grows under it.
//     Work that a single instruction could do without end is bounded where it is done:
//     strings have a largest length, matching of patterns counts its steps.
//   - An error in Lua or in a library ends the call, never the node. A state whose call was
//     stopped is not used again.
//   - A timer runs in the state that set it, which serves no request until then; there are at
//     most maxTimers.
//   - Programs in one state cannot change each other's libraries.
//   - A request in which no Lua acts pays nothing.
//
// The language is Lua 5.1 with goto; ngx.re takes Go's regular expressions.
package lua

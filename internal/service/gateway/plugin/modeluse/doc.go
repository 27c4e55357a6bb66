// Package modeluse carries what plugins have had language models do to the plugins that log
// and measure it.
//
// Words: a use is one call of a model by one plugin: whose model, how long it took, how many
// tokens went in and came out, what that costs, and, where that is wanted, what was said.
//
// Invariants: a use belongs to its exchange and is complete when the log phase begins.
// Nothing of it is in a log unless the plugin that calls the model was configured so. What
// a request says only shows as a payload.
package modeluse

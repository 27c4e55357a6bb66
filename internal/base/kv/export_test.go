package kv

// OpenOn is Open on a disk that tests can cut off.
var OpenOn = openOn

package kv

// OpenOn and InspectOn are Open and Inspect on a disk that tests can cut off.
var (
	OpenOn    = openOn
	InspectOn = inspectOn
)

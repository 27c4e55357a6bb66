package wasm

// The form in which maps go to filters and come from them.
var (
	AppendPairs = appendPairs
	ParsePairs  = parsePairs
)

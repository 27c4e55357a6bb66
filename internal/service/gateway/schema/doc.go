// Package schema describes entities and plugin configurations once, and derives
// everything from that description: validation with Kong's phrases, defaults, the
// coercion of form values, the JSON of Kong's /schemas endpoints.
//
// Words: a Record is a document as JSON has it (map, []any, string, float64, bool, nil).
// A Field describes one value; a Field of kind record has Fields of its own. A Check
// looks at a record as a whole. An Entity is a named collection of records with keys.
// Violations are the answer of validation, shaped as the record is.
//
// Invariants: a record that Validate accepted holds every described field, unset ones
// as nil, and nothing else; numbers are float64, so that a record is the same before and
// after a trip through JSON. A field that is described but that the platform does not act
// on yet carries Unserved and refuses any value but its default: nothing is accepted and
// then ignored.
//
// The package does not store, and does not know what references point at.
package schema

// Package edgetest holds what tests of the edge share: manifests as MiNiFi agents send them,
// with a few of the components that real ones have.
package edgetest

import (
	_ "embed"
	"slices"
)

//go:embed java.json
var javaManifest []byte

//go:embed cpp.json
var cppManifest []byte

// Manifest returns the text of an agent's manifest: of MiNiFi Java for "java" or
// "minifi-java", of MiNiFi C++ for "cpp". It panics on any other dialect.
func Manifest(dialect string) []byte {
	switch dialect {
	case "java", "minifi-java":
		return slices.Clone(javaManifest)
	case "cpp":
		return slices.Clone(cppManifest)
	}
	panic("edgetest: there is no manifest of " + dialect)
}

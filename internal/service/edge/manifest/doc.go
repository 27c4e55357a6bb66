// Package manifest reads the manifests of MiNiFi agents: what an agent is built of, and so
// which flows and operations can be given to it.
//
// The words are those of the C2 protocol. A bundle is a named, versioned set of components;
// a component is a processor, a controller service, a reporting task or a parameter
// provider, told by its type: a class with its package in Java, a class with or without one
// in C++. Components have property descriptors and relationships. A supported operation is
// one that the agent obeys, with the operands it may have.
//
// Both dialects are read, without being told which. A Java manifest is written by Jackson
// from NiFi's c2-protocol-component-api; a C++ one by AgentInformation.cpp, where operations
// are lower case, values of properties may be numbers or booleans, and a member may occur
// twice in one object.
//
// A Manifest holds what flows are checked against and what tells two manifests apart. It
// does not hold descriptions and other prose, which are most of a manifest's text: who shows
// them reads them from the text. It never changes once parsed and may be used by any number
// of goroutines. Manifests of one build are alike; whoever keeps them keeps one for each
// hash. The hash is the agent's own word and not computed here.
//
// A manifest comes from an agent, which may lie: nesting, counts and lengths are bounded,
// and what is refused is named by its path. How many bytes are read is the caller's to bound.
package manifest

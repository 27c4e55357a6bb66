// Package component is the agent's catalogue: the processors and controller services that a
// flow may have, by NiFi's names for them, their properties and their relationships.
//
// There is one file for each component, and Catalogue lists them all. The descriptors are
// the truth for three readers: the engine validates flows by them, the manifest that the
// agent sends is made of them, and docs/agent.md prints them.
//
// A component acknowledges to whom it took from only after its session's Commit, and removes
// what it handed on only after whoever took it has acknowledged. Everything that it reads
// from the network or keeps in memory has a bound.
package component

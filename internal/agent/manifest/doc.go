// Package manifest writes what the agent is made of, as a MiNiFi agent of the Java kind does:
// the components with their descriptors, and the operations that it obeys. It is made of the
// definitions that the engine runs, so it cannot say what is not there.
package manifest

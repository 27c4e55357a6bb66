// Package agent is the edge agent: it puts the engine, its components, the data directory,
// the identity and the C2 client together, and runs them until it is told to stop.
//
// An agent starts with the flow that it had when it stopped, whether a server can be reached
// or not. A flow that does not start any more, as when a port is taken, does not keep the
// agent from asking its server for another. What it keeps, and how, is said in state/doc.go:
// the files are plain but for what waits in queues, whose key lies beside it.
package agent

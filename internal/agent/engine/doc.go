// Package engine runs flows on an agent: processors that hand events to each other over
// durable queues.
//
// # Words
//
// A FlowFile is one event: attributes and content. A processor is triggered by its
// schedule and works through a Session: it gets flow files, makes, changes and removes them
// and transfers them to relationships; the session's commit is atomic, its rollback puts
// everything back. A connection carries one or more relationships of a processor to another
// and holds a queue. A relationship without a connection is auto-terminated: what is
// transferred to it ends. Controller services are shared by processors. A Definition says
// what a kind of component is; the engine knows none but funnels and ports. What it runs
// is a flow.Flow, as the server of the fleet edits and sends it: that is planned into nodes,
// which are processors, and links, which are connections.
//
// # Invariants
//
//   - An arrival is durable when its session's Commit returns: attributes, content and the
//     source's own position (Session.SetState) are one synced write. A source acknowledges
//     after that, never before.
//   - What moves on inside of the agent is written in order but not waited for: a crash may
//     undo the last moves, never an arrival, so every flow file is delivered at least once.
//   - Nothing is unbounded. Connections hold their sources back by count and size, the
//     repository by bytes: when it is full no source is triggered and Host.Accepting says so
//     to listeners. Attributes of one flow file and the flow itself have limits.
//   - A flow is validated and its components are made before the running one is touched. If
//     the new one does not start, the old one goes on. Queues belong to the engine, by the id
//     of their connection: they survive the change, also the one of a connection that is no
//     more, which is shown and can be cleared.
//   - A task that does not end when it is told to loses its session: what it held goes back
//     to its queue, and its commit is refused.
//
// # What it does not do
//
// No remote process groups, no reporting tasks, no encrypted property values, no provenance.
// Content is chunked in the repository, so large files pass, but this is no tool for moving
// hundreds of gigabytes.
package engine

// Package example is a small plugin in Go to start one's own from: it refuses requests
// without a header, tells the upstream the number of its ticket, and marks
// answers. docs/add-a-plugin.md walks through it. It is in no node's list of plugins.
package example

// Package worker is the warehouse's query process: the sluice binary started again as a
// child with one socket, in which DuckDB runs one statement at a time in memory.
//
// It exists because a query is a stranger's program run by a large C++ engine. The node
// must survive its crash, and the engine must reach nothing but the data it was handed.
// So the process gives up everything before it takes the first frame: its environment is
// empty, its root directory is its own list of open descriptors, it has no network, no
// capabilities, and a system call filter refuses what a query never needs; the engine on
// top has external access off, extension loading off and its configuration locked.
// What of this the machine does not permit is skipped and reported in the Ready frame.
//
// Every statement gets a fresh engine; FrameReset throws the old one away with all
// descriptors. The process serves one identity in its life, which the node sees to.
//
// The package holds no catalogue, authorises nothing and keeps nothing on disk. It is the
// only package besides cmd that imports DuckDB; a build without cgo has a Main that says so.
package worker

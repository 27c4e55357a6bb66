// Package rig is what the benchmarks of whole nodes share: nodes of the real program, alone or
// several over one database, and figures as lines of JSON, which scripts/results.py reads.
//
// It measures nothing itself, and what it starts does not outlive the benchmark.
package rig

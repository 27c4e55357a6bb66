// Package plat runs the real program for tests: it builds it once, starts nodes on free
// ports and in directories of their own, kills, stops and starts them again, and hands out
// clients. A node that a test started ends with it, by its process id. Hosts gives nodes
// machines of their own, and a network between them that can be parted and healed.
package plat

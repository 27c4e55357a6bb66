// Package warehousetest holds stand-ins for what the warehouse needs of a node: buckets,
// its own area and an authoriser, all in memory. Only tests import it.
package warehousetest

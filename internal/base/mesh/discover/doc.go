// Package discover finds the addresses of a cluster's nodes: from a list, by multicast on the
// local network, or from a Kubernetes API server.
//
// What is found are addresses and nothing more: whether a node there fits is settled in the
// mesh's handshake. So a wrong or malicious address costs a connection, and no trust.
package discover

import "context"

// Discovery tells of the addresses of nodes, host:port.
type Discovery interface {
	// Run calls found with addresses, also with those told of before, until ctx ends.
	Run(ctx context.Context, found func(addresses ...string)) error
}

// Fixed is a list of addresses.
type Fixed []string

// Run tells of the list once.
func (f Fixed) Run(ctx context.Context, found func(addresses ...string)) error {
	found(f...)
	<-ctx.Done()
	return nil
}

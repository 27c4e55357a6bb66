// Package ca keeps a cluster's certificate authority in a directory, issues the nodes'
// certificates with it, and replaces it by a new one while the cluster runs.
//
//	authority.pem    the authority that issues: its certificate and its key; then the
//	                 certificate of the one before, during a rotation
//	ca.pem           the authorities that nodes trust
//	NODE/cert.pem    a node's certificate, with key.pem and a copy of ca.pem beside it: what
//	                 is copied to the node
//
// # Rotation
//
// Begin makes a new authority and adds it to every ca.pem: once all nodes have theirs, they
// trust both. Issue then gives each node a certificate of the new one, and Finish, which
// refuses while a node's certificate is still of the old one, drops that from every ca.pem. At
// each moment any two nodes trust each other, whichever of them has been visited.
//
// The directory is the whole state, and authority.pem the truth of it: every other file can be
// made again. It is not meant to lie on a node.
package ca

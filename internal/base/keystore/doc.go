// Package keystore reads a program's key, certificate and trusted authorities from files, and
// reads them again when the files change: a certificate can be replaced while connections
// are open and without a restart.
//
// # Invariants
//
//   - Both sides of a connection must show a certificate that an authority of the store has
//     issued. Names in certificates are not compared: members of a cluster are known by the
//     authority that is theirs alone, as in JGroups.
//   - Files that cannot be read, in the middle of their replacement or for good, leave what
//     was read before in force, and are told of in the log.
package keystore

// Package keystore reads a program's key, certificate and trusted authorities from files, and
// reads them again when the files change: a certificate can be replaced while connections
// are open and without a restart.
//
// The files are a key store, PKCS #12 or Java's JKS, told apart by what is in them, or three
// files in PEM. The authorities of a key store are the certificates of authorities in it,
// whether they were imported as trusted or came with the key's chain: PKCS #12 has no word
// for trust but Java's own attribute, which OpenSSL does not write.
//
// # Invariants
//
//   - Both sides of a connection between nodes must show a certificate that an authority of
//     the store has issued. Names in certificates are not compared: members of a cluster are
//     known by the authority that is theirs alone, as in JGroups.
//   - Files that cannot be read or hold what has expired are refused at the start. Later, in
//     the middle of their replacement or for good, they leave what was read before in force,
//     and are told of in the log.
//   - Nothing of a key store is believed before its password has proved it unchanged.
//
// It makes no certificates: package ca does, and keytool and openssl.
package keystore

// Package proxycache is the plugin proxy-cache: it keeps answers of upstreams in memory and
// gives them again to requests with the same key.
//
// Words: a key is the digest of what tells requests apart: consumer, route, method, path,
// arguments and the headers of vary_headers. An answer is fresh for its ttl and kept for as
// long as storage_ttl says, or its ttl. A dictionary is a name under which instances share
// answers.
//
// Invariants: the answers of all instances of a node take no more than Deps.MaxBytes, and
// the one that was not asked for the longest goes first. An answer counts as whole only when
// its last byte has come. Hop-by-hop headers are not kept. An answer whose Vary names a
// header is given only to requests in which that header is the same.
//
// Answers are kept on the node that got them; nothing is shared between nodes.
package proxycache

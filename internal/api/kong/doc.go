// Package kong serves Kong's Admin API 3.9 over the gateway's entities, and the
// platform's own /references beside it.
//
// Paths follow from the entities: /{collection}, /{collection}/{id or name}, the same under
// every parent a foreign field points at, and /{collection}/{entity}/{foreign field} back.
// Nothing is listed by hand, so an entity a plugin brings has its endpoints when it is
// declared.
//
// The package holds no state. It translates paths, bodies (JSON and forms, with Kong's
// coercion) and errors (code, name, message, fields); what an entity may contain, and
// what changing it does, is package gateway's. Whether the API may be open on an address
// is the node's decision; with Config.Token every request must bear it.
package kong

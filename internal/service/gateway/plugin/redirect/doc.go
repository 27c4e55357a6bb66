// Package redirect is Kong's redirect plugin: it sends clients elsewhere, with the path and
// query they came with or without.
package redirect

// Package session is Kong's session plugin: a browser that another plugin has
// authenticated gets a cookie, and is who it was on its next requests, before those
// plugins look. They have to name an anonymous consumer to be content with that.
//
// How sessions are kept and when they end is package websession's. A session names a
// consumer, the credential and the groups; where the consumer is gone, so is the session.
// Clients that are known by a credential alone, or not at all, get none.
package session

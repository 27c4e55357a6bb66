// Package websession keeps what a plugin knows of a browser between its requests: the
// sessions that the plugins session and openid-connect have in common.
//
// Words: a ticket is who (subject) and what (data) with its times; it goes to the browser
// as a cookie sealed by AES-256-GCM, under a key derived from the configured secret and
// bound to the cookie's name and the audience. A session has a ticket that ends with the
// browser, and may have a second one that the browser remembers, from which a new session
// begins when the first has ended. Touching tells a ticket that it was used; rolling
// issues it anew before it is due.
//
// A ticket ends when it was not used for the idling time-out, not issued anew for the
// rolling time-out, or when the absolute time-out has passed since it began; 0 switches
// each off. Either it holds its data, or a record of the collection sessions does
// (Config.Stored). A session that was ended leaves a record behind for as long as a copy of
// its ticket could count, so that it cannot be replayed, on any node.
//
// Invariants: a cookie that does not open is as if it were not there; nothing in it is
// looked at before its seal is. Cookies go in at most maxPieces of maxPiece bytes. The
// upstream never sees them. The package decides nothing about who may have a session.
package websession

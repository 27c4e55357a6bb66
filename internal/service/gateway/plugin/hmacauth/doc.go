// Package hmacauth is Kong's hmac-auth plugin: requests signed with a shared secret over
// chosen headers and the request line, after the Internet-Draft on signing HTTP messages.
//
// A signature is good only near the time in Date or X-Date. Where the body is to be
// validated, its digest must be among what was signed for that to mean anything; Kong
// leaves that to enforce_headers, and so does this.
package hmacauth

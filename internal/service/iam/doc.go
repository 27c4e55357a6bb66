// Package iam knows who callers are and decides what they may do.
//
// # Words
//
// The account has one root identity, which policies do not limit, and users. Root and users
// have access keys, with which requests are signed. A user's inline policies say what the
// user may do; a request is allowed if a statement of theirs allows it and none denies it.
//
// # Invariants
//
//   - No identity, no right: a context without an identity is refused, whatever it asks for.
//   - An explicit deny wins over every allow, and what nothing allows is denied.
//   - What a policy says and this package does not evaluate is refused when the policy is
//     put, never ignored when a request is decided.
//   - Without the control store for five seconds every decision fails closed.
//   - Secrets are stored sealed, are given out once, by CreateAccessKey, and never listed.
//
// # What it does not do
//
// Roles, groups, managed policies, sessions and resource policies are not here yet.
package iam

// Package expression is the language of routes in the expressions flavour: predicates over
// what is known of a request or connection, joined by &&, || and !.
//
// Words: a field is what a predicate looks at, such as http.path; its kind is text, number or
// address. A subject is what an expression is evaluated on. A field may have no value, one,
// or many; a predicate on none is false, and one on many holds for all of them, or with
// any() for at least one. A literal is the text that a predicate compares with.
//
// Invariants:
//   - What Parse accepts has been checked for kinds, and can be evaluated on any subject.
//   - Evaluation does not allocate, but for lower() of text that is not in lower case.
//   - Length and nesting of an expression are bounded.
//
// Regular expressions are Go's: Rust's without character class operations, and like Rust's
// without lookaround and backreferences.
//
// The package knows no routes and decides no priorities.
package expression

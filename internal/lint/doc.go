// Package lint holds the rules of the house as tests: the floors, what may import what,
// how packages are documented and named, how long a file may be. A rule that is not here
// is a wish.
package lint

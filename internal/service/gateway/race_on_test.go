//go:build race

package gateway_test

// underRace: the race detector makes pools forget what was put into them.
const underRace = true

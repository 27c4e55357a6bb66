//go:build !race

package gateway_test

import "testing"

// TestBarePathDoesNotAllocate: routing and phases of a request without plugins, to an
// address, to a name, and balanced. Under the race detector pools forget what was put into
// them, so that there it would count what is none.
func TestBarePathDoesNotAllocate(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "localhost", "shop"} {
		g, fill := bare(t, host)
		for range 10 {
			fill(g)
		}
		if n := testing.AllocsPerRun(1000, func() { fill(g) }); n != 0 {
			t.Errorf("an exchange with %s allocates %v times", host, n)
		}
	}
}

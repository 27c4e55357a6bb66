package gateway_test

import (
	"net"
	"strconv"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
)

// FuzzTarget: what is taken for a target has a host and a port, and its normal form is
// its own.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"a", "a:1", "10.0.0.1", "::1", "[::1]:80", "[::1]", "A.b:65535", "a:0", "[a]:1", "1.2.3.4.5", "[::1", ":1", "::ffff:1.2.3.4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		normal, ok := gateway.NormalTarget(s)
		if !ok {
			return
		}
		host, port, err := net.SplitHostPort(normal)
		if n, bad := strconv.Atoi(port); err != nil || host == "" || bad != nil || n < 1 || n > 65535 {
			t.Errorf("%q became %q", s, normal)
		}
		if again, ok := gateway.NormalTarget(normal); !ok || again != normal {
			t.Errorf("%q became %q became %q", s, normal, again)
		}
	})
}

package gateway

import (
	"net/netip"
	"time"
)

// Try is one attempt to reach an upstream.
type Try struct {
	Address netip.AddrPort
	Start   time.Time
	Latency time.Duration // to choose the address
	Failed  bool
	State   string // "failed" or ""
	Code    int    // of a failed try: 502 for a broken connection, 504 for a time-out
}

// maxTries bounds how many tries an exchange records; of further ones the last is kept.
const maxTries = 32

// Tries returns the attempts to reach the upstream in their order, at most 32. The slice
// is valid until the exchange ends.
func (x *Exchange) Tries() []Try { return x.tries }

// beginTry records an attempt.
func (x *Exchange) beginTry(t Try) {
	if len(x.tries) == maxTries {
		x.tries = x.tries[:maxTries-1]
	}
	x.tries = append(x.tries, t)
}

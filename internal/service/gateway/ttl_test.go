package gateway_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// A ttl is what is left of it, rounded down, and the record lives for all of it.
func TestTTL(t *testing.T) {
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 900_000_000))
	g := gatewaytest.New(t, []gateway.Plugin{keyauth.New()}, func(d *gateway.Deps) { d.Clock = clock })
	e, _ := g.Entity("keyauth_credentials")
	made, err := g.Create(t.Context(), e, schema.Record{"key": "k", "ttl": 10.0, "consumer": gatewaytest.Consumer(t, g, "bob")})
	if err != nil || made["ttl"] != 9.0 {
		t.Fatalf("%v %v", made, err)
	}
	for _, c := range []struct {
		pass time.Duration
		want any // nil: it is gone
	}{{0, 9.0}, {999 * time.Millisecond, 9.0}, {time.Millisecond, 8.0}, {8 * time.Second, 0.0}, {999 * time.Millisecond, 0.0}, {time.Millisecond, nil}} {
		clock.Pass(c.pass)
		r, err := g.Get(e, "k")
		if r["ttl"] != c.want || (err != nil) != (c.want == nil) {
			t.Errorf("after %v more: %v %v, want %v", c.pass, r["ttl"], err, c.want)
		}
	}
}

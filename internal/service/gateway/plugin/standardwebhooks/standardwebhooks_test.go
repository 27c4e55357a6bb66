package standardwebhooks_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/standardwebhooks"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// The signature was made with openssl dgst -sha256 -hmac.
const (
	secret    = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	id        = "msg_1"
	at        = "1800000000"
	body      = `{"type":"paid"}`
	signature = "v1,XLwvkKiSG1ajfxMfxPZLdQujXQLyVvjC9Wn9KrJq1J4="
)

func TestSignatures(t *testing.T) {
	now := clock.Fixed(time.Unix(1_800_000_100, 0))
	g := gatewaytest.New(t, []gateway.Plugin{standardwebhooks.New()}, func(d *gateway.Deps) { d.Clock = now })
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "standard-webhooks", "config": schema.Record{"secret_v1": secret, "tolerance_second": 120.0}})
	for _, c := range []struct {
		name, id, at, signature, body string
		want                          int // 0: passed on
	}{
		{"good", id, at, signature, body, 0},
		{"one of several", id, at, "v1,AAAA " + signature + " v1a,x", body, 0},
		{"no id", "", at, signature, body, 400},
		{"another id", "msg_2", at, signature, body, 400},
		{"no time", id, "", signature, body, 400},
		{"not a time", id, "now", signature, body, 400},
		{"too old", id, "1799999979", signature, body, 400},
		{"another time", id, "1800000001", signature, body, 400},
		{"no signature", id, at, "", body, 400},
		{"another body", id, at, signature, body + " ", 400},
		{"no body", id, at, signature, "", 400},
		{"another version", id, at, strings.Replace(signature, "v1", "v2", 1), body, 400},
		{"large", id, at, signature, strings.Repeat("x", 8<<20+1), 413},
	} {
		got := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: c.body,
			Header: []string{"webhook-id", c.id, "webhook-timestamp", c.at, "webhook-signature", c.signature}})
		if got.Status != c.want || c.want == 400 && !gatewaytest.Says(got, "Bad request") || c.want == 0 && got.Sent != body {
			t.Errorf("%s: %d %.80s", c.name, got.Status, got.Body)
		}
	}
}

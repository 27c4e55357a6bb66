package correlationid_test

import (
	"regexp"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/correlationid"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestCorrelationID(t *testing.T) {
	const uuid = `[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`
	for generator, form := range map[string]string{"uuid#counter": uuid + "#[12]", "uuid": uuid, "tracker": `127\.0\.0\.1-80-\d+-[12]-\d+\.\d{3}`} {
		g := gatewaytest.New(t, []gateway.Plugin{correlationid.New()})
		gatewaytest.Route(t, g)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "correlation-id", "config": schema.Record{"generator": generator, "echo_downstream": true}})
		first, second := gatewaytest.Do(g, gatewaytest.Request{}), gatewaytest.Do(g, gatewaytest.Request{})
		a, b := first.Upstream.Get("Kong-Request-ID"), second.Upstream.Get("Kong-Request-ID")
		if !regexp.MustCompile("^"+form+"$").MatchString(a) || a == b {
			t.Errorf("%s: %q %q", generator, a, b)
		}
		if first.Header.Get("Kong-Request-ID") != a {
			t.Errorf("%s: the client was told %q, the upstream %q", generator, first.Header.Get("Kong-Request-ID"), a)
		}
		own := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"kong-request-id", "mine"}})
		if own.Upstream.Get("Kong-Request-ID") != "mine" || own.Header.Get("Kong-Request-ID") != "mine" {
			t.Errorf("%s: the client's own id is replaced", generator)
		}
		if blank := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"kong-request-id", " "}}); strings.TrimSpace(blank.Upstream.Get("Kong-Request-ID")) == "" {
			t.Errorf("%s: a blank id is kept", generator)
		}
	}
}

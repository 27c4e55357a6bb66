package iprestriction_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/iprestriction"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestIPRestriction(t *testing.T) {
	for _, c := range []struct {
		config       schema.Record
		passes, fail []string
	}{
		{schema.Record{"allow": []any{"10.0.0.0/8", "::1"}}, []string{"10.1.2.3", "[::1]"}, []string{"11.0.0.1", "[::2]"}},
		{schema.Record{"deny": []any{"10.0.0.1", "192.168.1.7/16"}}, []string{"10.0.0.2"}, []string{"10.0.0.1", "192.168.200.1"}},
		{schema.Record{"allow": []any{"10.0.0.0/8"}, "deny": []any{"10.0.0.1"}}, []string{"10.0.0.2"}, []string{"10.0.0.1", "9.9.9.9"}},
	} {
		g := gatewaytest.New(t, []gateway.Plugin{iprestriction.New()})
		gatewaytest.Route(t, g)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "ip-restriction", "config": c.config})
		for _, ip := range c.passes {
			if got := gatewaytest.Do(g, gatewaytest.Request{IP: ip}); got.Status != 0 {
				t.Errorf("%v %s: %+v", c.config, ip, got)
			}
		}
		for _, ip := range c.fail {
			if got := gatewaytest.Do(g, gatewaytest.Request{IP: ip}); got.Status != 403 || !gatewaytest.Says(got, "IP address not allowed: "+ip) {
				t.Errorf("%v %s: %+v", c.config, ip, got)
			}
		}
	}
	g := gatewaytest.New(t, []gateway.Plugin{iprestriction.New()})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "ip-restriction", "config": schema.Record{"deny": []any{"127.0.0.1"}, "status": 405.0, "message": "go away"}})
	if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 405 || !gatewaytest.Says(got, "go away") {
		t.Errorf("%+v", got)
	}
	e, _ := g.Entity("plugins")
	for _, bad := range []schema.Record{{}, {"allow": []any{"10.0.0"}}, {"deny": []any{"10.0.0.0/33"}}} {
		if _, err := g.Create(t.Context(), e, schema.Record{"name": "ip-restriction", "config": bad}); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

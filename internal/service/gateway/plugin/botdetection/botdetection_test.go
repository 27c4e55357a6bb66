package botdetection_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/botdetection"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestBotDetection(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{botdetection.New()})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "bot-detection", "config": schema.Record{"allow": []any{"^Googlebot"}, "deny": []any{"curl", "^wget"}}})
	for agent, status := range map[string]int{
		"Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0": 0, "Googlebot/2.1": 0, "Go-http-client/1.1": 0, "Robotics/1": 0,
		"Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": 403, "Twitterbot/1.0": 403,
		"facebookexternalhit/1.1": 403, "Baiduspider/2.0": 403, "curl/8": 403, "wget/1": 403, "not wget": 0,
	} {
		for range 2 { // the second answer comes from the cache
			if got := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"User-Agent", agent}}); got.Status != status {
				t.Errorf("%s: %+v", agent, got)
			}
		}
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 0 {
		t.Errorf("no agent: %+v", got)
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"User-Agent", "a", "User-Agent", "b"}}); got.Status != 400 {
		t.Errorf("two agents: %+v", got)
	}
	e, _ := g.Entity("plugins")
	if _, err := g.Create(t.Context(), e, schema.Record{"name": "bot-detection", "config": schema.Record{"deny": []any{"("}}}); err == nil {
		t.Error("a broken expression is accepted")
	}
}

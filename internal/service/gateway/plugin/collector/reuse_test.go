package collector_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// An answer lies in memory that the collector uses again. Log plugins behind it, and what
// observes exchanges, still read it while other requests run.
func TestAnswerLastsToTheEndOfTheExchange(t *testing.T) {
	var g *gateway.Gateway
	event := func(id string) gatewaytest.Request {
		return post("application/json", `{"event_id":"`+id+`"}`)
	}
	const first, second = "11111111111111111111111111111111", "22222222222222222222222222222222"
	nested := false
	g = gatewaytest.New(t, []gateway.Plugin{collector.New(collector.Deps{Appender: &log{}})}, func(d *gateway.Deps) {
		d.Observe = func(x *gateway.Exchange) {
			if nested {
				return
			}
			nested = true
			defer func() { nested = false }()
			before := string(x.Response.Body)
			gatewaytest.Do(g, event(second))
			if after := string(x.Response.Body); after != before {
				t.Errorf("the answer %q became %q while another request ran", before, after)
			}
		}
	})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/"}})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "collector", "config": schema.Record{"stream": "s", "fields": []any{schema.Record{"name": "event_id"}}}})
	for range 50 { // the pool of work spaces may keep none
		gatewaytest.Do(g, event(first))
		if t.Failed() {
			return
		}
	}
}

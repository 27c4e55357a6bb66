package example_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/example"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestExample(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{example.New()})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "example", "config": schema.Record{"status": 401.0}})
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 401 || !gatewaytest.Says(r, "No ticket, no entry") || r.Header.Get("X-Checked") != "ticket" {
		t.Errorf("without: %d %s", r.Status, r.Body)
	}
	for _, want := range []string{"1", "2"} {
		if r := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"X-Ticket", "t"}}); r.Status != 0 || r.Upstream.Get("X-Ticket-Number") != want {
			t.Errorf("%d %v", r.Status, r.Upstream.Fields())
		}
	}
	plugins, _ := g.Entity("plugins")
	if _, err := g.Create(t.Context(), plugins, schema.Record{"name": "example", "instance_name": "i", "config": schema.Record{"status": 200.0}}); err == nil {
		t.Error("a status out of bounds was accepted")
	}
}

package gateway_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestPanicWhileMade(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{{Name: "bad", Priority: 1, Config: &schema.Field{},
		New: func(schema.Record, gateway.Env) (any, error) { panic("no good") }}})
	gatewaytest.Route(t, g)
	made := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "bad"})
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 500 {
		t.Errorf("status %d with a plugin that cannot be made", r.Status)
	}
	plugins, _ := g.Entity("plugins")
	if _, err := g.Delete(t.Context(), plugins, made["id"].(string)); err != nil {
		t.Fatal(err)
	}
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 0 {
		t.Errorf("status %d without it", r.Status)
	}
}

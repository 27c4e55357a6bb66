package gatewaytest

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Route makes a service and a route of every path to it.
func Route(t testing.TB, g *gateway.Gateway) {
	t.Helper()
	Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	Create(t, g, "routes", schema.Record{"paths": []any{"/"}, "service": schema.Record{"name": "s"}})
}

// Consumer makes a consumer and returns the reference to it.
func Consumer(t testing.TB, g *gateway.Gateway, username string) schema.Record {
	t.Helper()
	return schema.Record{"id": Create(t, g, "consumers", schema.Record{"username": username})["id"]}
}

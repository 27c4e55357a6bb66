package gatewaytest

import (
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// LoggedRoute is the id of the route that Logged's requests take.
const LoggedRoute = "f2f1eb4c-5ac0-4b6a-9eab-f0ae2e8b5a10"

// Logged returns a gateway with one kind of plugin, configured for every request, and a
// function that puts an answered request of the consumer alice through it: service
// my.service, custom id 42, 100 bytes in, 200 out, 3 ms before the upstream of 90, and 130
// in all. Where status is 404 no route matches. Closing the gateway closes the plugin.
func Logged(t testing.TB, kind gateway.Plugin, config schema.Record) (g *gateway.Gateway, send func(status int)) {
	t.Helper()
	login := gateway.Plugin{Name: "everybody-is-alice", Priority: 1000, Config: &schema.Field{},
		New: func(schema.Record, gateway.Env) (any, error) { return alice{}, nil }}
	g = New(t, []gateway.Plugin{kind, login})
	Create(t, g, "services", schema.Record{"name": "my.service", "url": "http://127.0.0.1:1"})
	Create(t, g, "routes", schema.Record{"id": LoggedRoute, "name": "r", "paths": []any{"/in"}, "service": schema.Record{"name": "my.service"}})
	Create(t, g, "plugins", schema.Record{"name": login.Name})
	Create(t, g, "plugins", schema.Record{"name": kind.Name, "config": config})
	return g, func(status int) {
		x := g.Begin()
		x.Conn = &gateway.Conn{PeerIP: "192.0.2.7", ServerPort: 80}
		x.Request.Method, x.Request.Scheme, x.Request.Proto, x.Request.Authority = "GET", "http", 1, "front.example"
		target := "/in/x?q=1"
		if status == 404 {
			target = "/nowhere"
		}
		gateway.SetTarget(&x.Request, target, 80)
		g.Access(x)
		at := time.Now()
		x.Times = gateway.Times{Start: at, UpstreamStart: at.Add(3 * time.Millisecond), UpstreamHeader: at.Add(93 * time.Millisecond),
			End: at.Add(130 * time.Millisecond), HeadIn: 90, BytesIn: 10, HeadOut: 150, BytesOut: 50, UpstreamStatus: status}
		if !x.Answered() {
			x.SetForwarded()
		}
		x.Response.Status = status
		g.HeaderFilter(x)
		g.End(x)
	}
}

// alice is the plugin that takes every client for her.
type alice struct{}

func (alice) Access(x *gateway.Exchange) {
	x.Authenticate(&gateway.Consumer{ID: "11-22", Username: "alice", CustomID: "42"}, &gateway.Credential{ID: "cred", ConsumerID: "11-22"})
}

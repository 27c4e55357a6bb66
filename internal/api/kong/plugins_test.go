package kong_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestPluginEndpoints checks the paths that a kind of plugin adds to the API.
func TestPluginEndpoints(t *testing.T) {
	kind := gateway.Plugin{Name: "stocked", Config: &schema.Field{},
		New: func(schema.Record, gateway.Env) (any, error) { return struct{}{}, nil },
		Admin: []gateway.AdminEndpoint{{Path: "/stock/{item}/left", Methods: map[string]func(gateway.AdminRequest) gateway.AdminAnswer{
			"GET": func(q gateway.AdminRequest) gateway.AdminAnswer {
				return gateway.AdminAnswer{Status: 200, Body: map[string]any{"item": q.Params["item"], "n": q.Query.Get("n")}}
			},
			"POST": func(q gateway.AdminRequest) gateway.AdminAnswer {
				return gateway.AdminAnswer{Status: 201, Body: q.Body}
			},
			"DELETE": func(gateway.AdminRequest) gateway.AdminAnswer { return gateway.AdminAnswer{Status: 204} },
		}}}}
	a := newAdmin(t, kind)
	if got := a.must(200, "GET", "/stock/a%2Fb/left?n=3", ""); got["item"] != "a/b" || got["n"] != "3" {
		t.Errorf("%v", got)
	}
	if got := a.must(201, "POST", "/stock/x/left", "why=because"); got["why"] != "because" {
		t.Errorf("%v", got)
	}
	a.must(204, "DELETE", "/stock/x/left", "")
	a.must(405, "PUT", "/stock/x/left", "")
	a.must(404, "GET", "/stock/x", "")
}

package cors_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/cors"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		config       schema.Record
		from         string
		allow, creds string
		varies       bool
	}{
		{nil, "https://a.example", "*", "", false},
		{nil, "", "*", "", false},
		{schema.Record{"credentials": true}, "https://a.example", "https://a.example", "true", true},
		{schema.Record{"origins": []any{"https://a.example"}}, "https://b.example", "https://a.example", "", true},
		{schema.Record{"origins": []any{"https://a.example:443", "b.example"}}, "https://a.example", "https://a.example", "", true},
		{schema.Record{"origins": []any{"https://a.example", "x"}}, "http://a.example", "", "", true},
		{schema.Record{"origins": []any{`.*\.example`}}, "https://b.example", "https://b.example", "", true},
		{schema.Record{"origins": []any{`^https?://.*\.example$`}}, "https://b.example.evil", "", "", true},
		{schema.Record{"origins": []any{`a\.example`}}, "https://evil.a.example", "", "", true},
		{schema.Record{"origins": []any{"https://a.example", "https://b.example"}, "credentials": true}, "https://b.example", "https://b.example", "true", true},
	} {
		g := gatewaytest.New(t, []gateway.Plugin{cors.New()})
		gatewaytest.Route(t, g)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "cors", "config": c.config})
		for _, preflight := range []bool{false, true} {
			r := gatewaytest.Request{}
			if c.from != "" {
				r.Header = []string{"Origin", c.from}
			}
			if preflight {
				if c.from == "" {
					continue
				}
				r.Method, r.Header = "OPTIONS", append(r.Header, "Access-Control-Request-Method", "PUT")
			}
			got := gatewaytest.Do(g, r)
			h := got.Header
			if h.Get("Access-Control-Allow-Origin") != c.allow || (h.Get("Vary") == "Origin") != c.varies {
				t.Errorf("%v from %q (preflight %v): %v", c.config, c.from, preflight, h.Fields())
			}
			if c.creds != "" && h.Get("Access-Control-Allow-Credentials") != c.creds {
				t.Errorf("%v: %v", c.config, h.Fields())
			}
		}
	}
}

func TestPreflight(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{cors.New()})
	gatewaytest.Route(t, g)
	plugin := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "cors", "config": schema.Record{
		"methods": []any{"GET", "PUT"}, "max_age": 60.0, "private_network": true, "exposed_headers": []any{"X-A", "X-B"}}})
	ask := gatewaytest.Request{Method: "OPTIONS", Header: []string{"Origin", "https://a.example", "Access-Control-Request-Method", "PUT",
		"Access-Control-Request-Headers", "X-Own", "Access-Control-Request-Private-Network", "true"}}
	got := gatewaytest.Do(g, ask)
	for name, want := range map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Methods": "GET,PUT", "Access-Control-Allow-Headers": "X-Own",
		"Access-Control-Max-Age": "60", "Access-Control-Allow-Private-Network": "true", "Access-Control-Expose-Headers": "",
	} {
		if got.Header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), want)
		}
	}
	if got.Status != 200 {
		t.Errorf("%+v", got)
	}
	if plain := gatewaytest.Do(g, gatewaytest.Request{Method: "OPTIONS", Header: []string{"Origin", "https://a.example"}}); plain.Status != 0 ||
		plain.Header.Get("Access-Control-Expose-Headers") != "X-A,X-B" {
		t.Errorf("OPTIONS that is no preflight: %+v %v", plain, plain.Header.Fields())
	}
	e, _ := g.Entity("plugins")
	if _, err := g.Patch(t.Context(), e, plugin["id"].(string), schema.Record{"config": schema.Record{"preflight_continue": true}}); err != nil {
		t.Fatal(err)
	}
	if passed := gatewaytest.Do(g, ask); passed.Status != 0 || passed.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("%+v %v", passed, passed.Header.Fields())
	}
}

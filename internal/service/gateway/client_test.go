package gateway_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
)

func TestForwardedAuthority(t *testing.T) {
	g := gatewaytest.New(t, nil)
	for _, c := range []struct {
		scheme, host string
		forwarded    gateway.Forwarded
		want         string
	}{
		{"http", "svc.test:8000", gateway.Forwarded{}, "svc.test:8000"},
		{"http", "svc.test", gateway.Forwarded{}, "svc.test"},
		{"http", "svc.test:80", gateway.Forwarded{}, "svc.test"},
		{"https", "svc.test:443", gateway.Forwarded{}, "svc.test"},
		{"https", "svc.test:80", gateway.Forwarded{}, "svc.test:80"},
		{"http", "[::1]:8000", gateway.Forwarded{}, "[::1]:8000"},
		{"http", "[::1]", gateway.Forwarded{}, "[::1]"},
		{"http", "svc.test:8000", gateway.Forwarded{Host: "public.test"}, "public.test"},
		{"http", "svc.test:8000", gateway.Forwarded{Host: "public.test:8443", Proto: "https"}, "public.test:8443"},
		{"http", "svc.test:8000", gateway.Forwarded{Host: "public.test", Port: "8443", Proto: "https"}, "public.test:8443"},
		{"http", "svc.test:8000", gateway.Forwarded{Port: "443", Proto: "https"}, "svc.test"},
	} {
		x := g.Begin()
		x.Request.Scheme, x.Request.Authority, x.Request.Forwarded = c.scheme, c.host, c.forwarded
		gateway.SetTarget(&x.Request, "/", 80)
		if got := x.ForwardedAuthority(); got != c.want {
			t.Errorf("%s %s %+v: %s, want %s", c.scheme, c.host, c.forwarded, got, c.want)
		}
		g.End(x)
	}
}

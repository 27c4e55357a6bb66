package azurefunctions_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/azurefunctions"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func gate(t *testing.T, s *httptest.Server, config schema.Record) *gateway.Gateway {
	g := gatewaytest.New(t, []gateway.Plugin{azurefunctions.New()})
	gatewaytest.Route(t, g)
	app, domain, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ".") // 127 and 0.0.1:port
	config["appname"], config["hostdomain"], config["https"] = app, domain, false
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "azure-functions", "config": config})
	return g
}

func TestCalls(t *testing.T) {
	wait := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path == "/api/f/slow" {
			<-wait
		}
		w.Header().Set("X-Function", "f")
		w.WriteHeader(202)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, r.RequestURI, r.Header.Get("Content-Type"), r.Header.Get("X-Functions-Key"),
			r.Header.Get("X-Functions-Clientid"), body)
	}))
	defer s.Close()
	defer close(wait)
	post := gatewaytest.Request{Method: "POST", Target: "/x?a=1", Body: "b", Header: []string{"Content-Type", "text/plain", "X-Own", "not passed on"}}
	g := gate(t, s, schema.Record{"functionname": "/f/", "apikey": "k", "clientid": "c", "timeout": 5000.0})
	if got := gatewaytest.Do(g, post); got.Status != 202 || got.Body != "POST /api/f/x?a=1 text/plain k c b" || got.Header.Get("X-Function") != "f" {
		t.Errorf("%d %s %v", got.Status, got.Body, got.Header.Fields())
	}
	if got := gatewaytest.Do(gate(t, s, schema.Record{"functionname": "f", "routeprefix": "/a/b/"}), gatewaytest.Request{}); got.Body != "GET /a/b/f/    " {
		t.Errorf("%q", got.Body)
	}
	post.Body = strings.Repeat("x", 8<<20+1)
	if got := gatewaytest.Do(g, post); got.Status != 413 {
		t.Errorf("a large body: %d", got.Status)
	}
	if got := gatewaytest.Do(gate(t, s, schema.Record{"functionname": "f", "timeout": 20.0}), gatewaytest.Request{Target: "/slow"}); got.Status != 500 {
		t.Errorf("no answer: %d %s", got.Status, got.Body)
	}
}

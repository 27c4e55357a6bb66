package termination_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/redirect"
	"sluice.dev/sluice/internal/service/gateway/plugin/termination"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestTermination(t *testing.T) {
	for _, c := range []struct {
		config  schema.Record
		request gatewaytest.Request
		status  int
		body    string
	}{
		{nil, gatewaytest.Request{}, 503, `{"message":"Service unavailable"}`},
		{schema.Record{"status_code": 404.0}, gatewaytest.Request{}, 404, `{"message":"Not found"}`},
		{schema.Record{"status_code": 418.0}, gatewaytest.Request{}, 418, ``},
		{schema.Record{"message": `"so"`}, gatewaytest.Request{}, 503, `{"message":"\"so\""}`},
		{schema.Record{"body": "<p>", "content_type": "text/html"}, gatewaytest.Request{}, 503, "<p>"},
		{schema.Record{"trigger": "stop"}, gatewaytest.Request{}, 0, ""},
		{schema.Record{"trigger": "stop"}, gatewaytest.Request{Header: []string{"Stop", ""}}, 503, `{"message":"Service unavailable"}`},
		{schema.Record{"trigger": "stop"}, gatewaytest.Request{Target: "/?stop"}, 503, `{"message":"Service unavailable"}`},
	} {
		g := gatewaytest.New(t, []gateway.Plugin{termination.New()})
		gatewaytest.Route(t, g)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "request-termination", "config": c.config})
		if got := gatewaytest.Do(g, c.request); got.Status != c.status || got.Body != c.body {
			t.Errorf("%v: %+v", c.config, got)
		}
	}
	g := gatewaytest.New(t, []gateway.Plugin{termination.New()})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "request-termination", "config": schema.Record{"echo": true}})
	got := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Target: "/a?b=c", Body: "hello", Header: []string{"X-One", "1"}})
	for _, part := range []string{`"raw_body":"hello"`, `"X-One":"1"`, `"query":"b=c"`, `"matched_service"`} {
		if !strings.Contains(got.Body, part) {
			t.Errorf("the echo %s lacks %s", got.Body, part)
		}
	}
	e, _ := g.Entity("plugins")
	for _, bad := range []schema.Record{{"message": "a", "body": "b"}, {"content_type": "x"}, {"status_code": 600.0}} {
		if _, err := g.Create(t.Context(), e, schema.Record{"name": "request-termination", "config": bad}); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		config   schema.Record
		status   int
		location string
	}{
		{schema.Record{"location": "https://example.com/path?x=1"}, 301, "https://example.com/path?x=1"},
		{schema.Record{"location": "https://example.com/path?x=1", "keep_incoming_path": true, "status_code": 308.0}, 308, "https://example.com/a%20b?c=d"},
	} {
		g := gatewaytest.New(t, []gateway.Plugin{redirect.New()})
		gatewaytest.Route(t, g)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "redirect", "config": c.config})
		got := gatewaytest.Do(g, gatewaytest.Request{Target: "/a%20b?c=d"})
		if got.Status != c.status || got.Header.Get("Location") != c.location || got.Body != "redirecting" {
			t.Errorf("%v: %+v %v", c.config, got, got.Header.Fields())
		}
	}
}

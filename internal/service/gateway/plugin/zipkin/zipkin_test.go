package zipkin_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/zipkin"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

type span struct {
	TraceID, ID, ParentID, Name, Kind string
	Timestamp, Duration               int64
	LocalEndpoint, RemoteEndpoint     struct {
		ServiceName, IPv4 string
		Port              int
	}
	Tags        map[string]string
	Annotations []struct {
		Value     string
		Timestamp int64
	}
}

// server is an endpoint of Zipkin's API v2.
func server(t *testing.T) (url string, spans func() map[string]span) {
	var mu sync.Mutex
	got := map[string]span{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var list []span
		if err := json.Unmarshal(body, &list); err != nil || r.Method != "POST" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v in %s", r.Method, r.Header, err, body)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, sp := range list {
			got[sp.Name] = sp
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	t.Cleanup(s.Close)
	return s.URL + "/api/v2/spans", func() map[string]span { mu.Lock(); defer mu.Unlock(); return got }
}

func TestSpans(t *testing.T) {
	url, spans := server(t)
	g, send := gatewaytest.Logged(t, zipkin.New(zipkin.Deps{NodeID: "node-1"}), schema.Record{
		"http_endpoint": url, "sample_ratio": 1.0, "static_tags": []any{schema.Record{"name": "colour", "value": "red"}}, "http_span_name": "method_path",
	})
	send(200)
	g.Close()
	got := spans()
	request, proxy := got["GET /in/x"], got["GET /in/x (proxy)"]
	if len(got) != 2 || request.Kind != "SERVER" || proxy.Kind != "CLIENT" || proxy.ParentID != request.ID || request.ParentID != "" ||
		len(request.TraceID) != 32 || proxy.TraceID != request.TraceID {
		t.Fatalf("%+v", got)
	}
	if request.Duration != 130_000 || request.LocalEndpoint.ServiceName != "kong" || proxy.RemoteEndpoint.ServiceName != "my.service" {
		t.Errorf("%+v\n%+v", request, proxy)
	}
	for name, want := range map[string]string{"lc": "kong", "http.method": "GET", "http.path": "/in/x", "http.status_code": "200", "http.host": "front.example",
		"kong.node.id": "node-1", "kong.consumer": "11-22", "kong.credential": "cred", "colour": "red"} {
		if request.Tags[name] != want {
			t.Errorf("tag %s: %q, want %q", name, request.Tags[name], want)
		}
	}
	if proxy.Tags["kong.route"] != gatewaytest.LoggedRoute || proxy.Tags["kong.service_name"] != "my.service" {
		t.Errorf("%v", proxy.Tags)
	}
	names := ""
	for _, a := range proxy.Annotations {
		names += a.Value + " "
	}
	if names != "kas kaf khs khf kbs kbf " || proxy.Annotations[1].Timestamp-proxy.Annotations[0].Timestamp != 3000 {
		t.Errorf("%v", proxy.Annotations)
	}
}

func TestSampling(t *testing.T) {
	url, spans := server(t)
	g, send := gatewaytest.Logged(t, zipkin.New(zipkin.Deps{}), schema.Record{"http_endpoint": url, "sample_ratio": 0.0, "include_credential": false})
	send(200)
	g.Close()
	if n := len(spans()); n != 0 {
		t.Errorf("%d spans of a request that is not sampled", n)
	}
	g, send = gatewaytest.Logged(t, zipkin.New(zipkin.Deps{}), schema.Record{"http_endpoint": url, "sample_ratio": 1.0, "include_credential": false,
		"traceid_byte_count": 8.0, "phase_duration_flavor": "tags"})
	send(404)
	g.Close()
	request := spans()["GET"]
	if len(request.TraceID) != 16 || request.Tags["http.status_code"] != "404" || request.Tags["kong.credential"] != "" {
		t.Errorf("%+v", spans())
	}
	if p := spans()["GET (proxy)"]; p.Tags["kong.access.duration_ms"] != "3" || p.Annotations != nil {
		t.Errorf("%+v", p)
	}
}

func TestUpstreamAndClientAreTold(t *testing.T) {
	g, _ := gatewaytest.Logged(t, zipkin.New(zipkin.Deps{}), schema.Record{"sample_ratio": 1.0, "http_response_header_for_traceid": "X-Trace"})
	r := gatewaytest.Do(g, gatewaytest.Request{Target: "/in"})
	id := r.Upstream.Get("x-b3-traceid")
	if len(id) != 32 || r.Header.Get("X-Trace") != id || r.Upstream.Get("x-b3-sampled") != "1" {
		t.Errorf("upstream %v, client %v", r.Upstream.Fields(), r.Header.Fields())
	}
}

func TestConfiguration(t *testing.T) {
	config := zipkin.New(zipkin.Deps{}).Config
	tag := func(name string) schema.Record { return schema.Record{"name": name, "value": "v"} }
	for want, tags := range map[string][]any{"": {tag("a"), tag("b")}, "repeated tags are not allowed: a": {tag("a"), tag("a")}, "must not be one of": {tag("lc")}} {
		bad := config.Validate(config.Complete(schema.Record{"static_tags": tags}))
		if want == "" && bad != nil || want != "" && (bad == nil || !strings.Contains(bad.String(), want)) {
			t.Errorf("%v: %v", tags, bad)
		}
	}
}

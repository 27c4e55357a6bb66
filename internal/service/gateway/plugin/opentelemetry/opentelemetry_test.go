package opentelemetry_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/opentelemetry"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// receiver decodes what is exported to it.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	spans    []*tracepb.Span
	logs     []*logspb.LogRecord
	resource map[string]string
	exports  int
	header   http.Header
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{}
	mux := http.NewServeMux()
	read := func(req *http.Request, m proto.Message) {
		body, _ := io.ReadAll(req.Body)
		if err := proto.Unmarshal(body, m); err != nil || req.Header.Get("Content-Type") != "application/x-protobuf" {
			t.Errorf("%v: %v", req.Header, err)
		}
		r.exports++
		r.header = req.Header
	}
	mux.HandleFunc("POST /v1/traces", func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var data tracepb.TracesData
		read(req, &data)
		for _, rs := range data.ResourceSpans {
			r.resource = attributes(rs.Resource.Attributes)
			for _, ss := range rs.ScopeSpans {
				r.spans = append(r.spans, ss.Spans...)
			}
		}
	})
	mux.HandleFunc("POST /v1/logs", func(_ http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		defer r.mu.Unlock()
		var data logspb.LogsData
		read(req, &data)
		for _, rl := range data.ResourceLogs {
			for _, sl := range rl.ScopeLogs {
				r.logs = append(r.logs, sl.LogRecords...)
			}
		}
	})
	r.Server = httptest.NewServer(mux)
	t.Cleanup(r.Close)
	return r
}

func attributes(kvs []*commonpb.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range kvs {
		if s, ok := kv.Value.Value.(*commonpb.AnyValue_StringValue); ok {
			out[kv.Key] = s.StringValue
		}
	}
	return out
}

func TestSpansAndLogs(t *testing.T) {
	r := newReceiver(t)
	g, send := gatewaytest.Logged(t, opentelemetry.New(opentelemetry.Deps{NodeID: "node-1"}), schema.Record{
		"traces_endpoint": r.URL + "/v1/traces", "logs_endpoint": r.URL + "/v1/logs", "sampling_rate": 1.0, "headers": schema.Record{"X-Key": "k"},
		"resource_attributes": schema.Record{"service.name": "front", "team": "a"}, "queue": schema.Record{"max_batch_size": 200.0, "max_coalescing_delay": 3600.0},
	})
	for _, status := range []int{200, 500} {
		send(status)
	}
	g.Close()
	if r.exports != 2 || len(r.spans) != 2 || len(r.logs) != 2 || r.header.Get("X-Key") != "k" {
		t.Fatalf("%d exports, %d spans, %d logs, %v", r.exports, len(r.spans), len(r.logs), r.header)
	}
	if r.resource["service.name"] != "front" || r.resource["team"] != "a" || r.resource["service.instance.id"] != "node-1" || r.resource["service.version"] != gateway.Version {
		t.Errorf("%v", r.resource)
	}
	root := r.spans[0]
	a := attributes(root.Attributes)
	if root.Name != "kong" || root.Kind != tracepb.Span_SPAN_KIND_SERVER || len(root.TraceId) != 16 || len(root.SpanId) != 8 || len(root.ParentSpanId) != 0 ||
		root.EndTimeUnixNano-root.StartTimeUnixNano != 130e6 || a["http.route"] != "r" || a["http.method"] != "GET" || a["http.client_ip"] != "192.0.2.7" ||
		root.Status.GetCode() != tracepb.Status_STATUS_CODE_UNSET || r.spans[1].Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR {
		t.Errorf("%v", root)
	}
	log := r.logs[1]
	var record struct{ Response struct{ Status float64 } }
	if err := json.Unmarshal([]byte(log.Body.GetStringValue()), &record); err != nil || record.Response.Status != 500 || log.SeverityText != "ERROR" ||
		!bytes.Equal(log.TraceId, r.spans[1].TraceId) || !bytes.Equal(log.SpanId, r.spans[1].SpanId) {
		t.Errorf("%v: %v", err, log)
	}
}

func TestSampling(t *testing.T) {
	const parent = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
	for name, tc := range map[string]struct {
		config schema.Record
		flags  string // the client's
		want   bool
	}{
		"the client samples":               {schema.Record{}, "01", true},
		"the client does not":              {schema.Record{"sampling_rate": 1.0}, "00", false},
		"a rate counts above the client":   {schema.Record{"sampling_rate": 0.0}, "01", false},
		"a rate of one follows the client": {schema.Record{"sampling_rate": 1.0}, "01", true},
	} {
		tc.config["traces_endpoint"] = "http://127.0.0.1:1/"
		tc.config["http_response_header_for_traceid"] = "X-Trace"
		g, _ := gatewaytest.Logged(t, never(), tc.config)
		r := gatewaytest.Do(g, gatewaytest.Request{Target: "/in", Header: []string{"traceparent", "00-" + parent + "-" + tc.flags}})
		flag := map[bool]string{true: "01", false: "00"}[tc.want]
		got := r.Upstream.Get("traceparent")
		if !strings.HasPrefix(got, "00-"+parent[:32]+"-") || !strings.HasSuffix(got, "-"+flag) || strings.Contains(got, parent[33:]) || r.Header.Get("X-Trace") != parent[:32] {
			t.Errorf("%s: upstream gets %s, client %s", name, got, r.Header.Get("X-Trace"))
		}
	}
}

// never is the kind with queues that give up at once: nobody listens.
func never() gateway.Plugin {
	kind := opentelemetry.New(opentelemetry.Deps{})
	made := kind.New
	kind.New = func(c schema.Record, env gateway.Env) (any, error) {
		c["queue"].(schema.Record)["max_retry_time"] = 0.0
		return made(c, env)
	}
	return kind
}

func TestConfiguration(t *testing.T) {
	config := opentelemetry.New(opentelemetry.Deps{}).Config
	full := config.Complete(schema.Record{"endpoint": "http://a.example/v1/traces"})
	if bad := config.Validate(full); bad != nil {
		t.Error(bad)
	}
	if full["queue"].(schema.Record)["max_batch_size"] != 200.0 || full["propagation"].(schema.Record)["default_format"] != "w3c" {
		t.Errorf("%v", full)
	}
	if bad := config.Validate(config.Complete(schema.Record{})); bad == nil || !strings.Contains(bad.String(), "at least one of these fields must be non-empty") {
		t.Errorf("without an endpoint: %v", bad)
	}
}

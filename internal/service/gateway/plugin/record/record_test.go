package record_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/record"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	serviceID = "0c61e164-6171-4837-8836-8f5298726d53"
	routeID   = "f2f1eb4c-5ac0-4b6a-9eab-f0ae2e8b5a10"
	start     = int64(1_700_000_000_123)
)

// exchange is a request that has been through everything a record tells of.
func exchange(t testing.TB) *gateway.Exchange {
	g := gatewaytest.New(t, nil)
	gatewaytest.Create(t, g, "services", schema.Record{"id": serviceID, "name": "up", "host": "192.0.2.1", "path": "/base", "tags": []any{"a"}})
	gatewaytest.Create(t, g, "routes", schema.Record{"id": routeID, "name": "r", "paths": []any{"/in"}, "service": schema.Record{"id": serviceID}})
	x := g.Begin()
	t.Cleanup(func() { g.End(x) })
	x.Conn = &gateway.Conn{PeerIP: "192.0.2.7", ServerPort: 8443,
		TLS: &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}}
	x.Request.Method, x.Request.Scheme, x.Request.Proto, x.Request.Authority = "GET", "https", 1, "Front.example:8443"
	for _, f := range [][2]string{{"Accept", "*/*"}, {"X-Many", "1"}, {"AUTHORIZATION", "Basic c2VjcmV0"}, {"x-many", "2"}, {"Proxy-Authorization", "c2VjcmV0"},
		{"Odd", "q\"b\\t\tn\x01\xffé"}} {
		x.Request.Header.AddValid(f[0], f[1])
	}
	gateway.SetTarget(&x.Request, "/in/a%20b?k=1&flag&k=2&e%3D=%C3%A9", 8443)
	g.Access(x)
	if x.Answered() {
		t.Fatalf("answered %d", x.Response.Status)
	}
	x.Authenticate(&gateway.Consumer{ID: "c-id", Username: "alice", CustomID: "7", Tags: []string{"vip"}, CreatedAt: 1, UpdatedAt: 2},
		&gateway.Credential{ID: "cred", ConsumerID: "c-id"})
	for _, h := range []string{"X-Consumer-ID", "X-Consumer-Custom-ID", "X-Consumer-Username", "X-Credential-Identifier"} {
		x.Request.Header.Del(h)
	}
	x.SetForwarded()
	x.Response.Status = 201
	x.Response.Header.AddValid("Content-Type", "text/plain")
	at := time.UnixMilli(start)
	x.Times = gateway.Times{Start: at, UpstreamStart: at.Add(2 * time.Millisecond), UpstreamHeader: at.Add(32 * time.Millisecond),
		End: at.Add(37 * time.Millisecond), HeadIn: 100, BytesIn: 11, HeadOut: 50, BytesOut: 5, UpstreamStatus: 201}
	for i := range 2 {
		if err := x.NextTry(at.Add(time.Duration(i+1) * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			x.FailTry(502)
		}
	}
	return x
}

func parse(t testing.TB, raw []byte) (out map[string]any) {
	t.Helper()
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return out
}

func TestRecord(t *testing.T) {
	x := exchange(t)
	raw := record.Append(nil, x)
	if strings.Contains(string(raw), "c2VjcmV0") {
		t.Error("a secret got into the record")
	}
	got := parse(t, raw)
	route, service := got["route"].(map[string]any), got["service"].(map[string]any)
	for name, want := range map[string]any{"id": routeID, "name": "r", "strip_path": true, "https_redirect_status_code": 426.0,
		"service": map[string]any{"id": serviceID}, "ws_id": gateway.WorkspaceID} {
		if diff := cmp.Diff(want, route[name]); diff != "" {
			t.Errorf("route.%s: %s", name, diff)
		}
	}
	for name, want := range map[string]any{"id": serviceID, "host": "192.0.2.1", "port": 80.0, "retries": 5.0, "tags": []any{"a"}} {
		if diff := cmp.Diff(want, service[name]); diff != "" {
			t.Errorf("service.%s: %s", name, diff)
		}
	}
	if _, unset := service["client_certificate"]; unset {
		t.Error("unset fields of an entity are left out")
	}
	delete(got, "route")
	delete(got, "service")
	want := map[string]any{
		"request": map[string]any{
			"id": x.ID(), "uri": "/in/a%20b?k=1&flag&k=2&e%3D=%C3%A9", "url": "https://front.example:8443/in/a%20b?k=1&flag&k=2&e%3D=%C3%A9",
			"querystring": map[string]any{"k": []any{"1", "2"}, "flag": true, "e=": "é"}, "method": "GET", "size": 111.0,
			"headers": map[string]any{"host": "Front.example:8443", "accept": "*/*", "x-many": []any{"1", "2"},
				"authorization": "REDACTED", "proxy-authorization": "REDACTED", "odd": "q\"b\\t\tn\x01\ufffdé"},
			"tls": map[string]any{"version": "TLSv1.3", "cipher": "TLS_AES_128_GCM_SHA256", "client_verify": "NONE"},
		},
		"upstream_uri": "/base/a%20b?k=1&flag&k=2&e%3D=%C3%A9", "upstream_status": "502, 201",
		"response":  map[string]any{"status": 201.0, "size": 55.0, "headers": map[string]any{"content-type": "text/plain"}},
		"latencies": map[string]any{"kong": 2.0, "proxy": 30.0, "request": 37.0, "receive": 5.0},
		"tries": []any{
			map[string]any{"balancer_start": float64(start + 1), "balancer_latency": 0.0, "ip": "192.0.2.1", "port": 80.0, "state": "failed", "code": 502.0},
			map[string]any{"balancer_start": float64(start + 2), "balancer_latency": 0.0, "ip": "192.0.2.1", "port": 80.0},
		},
		"authenticated_entity": map[string]any{"id": "cred", "consumer_id": "c-id"},
		"consumer": map[string]any{"id": "c-id", "username": "alice", "custom_id": "7", "tags": []any{"vip"}, "created_at": 1.0, "updated_at": 2.0,
			"ws_id": gateway.WorkspaceID},
		"client_ip": "192.0.2.7", "started_at": float64(start), "source": "upstream",
		"workspace": gateway.WorkspaceID, "workspace_name": "default",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRecordOfAnAnswerOfOurs(t *testing.T) {
	g := gatewaytest.New(t, nil)
	x := g.Begin()
	defer g.End(x)
	x.Request.Method = "GET"
	x.Fail(404, "no Route matched with those values")
	x.Times.Start, x.Times.End = time.UnixMilli(start), time.UnixMilli(start+4)
	got := parse(t, record.Append(nil, x))
	for _, absent := range []string{"route", "service", "consumer", "authenticated_entity"} {
		if got[absent] != nil {
			t.Errorf("%s: %v", absent, got[absent])
		}
	}
	if diff := cmp.Diff(map[string]any{"kong": 4.0, "proxy": -1.0, "request": 4.0, "receive": 0.0}, got["latencies"]); diff != "" || got["source"] != "kong" {
		t.Errorf("source %v, latencies %s", got["source"], diff)
	}
}

func TestCustomFields(t *testing.T) {
	compile := func(source string) (record.Expression, error) {
		switch source {
		case "bad":
			return nil, errors.New("near 'bad'")
		case "fail":
			return func(*gateway.Exchange) (any, error) { return nil, errors.New("nil value") }, nil
		case "nil":
			return func(*gateway.Exchange) (any, error) { return nil, nil }, nil
		}
		return func(x *gateway.Exchange) (any, error) { return source + " " + x.Request.Method, nil }, nil
	}
	config := schema.Record{"custom_fields_by_lua": schema.Record{"who": "me", "a.b": "deep", "client_ip": "nil", "source": "fail", "tries.x": "no"}}
	s, err := record.NewSerializer(config, compile, gatewaytest.Log())
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, s.Clone(exchange(t)))
	if got["who"] != "me GET" || got["source"] != "upstream" || !cmp.Equal(got["a"], map[string]any{"b": "deep GET"}) {
		t.Errorf("%v", got)
	}
	if _, there := got["client_ip"]; there {
		t.Error("nil removes a field")
	}
	record1 := &schema.Field{Fields: []*schema.Field{record.CustomFields(compile)}}
	if bad := record1.Validate(schema.Record{"custom_fields_by_lua": schema.Record{"f": "bad"}}); bad == nil {
		t.Error("code that does not compile was accepted")
	}
	none := &schema.Field{Fields: []*schema.Field{record.CustomFields(nil)}}
	if bad := none.Validate(schema.Record{"custom_fields_by_lua": schema.Record{"f": "return 1"}}); !strings.Contains(bad.String(), "no Lua") {
		t.Errorf("without Lua: %v", bad)
	}
	if bad := none.Validate(schema.Record{"custom_fields_by_lua": nil}); bad != nil {
		t.Errorf("without custom fields: %v", bad)
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	x := exchange(t)
	gateway.SetTarget(&x.Request, "/in/a?k=1&flag", 8443) // escapes in arguments cost
	buf := make([]byte, 0, 8192)
	if n := testing.AllocsPerRun(100, func() { buf = record.Append(buf[:0], x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	x := exchange(b)
	gateway.SetTarget(&x.Request, "/in/a?k=1&flag", 8443)
	s, err := record.NewSerializer(schema.Record{}, nil, gatewaytest.Log())
	if err != nil {
		b.Fatal(err)
	}
	size := 0
	use := func(r []byte) { size = len(r) }
	b.ReportAllocs()
	for b.Loop() {
		s.With(x, use)
	}
	b.SetBytes(int64(size))
}

// FuzzStrings checks that no bytes of a client break the line or the JSON.
func FuzzStrings(f *testing.F) {
	f.Add("/in?a=1", "value")
	f.Add("/in?&&=&a=%zz&a", "\"\\\x00\n\xf0\x9f")
	g := gatewaytest.New(f, nil)
	f.Fuzz(func(t *testing.T, target, value string) {
		x := g.Begin()
		defer g.End(x)
		x.Request.Method = "GET"
		gateway.SetTarget(&x.Request, target, 80)
		x.Request.Header.AddValid("N", value)
		raw := record.Append(nil, x)
		if strings.ContainsAny(string(raw), "\n\r") {
			t.Error("more than one line")
		}
		parse(t, raw)
	})
}

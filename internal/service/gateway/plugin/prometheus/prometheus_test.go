package prometheus_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/modeluse"
	"sluice.dev/sluice/internal/service/gateway/plugin/prometheus"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func gate(t testing.TB, config schema.Record, more ...gateway.Plugin) (*gateway.Gateway, gateway.Plugin) {
	m := prometheus.New(prometheus.Deps{NodeID: "node", Node: func() prometheus.Node {
		return prometheus.Node{Accepted: 5, Active: 2, Requests: 9, StoreReachable: true}
	}, Health: func() []prometheus.TargetHealth {
		return []prometheus.TargetHealth{{Upstream: "u", Target: "t:80", Address: "192.0.2.1:80", State: "unhealthy"}}
	}})
	kind := m.Plugin()
	g := gatewaytest.New(t, append(more, kind, login()))
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "url": "http://127.0.0.1:1"})
	for _, name := range []string{"r1", "r2"} {
		gatewaytest.Create(t, g, "routes", schema.Record{"name": name, "paths": []any{"/" + name}, "service": schema.Record{"name": "s"}})
	}
	gatewaytest.Create(t, g, "consumers", schema.Record{"username": "alice"})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "login"})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "prometheus", "config": config})
	return g, kind
}

// login is a plugin that lets everybody be alice.
func login() gateway.Plugin {
	return gateway.Plugin{Name: "login", Priority: 1000, Config: &schema.Field{},
		New: func(_ schema.Record, env gateway.Env) (any, error) { return everybody{env.Directory}, nil }}
}

type everybody struct{ d gateway.Directory }

func (e everybody) Access(x *gateway.Exchange) {
	if c, ok := e.d.Consumer("alice"); ok {
		x.Authenticate(c, nil)
	}
}

func send(g *gateway.Gateway, path string, upstream bool) {
	x := g.Begin()
	x.Conn = &gateway.Conn{PeerIP: "127.0.0.1"}
	x.Request.Method, x.Request.Scheme = "GET", "http"
	gateway.SetTarget(&x.Request, path, 80)
	g.Access(x)
	at := time.UnixMilli(0)
	x.Times = gateway.Times{Start: at, End: at.Add(130 * time.Millisecond), HeadIn: 100, BytesIn: 1, HeadOut: 200, BytesOut: 2}
	if upstream {
		x.SetForwarded()
		x.Response.Status = 200
		x.Times.UpstreamStart, x.Times.UpstreamHeader = at.Add(3*time.Millisecond), at.Add(93*time.Millisecond)
	}
	g.End(x)
}

func scrape(t *testing.T, kind gateway.Plugin) string {
	t.Helper()
	ans := kind.Admin[0].Methods["GET"](gateway.AdminRequest{Context: t.Context()})
	if ans.Status != 200 || !strings.HasPrefix(ans.ContentType, "text/plain; version=0.0.4") {
		t.Fatalf("%d %s %v", ans.Status, ans.ContentType, ans.Body)
	}
	return string(ans.Text)
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, l+"\n") {
			t.Errorf("no %s", l)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

var all = schema.Record{"per_consumer": true, "status_code_metrics": true, "latency_metrics": true, "bandwidth_metrics": true, "upstream_health_metrics": true}

func TestTraffic(t *testing.T) {
	g, kind := gate(t, all)
	send(g, "/r1", true)
	send(g, "/r1", true)
	send(g, "/none", false)
	text := scrape(t, kind)
	expect(t, text,
		`kong_http_requests_total{code="200",consumer="alice",route="r1",service="s",source="service",workspace="default"} 2`,
		`kong_http_requests_total{code="404",consumer="",route="",service="",source="kong",workspace="default"} 1`,
		`kong_bandwidth_bytes{consumer="alice",direction="ingress",route="r1",service="s",workspace="default"} 202`,
		`kong_bandwidth_bytes{consumer="alice",direction="egress",route="r1",service="s",workspace="default"} 404`,
		`kong_kong_latency_ms_bucket{route="r1",service="s",workspace="default",le="2"} 0`,
		`kong_kong_latency_ms_bucket{route="r1",service="s",workspace="default",le="5"} 2`,
		`kong_kong_latency_ms_bucket{route="r1",service="s",workspace="default",le="6000"} 2`,
		`kong_upstream_latency_ms_bucket{route="r1",service="s",workspace="default",le="80"} 0`,
		`kong_upstream_latency_ms_bucket{route="r1",service="s",workspace="default",le="100"} 2`,
		`kong_request_latency_ms_sum{route="r1",service="s",workspace="default"} 260`,
		`kong_request_latency_ms_bucket{route="r1",service="s",workspace="default",le="60000"} 2`,
		`kong_nginx_connections_total{node_id="node",state="accepted",subsystem="http"} 5`,
		`kong_nginx_connections_total{node_id="node",state="active",subsystem="http"} 2`,
		`kong_nginx_requests_total{node_id="node",subsystem="http"} 9`,
		`kong_datastore_reachable 1`,
		`kong_node_info{node_id="node",version="`+gateway.Version+`"} 1`,
		`kong_upstream_target_health{address="192.0.2.1:80",state="unhealthy",subsystem="http",target="t:80",upstream="u"} 1`,
		`kong_upstream_target_health{address="192.0.2.1:80",state="healthy",subsystem="http",target="t:80",upstream="u"} 0`,
		`kong_nginx_metric_errors_total 0`)
}

func TestFlags(t *testing.T) {
	for flag, family := range map[string]string{"": "", "status_code_metrics": "kong_http_requests_total", "latency_metrics": "kong_kong_latency_ms",
		"bandwidth_metrics": "kong_bandwidth_bytes", "upstream_health_metrics": "kong_upstream_target_health"} {
		config := schema.Record{}
		if flag != "" {
			config[flag] = true
		}
		g, kind := gate(t, config)
		send(g, "/r1", true)
		text := scrape(t, kind)
		for _, f := range []string{"kong_http_requests_total", "kong_kong_latency_ms", "kong_bandwidth_bytes", "kong_upstream_target_health"} {
			if has := strings.Contains(text, f); has != (f == family) {
				t.Errorf("with %q: %s is there: %v", flag, f, has)
			}
		}
		if strings.Contains(text, "alice") {
			t.Errorf("with %q: the consumer is told of", flag)
		}
	}
}

func TestSeriesOfWhatIsGoneAreGone(t *testing.T) {
	g, kind := gate(t, all)
	change := func(do func(e *schema.Entity) error, collection string) {
		t.Helper()
		e, _ := g.Entity(collection)
		if err := do(e); err != nil {
			t.Fatal(err)
		}
	}
	send(g, "/r1", true)
	send(g, "/r2", true)
	change(func(e *schema.Entity) error { _, err := g.Delete(t.Context(), e, "r1"); return err }, "routes")
	text := scrape(t, kind)
	if strings.Contains(text, `route="r1"`) || !strings.Contains(text, `route="r2"`) {
		t.Errorf("after deleting r1:\n%s", text)
	}
	change(func(e *schema.Entity) error {
		_, err := g.Patch(t.Context(), e, "r2", schema.Record{"name": "r3"})
		return err
	}, "routes")
	send(g, "/r2", true)
	text = scrape(t, kind)
	if strings.Contains(text, `route="r2"`) || !strings.Contains(text, `route="r3"`) {
		t.Errorf("after renaming r2:\n%s", text)
	}
	change(func(e *schema.Entity) error { _, err := g.Delete(t.Context(), e, "alice"); return err }, "consumers")
	if text = scrape(t, kind); strings.Contains(text, "alice") || !strings.Contains(text, `kong_request_latency_ms_count{route="r3"`) {
		t.Errorf("after deleting the consumer:\n%s", text)
	}
}

// counted returns the plugin's log phase with an exchange for it.
func counted(t testing.TB) (gateway.Logger, *gateway.Exchange) {
	g, kind := gate(t, schema.Record{})
	made, err := kind.New(all, gateway.Env{Directory: g})
	if err != nil {
		t.Fatal(err)
	}
	x := g.Begin()
	t.Cleanup(func() { g.End(x) })
	x.Conn = &gateway.Conn{PeerIP: "127.0.0.1"}
	x.Request.Method, x.Request.Scheme = "GET", "http"
	gateway.SetTarget(&x.Request, "/r1", 80)
	g.Access(x)
	x.SetForwarded()
	x.Response.Status = 200
	return made.(gateway.Logger), x
}

func TestCountingDoesNotAllocate(t *testing.T) {
	in, x := counted(t)
	if n := testing.AllocsPerRun(100, func() { in.Log(x) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLog(b *testing.B) {
	in, x := counted(b)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			in.Log(x)
		}
	})
}

// asker is a plugin that has called a model.
type asker struct{}

func (asker) Access(x *gateway.Exchange) {
	u := &modeluse.Use{Provider: "openai", Model: "m1", Latency: 300 * time.Millisecond, Statistics: true}
	u.Tokens(25, 12, 0, 10, 10)
	modeluse.Add(x, u)
	modeluse.Add(x, &modeluse.Use{Provider: "silent", Model: "m1"})
}

func TestModels(t *testing.T) {
	kind := gateway.Plugin{Name: "asker", Priority: 1, Config: &schema.Field{}, New: func(schema.Record, gateway.Env) (any, error) { return asker{}, nil }}
	for _, on := range []bool{true, false} {
		g, p := gate(t, schema.Record{"ai_metrics": on, "status_code_metrics": true}, kind)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "asker"})
		send(g, "/r1", true)
		send(g, "/r1", true)
		text := scrape(t, p)
		const model = `ai_model="m1",ai_provider="openai",cache_status="",embeddings_model="",embeddings_provider=""`
		for _, want := range []string{
			`kong_ai_llm_requests_total{` + model + `,vector_db="",workspace="default"} 2`,
			`kong_ai_llm_cost_total{` + model + `,vector_db="",workspace="default"} 0.00074`,
			`kong_ai_llm_tokens_total{` + model + `,token_type="prompt_tokens",vector_db="",workspace="default"} 50`,
			`kong_ai_llm_tokens_total{` + model + `,token_type="completion_tokens",vector_db="",workspace="default"} 24`,
			`kong_ai_llm_tokens_total{` + model + `,token_type="total_tokens",vector_db="",workspace="default"} 74`,
			`kong_ai_llm_provider_latency_ms_bucket{` + model + `,vector_db="",workspace="default",le="250"} 0`,
			`kong_ai_llm_provider_latency_ms_bucket{` + model + `,vector_db="",workspace="default",le="500"} 2`,
		} {
			if strings.Contains(text, want+"\n") != on {
				t.Errorf("%v: %s in %s", on, want, text)
			}
		}
		if strings.Contains(text, "silent") {
			t.Error("a use is counted that is to stay untold")
		}
	}
}

package proxy_test

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/filelog"
	"sluice.dev/sluice/internal/service/gateway/plugin/iprestriction"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/prometheus"
	"sluice.dev/sluice/internal/service/gateway/plugin/statsd"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestStreamLogs passes connections on, and looks at what the plugins write of them.
func TestStreamLogs(t *testing.T) {
	metrics := prometheus.New(prometheus.Deps{NodeID: "n"})
	gw := gatewaytest.New(t, []gateway.Plugin{filelog.New(filelog.Deps{}), iprestriction.New(), keyauth.New(), statsd.New(), metrics.Plugin()})
	r := newRigOn(t, gw, proxy.Config{})
	plain, secure := r.listenStream(proxy.StreamListener{}), r.listenStream(proxy.StreamListener{TLS: true})
	up := answering(t, "up", nil)
	_, upPort, _ := net.SplitHostPort(up)
	r.stream("tcp", up, schema.Record{"name": "s"}, schema.Record{"name": "good", "sources": ends("127.0.0.1")})
	r.stream("tcp", refusing(t), schema.Record{"name": "gone"}, schema.Record{"name": "gone", "sources": ends("127.0.0.2")})
	r.stream("tcp", up, nil, schema.Record{"name": "shut", "sources": ends("127.0.0.3")})
	r.stream("tcp", up, schema.Record{"name": "t"}, schema.Record{"name": "named", "protocols": []any{"tls"}, "snis": []any{"n.example"}})

	datagrams, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer datagrams.Close()
	file := t.TempDir() + "/log"
	streams := []any{"tcp", "tls", "udp", "tls_passthrough"}
	gatewaytest.Create(t, gw, "plugins", schema.Record{"name": "file-log", "protocols": streams, "config": schema.Record{"path": file}})
	gatewaytest.Create(t, gw, "plugins", schema.Record{"name": "prometheus", "protocols": streams,
		"config": schema.Record{"status_code_metrics": true, "bandwidth_metrics": true, "latency_metrics": true}})
	gatewaytest.Create(t, gw, "plugins", schema.Record{"name": "statsd", "protocols": streams, "config": schema.Record{"host": "127.0.0.1",
		"port":    float64(datagrams.LocalAddr().(*net.UDPAddr).Port),
		"metrics": []any{schema.Record{"name": "request_size", "stat_type": "counter", "sample_rate": 1.0}}}})
	gatewaytest.Create(t, gw, "plugins", schema.Record{"name": "ip-restriction", "protocols": streams[:2], "config": schema.Record{"deny": []any{"127.0.0.3"}}})
	e, _ := gw.Entity("plugins")
	if _, err := gw.Create(t.Context(), e, schema.Record{"name": "key-auth", "protocols": []any{"tcp"}}); err == nil || !strings.Contains(err.Error(), "protocols") {
		t.Errorf("key-auth for streams: %v", err)
	}

	for from, text := range map[byte]string{1: "hello", 2: "", 3: "", 9: ""} {
		say(t, dial(t, plain, 127, 0, 0, from), text)
	}
	c, err := tls.Dial("tcp", secure, &tls.Config{ServerName: "n.example", InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "over tls")
	c.CloseWrite()
	io.ReadAll(c)
	c.Close()
	r.stop()
	answer := metrics.Plugin().Admin[0].Methods["GET"](gateway.AdminRequest{})
	statsdLine := make([]byte, 1500)
	datagrams.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := datagrams.ReadFrom(statsdLine)
	if line := string(statsdLine[:n]); err != nil || !strings.HasPrefix(line, "kong.service.") || !strings.Contains(line, ".request.size:") {
		t.Errorf("statsd: %q %v", line, err)
	}
	gw.Close() // writes what waits
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}

	type record struct {
		Session struct {
			Received, Sent, Status int
			ServerPort             int `json:"server_port"`
			TLS                    *struct{ Version string }
		}
		Upstream struct{ Received, Sent int }
		Tries    []struct {
			IP, State string
			Port      json.Number
		}
		Latencies      struct{ Kong, Session *int }
		Route, Service struct{ Name string }
		ClientIP       string `json:"client_ip"`
		StartedAt      int64  `json:"started_at"`
		Request        any
	}
	got := map[string]record{}
	for line := range strings.Lines(string(raw)) {
		var rec record
		if err := json.Unmarshal([]byte(line), &rec); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got[rec.Route.Name] = rec
	}
	for route, want := range map[string]struct {
		ip                     string
		status, received, sent int
	}{"good": {"127.0.0.1", 200, 5, 8}, "gone": {"127.0.0.2", 502, 0, 0}, "shut": {"127.0.0.3", 403, 0, 0}, "named": {"127.0.0.1", 200, 8, 11}} {
		rec := got[route]
		s := rec.Session
		if s.Status != want.status || s.Received != want.received || s.Sent != want.sent || rec.Upstream.Received != s.Sent || rec.Upstream.Sent != s.Received ||
			rec.ClientIP != want.ip || rec.StartedAt == 0 || rec.Latencies.Kong == nil || rec.Latencies.Session == nil || s.ServerPort == 0 || rec.Request != nil {
			t.Errorf("%s: %+v", route, rec)
		}
		if (s.TLS != nil) != (route == "named") {
			t.Errorf("%s: TLS %+v", route, s.TLS)
		}
	}
	if tries := got["good"].Tries; len(got) != 4 || len(tries) != 1 || tries[0].IP != "127.0.0.1" || tries[0].Port.String() != upPort || got["good"].Service.Name != "s" {
		t.Errorf("%d records, tries %+v", len(got), tries)
	}
	if tries := got["gone"].Tries; len(tries) != 1 || tries[0].State != "failed" {
		t.Errorf("tries %+v", tries)
	}
	for _, want := range []string{
		`kong_stream_sessions_total{code="200",route="good",service="s",source="service",workspace="default"} 1`,
		`kong_stream_sessions_total{code="502",route="gone",service="gone",source="kong",workspace="default"} 1`,
		`kong_bandwidth_bytes{consumer="",direction="ingress",route="named",service="t",workspace="default"} 8`,
		`kong_bandwidth_bytes{consumer="",direction="egress",route="good",service="s",workspace="default"} 8`,
		`kong_session_latency_ms_count{route="good",service="s",workspace="default"} 1`,
	} {
		if !strings.Contains(string(answer.Text), want) {
			t.Errorf("no %s in\n%s", want, answer.Text)
		}
	}
	if strings.Contains(string(answer.Text), "kong_http_requests_total") {
		t.Error("connections count as requests")
	}
}

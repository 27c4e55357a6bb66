package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/balancer"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// balance makes an upstream with targets, and a service and route to it.
func (r *rig) balance(name string, upstream, service schema.Record, targets ...string) {
	r.t.Helper()
	rec := schema.Record{"name": name}
	for k, v := range upstream {
		rec[k] = v
	}
	u := gatewaytest.Create(r.t, r.gw, "upstreams", rec)
	for _, t := range targets {
		host, weight, _ := strings.Cut(t, "*")
		target := schema.Record{"upstream": schema.Record{"id": u["id"]}, "target": host}
		if weight != "" {
			target["weight"] = float64(len(weight))
		}
		gatewaytest.Create(r.t, r.gw, "targets", target)
	}
	rec = schema.Record{"host": name, "read_timeout": 300.0, "connect_timeout": 300.0}
	for k, v := range service {
		rec[k] = v
	}
	s := gatewaytest.Create(r.t, r.gw, "services", rec)
	gatewaytest.Create(r.t, r.gw, "routes", schema.Record{"paths": []any{"/" + name}, "service": schema.Record{"id": s["id"]}})
}

// named answers with its name and the Host header it got.
func named(t testing.TB, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, name+" "+r.Host)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// refusing is an address where nobody listens.
func refusing(t testing.TB) string {
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

func (r *rig) ask(method, path string, header ...string) (status int, body string, h http.Header) {
	r.t.Helper()
	req, _ := http.NewRequest(method, "http://"+r.plain+path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), resp.Header
}

func TestBalancedByWeight(t *testing.T) {
	r := newRig(t, proxy.Config{})
	a, b := named(t, "a"), named(t, "b")
	r.balance("shop", nil, nil, a+"*wwwww", b+"*w", named(t, "none")+"*")
	e, _ := r.gw.Entity("targets")
	page, _ := r.gw.List(e, gateway.ListQuery{Size: 10})
	for _, rec := range page {
		if rec["target"] != a && rec["target"] != b {
			if _, err := r.gw.Patch(t.Context(), e, rec["id"].(string), schema.Record{"weight": 0.0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string]int{}
	for range 60 {
		_, body, _ := r.ask("GET", "/shop")
		got[strings.Fields(body)[0]]++
	}
	if got["a"] != 50 || got["b"] != 10 {
		t.Errorf("weights 5, 1 and 0: %v", got)
	}
}

// TestFailuresGoToTheNextTarget: whatever one target does, an idempotent request is
// answered by the other; the failing one is marked, and every attempt is recorded.
func TestFailuresGoToTheNextTarget(t *testing.T) {
	serve := func(f func(c net.Conn, br *bufio.Reader)) string {
		return strings.TrimPrefix(script(t, func(c net.Conn, br *bufio.Reader) {
			if r, err := http.ReadRequest(br); err == nil {
				io.Copy(io.Discard, r.Body)
				f(c, br)
			}
		}), "http://")
	}
	wait := func(c net.Conn, br *bufio.Reader) { br.ReadByte() }
	closes := func(net.Conn, *bufio.Reader) {}
	garbage := func(c net.Conn, _ *bufio.Reader) { io.WriteString(c, "what is this?\r\n\r\n") }
	for name, c := range map[string]struct {
		target  string
		code    int // of the failed try
		get     int // when the failing target comes first
		post    int
		alone   int
		timeout bool
	}{
		"down":    {refusing(t), 502, 200, 200, 502, false},
		"closes":  {serve(closes), 502, 200, 502, 502, false},
		"slow":    {serve(wait), 504, 200, 504, 504, true},
		"garbage": {serve(garbage), 502, 502, 502, 502, false}, // bytes of an answer were read
	} {
		t.Run(name, func(t *testing.T) {
			tries := make(chan []gateway.Try, 1)
			r := newRig(t, proxy.Config{}, logged(func(x *gateway.Exchange) { tries <- append([]gateway.Try(nil), x.Tries()...) }))
			gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "logged"})
			good := named(t, "good")
			checks := schema.Record{"passive": schema.Record{"unhealthy": schema.Record{"tcp_failures": 1.0, "timeouts": 1.0}}}
			r.balance("shop", schema.Record{"healthchecks": checks}, nil, c.target, good)
			r.balance("alone", nil, schema.Record{"retries": 1.0}, c.target)
			u, _ := r.gw.Entity("upstreams")
			rec, err := r.gw.Get(u, "shop")
			if err != nil {
				t.Fatal(err)
			}
			id := rec["id"].(string)
			for method, want := range map[string]int{"GET": c.get, "POST": c.post} {
				r.gw.SetTargetHealth(id, c.target, "", true)
				for i := 0; ; i++ { // until it is the failing target's turn
					status, body, _ := r.ask(method, "/shop")
					made := <-tries
					if i > 50 {
						t.Fatalf("%s: the target never had its turn", method)
					}
					if made[0].Address.String() != c.target {
						continue
					}
					if status != want || !made[0].Failed || made[0].State != "failed" || made[0].Code != c.code || made[0].Start.IsZero() {
						t.Errorf("%s: %d %q, tries %+v", method, status, body, made)
					}
					if want == 200 && (len(made) != 2 || made[1].Address.String() != good || made[1].Failed) {
						t.Errorf("%s: tries %+v", method, made)
					}
					break
				}
				if s, _ := r.gw.UpstreamStatus(id); s.Weight.Available != 100 {
					t.Errorf("%s: %+v", method, s)
				}
			}
			for range 5 {
				if status, _, _ := r.ask("GET", "/shop"); status != 200 || len(<-tries) != 1 {
					t.Error("a target that is marked was tried")
				}
			}
			if status, _, _ := r.ask("GET", "/alone"); status != c.alone {
				t.Errorf("alone: %d", status)
			}
			if made := <-tries; name != "garbage" && len(made) != 2 {
				t.Errorf("alone, with one retry: %+v", made)
			}
		})
	}
}

func TestNobodyToAsk(t *testing.T) {
	r := newRigOn(t, gatewaytest.New(t, nil, func(d *gateway.Deps) { d.Resolver = table{} }), proxy.Config{})
	r.balance("empty", nil, nil)
	r.balance("unnamed", nil, nil, "nowhere.internal:80")
	r.route("http://nowhere.internal", schema.Record{}, "/direct")
	h2 := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer h2.CloseIdleConnections()
	for path, want := range map[string]string{
		"/empty": "failure to get a peer from the ring-balancer", "/unnamed": "failure to get a peer from the ring-balancer",
		"/direct": "name resolution failed",
	} {
		if status, body, _ := r.ask("GET", path); status != 503 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
		resp, err := h2.Get("https://" + r.secure + path)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 503 || !strings.Contains(string(body), want) || resp.ProtoMajor != 2 {
			t.Errorf("%s in HTTP/2: %d %s", path, resp.StatusCode, body)
		}
	}
}

// table resolves names from a map.
type table map[string][]balancer.Record

func (m table) Lookup(_ context.Context, name string) (balancer.Answer, error) {
	if m[name] == nil {
		return balancer.Answer{}, balancer.ErrName
	}
	return balancer.Answer{Records: m[name], Until: time.Now().Add(time.Hour)}, nil
}

func (m table) Refresh(ctx context.Context, name string) (balancer.Answer, error) {
	return m.Lookup(ctx, name)
}

// TestHostHeaders: what the upstream is called there, in HTTP/1, HTTP/2 and TLS.
func TestHostHeaders(t *testing.T) {
	a := named(t, "a")
	port := netip.MustParseAddrPort(a).Port()
	loopback := balancer.Record{Addr: netip.MustParseAddr("127.0.0.1")}
	service := loopback
	service.Port, service.Weight, service.Name = port, 1, "node1"
	gw := gatewaytest.New(t, nil, func(d *gateway.Deps) {
		d.Resolver = table{"web.internal": {loopback}, "svc.internal": {service}}
	})
	r := newRigOn(t, gw, proxy.Config{})
	at := func(host string) string { return fmt.Sprintf("%s:%d", host, port) }
	r.balance("by-ip", nil, nil, a)
	r.balance("by-name", nil, nil, at("web.internal"))
	r.balance("by-header", schema.Record{"host_header": "shop.example"}, nil, a)
	r.balance("by-srv", nil, nil, "svc.internal:1")
	r.balance("by-srv-name", schema.Record{"use_srv_name": true}, nil, "svc.internal:1")
	r.route("http://"+at("web.internal"), schema.Record{}, "/direct")
	r.route("http://svc.internal:7", schema.Record{}, "/direct-srv")
	r.route("http://"+at("web.internal"), schema.Record{"preserve_host": true}, "/preserved")
	for path, want := range map[string]string{
		"by-ip": a, "by-name": at("web.internal"), "by-header": at("shop.example"), "by-srv": at("svc.internal"),
		"by-srv-name": at("node1"), "direct": at("web.internal"), "direct-srv": at("svc.internal"), "preserved": "client.example",
	} {
		if _, body, _ := r.ask("GET", "/"+path, "Host", "client.example"); body != "a "+want {
			t.Errorf("%s: %q, want %q", path, body, want)
		}
	}
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.TLS.ServerName) }))
	up.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	up.StartTLS()
	t.Cleanup(up.Close)
	r.balance("secure", nil, schema.Record{"protocol": "https"}, fmt.Sprintf("web.internal:%d", netip.MustParseAddrPort(up.Listener.Addr().String()).Port()))
	if status, body, _ := r.ask("GET", "/secure"); status != 200 || body != "web.internal" {
		t.Errorf("TLS to a target asked for %d %q", status, body)
	}
}

func TestHashing(t *testing.T) {
	r := newRig(t, proxy.Config{})
	var at []string
	for i := range 8 {
		at = append(at, named(t, fmt.Sprint("n", i)))
	}
	r.balance("cookie", schema.Record{"hash_on": "cookie", "hash_on_cookie": "sid", "hash_on_cookie_path": "/c"}, nil, at...)
	r.balance("header", schema.Record{"hash_on": "header", "hash_on_header": "X-Key", "hash_fallback": "ip"}, nil, at...)
	r.balance("query", schema.Record{"hash_on": "query_arg", "hash_on_query_arg": "k"}, nil, at...)
	r.balance("path", schema.Record{"hash_on": "path"}, nil, at...)
	r.balance("ip", schema.Record{"hash_on": "ip"}, nil, at...)
	spread := func(path func(i int) string, header func(i int) string) int {
		seen := map[string]bool{}
		for i := range 40 {
			h := []string{}
			if header != nil {
				h = []string{"X-Key", header(i)}
			}
			_, body, _ := r.ask("GET", path(i), h...)
			seen[body] = true
		}
		return len(seen)
	}
	fixed := func(s string) func(int) string { return func(int) string { return s } }
	counted := func(s string) func(int) string { return func(i int) string { return s + fmt.Sprint(i) } }
	for name, c := range map[string]struct {
		targets int
		many    bool
	}{
		"one header":   {spread(fixed("/header"), fixed("k")), false},
		"many headers": {spread(fixed("/header"), counted("k")), true},
		"fallback":     {spread(fixed("/header"), nil), false},
		"one arg":      {spread(counted("/query?k=%61&n="), nil), false},
		"many args":    {spread(counted("/query?n=1&k="), nil), true},
		"no arg":       {spread(fixed("/query"), nil), true},
		"one path":     {spread(counted("/path/a?n="), nil), false},
		"many paths":   {spread(counted("/path/"), nil), true},
		"one address":  {spread(counted("/ip/"), nil), false},
	} {
		if c.many != (c.targets > 3) || !c.many && c.targets != 1 {
			t.Errorf("%s: %d targets", name, c.targets)
		}
	}
	_, first, h := r.ask("GET", "/cookie")
	set := h.Get("Set-Cookie")
	if !strings.HasPrefix(set, "sid=") || !strings.HasSuffix(set, "; Path=/c") {
		t.Fatalf("Set-Cookie: %q", set)
	}
	pair, _, _ := strings.Cut(set, ";")
	for range 10 {
		if _, body, h := r.ask("GET", "/cookie", "Cookie", "other=1; "+pair); body != first || h.Get("Set-Cookie") != "" {
			t.Fatalf("with the cookie: %q, first %q, %v", body, first, h)
		}
	}
}

// TestProbesBringBack marks a target by requests and waits for probes to see it well.
func TestProbesBringBack(t *testing.T) {
	var sick atomic.Bool
	var probes atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/up" {
			if r.Header.Get("X-Probe") == "yes" && r.Host == r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() {
				probes.Add(1)
			}
		}
		if sick.Load() {
			w.WriteHeader(503)
		}
	}))
	t.Cleanup(s.Close)
	r := newRig(t, proxy.Config{})
	r.balance("shop", schema.Record{"healthchecks": schema.Record{
		"active": schema.Record{"http_path": "/up", "headers": schema.Record{"X-Probe": []any{"yes"}},
			"healthy":   schema.Record{"interval": 0.0, "successes": 1.0},
			"unhealthy": schema.Record{"interval": 0.02}},
		"passive": schema.Record{"unhealthy": schema.Record{"http_failures": 1.0}},
	}}, nil, s.Listener.Addr().String())
	sick.Store(true)
	if status, _, _ := r.ask("GET", "/shop"); status != 503 {
		t.Fatal(status)
	}
	if status, body, _ := r.ask("GET", "/shop"); status != 503 || !strings.Contains(body, "ring-balancer") {
		t.Fatalf("%d %s", status, body)
	}
	sick.Store(false)
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _, _ := r.ask("GET", "/shop"); status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the target never came back")
		}
	}
	if probes.Load() == 0 {
		t.Error("no probe came as it was configured")
	}
}

// TestBalancedHTTP2: clients in HTTP/2, gRPC over TLS, and time-outs to connect.
func TestBalancedHTTP2(t *testing.T) {
	r := newRig(t, proxy.Config{})
	r.balance("shop", schema.Record{"hash_on": "path"}, nil, refusing(t), named(t, "good"))
	deaf := strings.TrimPrefix(script(t, func(c net.Conn, br *bufio.Reader) { io.Copy(io.Discard, br) }), "http://")
	r.balance("deaf", nil, schema.Record{"protocol": "https", "connect_timeout": 100.0, "read_timeout": 60000.0, "retries": 1.0}, deaf)
	client := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	for method, body := range map[string]string{"GET": "", "POST": "x"} {
		for i := range 8 { // by its hash, half of them would go to the target that refuses
			if status, got, _ := r.ask(method, fmt.Sprint("/shop/", i)); status != 200 || !strings.HasPrefix(got, "good") {
				t.Errorf("%s in HTTP/1: %d %s", method, status, got)
			}
			req, _ := http.NewRequest(method, fmt.Sprintf("https://%s/shop/%d", r.secure, i), strings.NewReader(body))
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode != 200 || !strings.HasPrefix(string(got), "good") || resp.ProtoMajor != 2 {
				t.Errorf("%s: %d %s", method, resp.StatusCode, got)
			}
		}
	}
	start := time.Now()
	resp, err := client.Get("https://" + r.secure + "/deaf")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 504 || time.Since(start) > 3*time.Second {
		t.Errorf("an upstream that does not finish its handshake: %d after %v", resp.StatusCode, time.Since(start))
	}
	grpc := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		fmt.Fprint(w, r.Proto)
	}))
	grpc.EnableHTTP2 = true
	grpc.StartTLS()
	t.Cleanup(grpc.Close)
	r.balance("svc", nil, schema.Record{"protocol": "grpcs", "name": "svc"}, refusing(t), grpc.Listener.Addr().String())
	services, _ := r.gw.Entity("services")
	svc, err := r.gw.Get(services, "svc")
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.Create(t, r.gw, "routes", schema.Record{"protocols": []any{"grpcs"}, "paths": []any{"/pkg."}, "service": schema.Record{"id": svc["id"]}})
	for range 4 {
		req, _ := http.NewRequest("POST", "https://"+r.secure+"/pkg.Svc/Do", strings.NewReader("x"))
		req.Header.Set("Content-Type", "application/grpc")
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(got) != "HTTP/2.0" || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("gRPC over TLS: %d %q %v", resp.StatusCode, got, resp.Trailer)
		}
	}
}

// TestBalancedUpgrade: a WebSocket goes to a target that answers, and counts there as long
// as it is open.
func TestBalancedUpgrade(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, "plain")
			return
		}
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
		io.Copy(c, brw)
	}))
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	busy, idle := up.Listener.Addr().String(), named(t, "idle")
	r.balance("ws", schema.Record{"algorithm": "least-connections"}, nil, refusing(t), busy)
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	br := bufio.NewReader(c)
	if resp, err := http.ReadResponse(br, nil); err != nil || resp.StatusCode != 101 {
		t.Fatalf("%+v %v", resp, err)
	}
	io.WriteString(c, "ping")
	buf := make([]byte, 4)
	if _, err := io.ReadFull(br, buf); err != nil || string(buf) != "ping" {
		t.Fatalf("%q %v", buf, err)
	}
	u, _ := r.gw.Entity("upstreams")
	rec, err := r.gw.Get(u, "ws")
	if err != nil {
		t.Fatal(err)
	}
	gatewaytest.Create(t, r.gw, "targets", schema.Record{"target": idle, "upstream": schema.Record{"id": rec["id"]}})
	for range 5 {
		if status, body, _ := r.ask("GET", "/ws"); status != 200 || !strings.HasPrefix(body, "idle") {
			t.Errorf("beside an open tunnel: %d %q", status, body)
		}
	}
}

// TestRetarget sends a request elsewhere than its route says.
func TestRetarget(t *testing.T) {
	b := named(t, "b")
	to := netip.MustParseAddrPort(b)
	r := newRig(t, proxy.Config{}, gateway.Plugin{Name: "elsewhere", Priority: 1, Config: &schema.Field{Kind: schema.Nested},
		New: func(schema.Record, gateway.Env) (any, error) { return elsewhere{to}, nil }})
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "elsewhere"})
	r.balance("shop", nil, nil, named(t, "shop"))
	r.route("http://"+named(t, "a"), schema.Record{"preserve_host": true}, "/a")
	for header, want := range map[string]string{"": "a client", "address": "b " + b, "upstream": "shop "} {
		if _, body, _ := r.ask("GET", "/a", "Host", "client", "X-To", header); !strings.HasPrefix(body, want) {
			t.Errorf("to %q: %q, want %q", header, body, want)
		}
	}
}

type elsewhere struct{ to netip.AddrPort }

func (e elsewhere) Access(x *gateway.Exchange) {
	switch x.Request.Header.Get("X-To") {
	case "address":
		x.Upstream.Retarget(func(s *gateway.Service) { s.Host, s.Port = e.to.Addr().String(), int(e.to.Port()) })
	case "upstream":
		x.Upstream.Retarget(func(s *gateway.Service) { s.Host = "shop" })
	}
}

package balancer_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway/balancer"
)

// health answers as gRPC's health service does.
func health(w http.ResponseWriter, r *http.Request, status byte, code string) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/grpc")
	if code == "0" {
		w.Write([]byte{0, 0, 0, 0, 2, 8, status})
	}
	w.Header().Set(http.TrailerPrefix+"Grpc-Status", code)
}

// TestProbesOverTheNetwork asks real servers in each protocol.
func TestProbesOverTheNetwork(t *testing.T) {
	serve := func(secure bool, h http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(true)
		s.Config.Protocols.SetHTTP2(true)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.EnableHTTP2, s.Config.ErrorLog = true, log.New(io.Discard, "", 0)
		if secure {
			s.TLS = &tls.Config{NextProtos: []string{"h2", "http/1.1"}}
			s.StartTLS()
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	answer := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/status" || r.Method != "GET" || r.Header.Get("X-A") != "b" {
				status = 500
			}
			w.WriteHeader(status)
		}
	}
	grpc := func(status byte, code string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/grpc.health.v1.Health/Check" || r.ProtoMajor != 2 {
				code = "13"
			}
			health(w, r, status, code)
		}
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := ln.Addr().String()
	ln.Close()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel takes connections, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	for name, c := range map[string]struct {
		kind    balancer.ProbeKind
		addr    string
		verify  bool
		healthy bool
	}{
		"http":                  {balancer.ProbeHTTP, serve(false, answer(200)), false, true},
		"http, bad status":      {balancer.ProbeHTTP, serve(false, answer(503)), false, false},
		"https, unverified":     {balancer.ProbeHTTPS, serve(true, answer(200)), false, true},
		"https, unknown issuer": {balancer.ProbeHTTPS, serve(true, answer(200)), true, false},
		"tcp":                   {balancer.ProbeTCP, silent.Addr().String(), false, true},
		"tcp, refused":          {balancer.ProbeTCP, refused, false, false},
		"silent":                {balancer.ProbeHTTP, silent.Addr().String(), false, false},
		"grpc":                  {balancer.ProbeGRPC, serve(false, grpc(1, "0")), false, true},
		"grpc, not serving":     {balancer.ProbeGRPC, serve(false, grpc(2, "0")), false, false},
		"grpc, no such service": {balancer.ProbeGRPC, serve(false, grpc(0, "12")), false, true},
		"grpc, broken":          {balancer.ProbeGRPC, serve(false, grpc(0, "13")), false, false},
		"grpcs":                 {balancer.ProbeGRPCS, serve(true, grpc(1, "0")), false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, port, _ := net.SplitHostPort(c.addr)
			p, _ := net.LookupPort("tcp", port)
			rules := balancer.Rules{Healthy: balancer.NewStatuses(200), Unhealthy: balancer.NewStatuses(500, 503),
				Successes: 1, TCPFailures: 1, Timeouts: 1, Failures: 1}
			u := newUpstream(t, &balancer.Config{
				Targets: []balancer.Target{{Name: c.addr, Host: host, Port: p, Weight: 1}},
				Checks: balancer.Checks{Active: balancer.Probing{Rules: rules, Kind: c.kind, Path: "/status", Headers: [][2]string{{"X-A", "b"}},
					Verify: c.verify, Timeout: 300 * time.Millisecond, Concurrency: 1,
					HealthyInterval: 10 * time.Millisecond, UnhealthyInterval: 10 * time.Millisecond}},
			})
			u.SetHealth(c.addr, "", !c.healthy) // so that the probe has to change it
			for deadline := time.Now().Add(5 * time.Second); u.Status().Targets[0].Addresses[0].Healthy != c.healthy; time.Sleep(2 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("it never became healthy: %v", c.healthy)
				}
			}
		})
	}
}

// TestProbesAreBounded: no more at a time than the upstream allows.
func TestProbesAreBounded(t *testing.T) {
	var now, most atomic.Int64
	done := make(chan struct{}, 100)
	u := newUpstream(t, &balancer.Config{Targets: targets(1, 1, 1, 1, 1, 1, 1, 1), Checks: balancer.Checks{Active: balancer.Probing{
		Rules: balancer.Rules{Successes: 1}, Timeout: time.Second, Concurrency: 3, HealthyInterval: 5 * time.Millisecond,
	}}}, func(d *balancer.Deps) {
		d.Prober = scripted(func(*balancer.Address) (int, error) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Millisecond)
			now.Add(-1)
			select {
			case done <- struct{}{}:
			default:
			}
			return 200, nil
		})
	})
	for range 24 {
		<-done
	}
	u.Close()
	if most.Load() > 3 || most.Load() < 2 {
		t.Errorf("%d probes at a time, 3 are allowed", most.Load())
	}
}

package ratelimiting_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/ratelimiting"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func setup(t testing.TB, at string, config schema.Record) (*gateway.Gateway, *gatewaytest.Clock, schema.Record) {
	t.Helper()
	now, err := time.Parse(time.RFC3339, at)
	if err != nil {
		t.Fatal(err)
	}
	clock := gatewaytest.NewClock(now)
	g := gatewaytest.New(t, []gateway.Plugin{keyauth.New(), ratelimiting.New()}, func(d *gateway.Deps) { d.Clock = clock })
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	return g, clock, gatewaytest.Create(t, g, "plugins", schema.Record{"name": "rate-limiting", "config": config})
}

func TestHeadersAndRefusal(t *testing.T) {
	g, clock, _ := setup(t, "2026-11-21T10:20:45Z", schema.Record{"minute": 2.0, "hour": 100.0})
	for i, want := range []struct {
		status                   int
		minute, hour, left, rest string
	}{{0, "1", "99", "1", ""}, {0, "0", "98", "0", ""}, {429, "0", "98", "0", "15"}, {429, "0", "98", "0", "15"}} {
		got := gatewaytest.Do(g, gatewaytest.Request{})
		h := got.Header
		if got.Status != want.status || h.Get("X-RateLimit-Limit-Minute") != "2" || h.Get("X-RateLimit-Remaining-Minute") != want.minute ||
			h.Get("X-RateLimit-Remaining-Hour") != want.hour || h.Get("RateLimit-Limit") != "2" || h.Get("RateLimit-Remaining") != want.left ||
			h.Get("RateLimit-Reset") != "15" || h.Get("Retry-After") != want.rest {
			t.Errorf("request %d: %d %v", i, got.Status, h.Fields())
		}
		if want.status == 429 && !strings.Contains(got.Body, `"message":"API rate limit exceeded"`) {
			t.Errorf("%s", got.Body)
		}
	}
	clock.Pass(14 * time.Second)
	if gatewaytest.Do(g, gatewaytest.Request{}).Status != 429 {
		t.Error("the window ended too early")
	}
	clock.Pass(time.Second)
	if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 0 || got.Header.Get("X-RateLimit-Remaining-Hour") != "97" {
		t.Errorf("a refused request counted: %v", got.Header.Fields())
	}
	clock.Pass(-time.Minute)
	passed := 0
	for range 4 {
		if gatewaytest.Do(g, gatewaytest.Request{}).Status == 0 {
			passed++
		}
	}
	if passed != 1 {
		t.Errorf("after the clock stepped back %d requests passed, want the one that was left", passed)
	}
}

func TestCalendarWindows(t *testing.T) {
	for period, c := range map[string]struct {
		at   string
		left time.Duration
	}{
		"second": {"2026-11-21T10:20:45Z", time.Second}, "hour": {"2026-11-21T10:59:00Z", time.Minute}, "day": {"2026-11-21T23:00:00Z", time.Hour},
		"month": {"2028-02-29T23:00:00Z", time.Hour}, "year": {"2026-12-31T00:00:00Z", 24 * time.Hour},
	} {
		g, clock, _ := setup(t, c.at, schema.Record{period: 1.0})
		if s := gatewaytest.Do(g, gatewaytest.Request{}).Status; s != 0 {
			t.Errorf("%s: %d", period, s)
		}
		clock.Pass(c.left - time.Second)
		if got := gatewaytest.Do(g, gatewaytest.Request{}); c.left > time.Second && (got.Status != 429 || got.Header.Get("Retry-After") != "1") {
			t.Errorf("%s: the window ended too early: %d %v", period, got.Status, got.Header.Fields())
		}
		clock.Pass(time.Second)
		if s := gatewaytest.Do(g, gatewaytest.Request{}).Status; s != 0 {
			t.Errorf("%s: the window did not end: %d", period, s)
		}
	}
}

// TestExact sends many more requests than allowed from 64 goroutines: exactly the limit
// passes, also while the configuration changes.
func TestExact(t *testing.T) {
	g, _, plugin := setup(t, "2026-11-21T10:20:45Z", schema.Record{"hour": 10000.0})
	e, _ := g.Entity("plugins")
	var passed atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 300 {
				if gatewaytest.Do(g, gatewaytest.Request{}).Status == 0 {
					passed.Add(1)
				}
			}
		})
	}
	wg.Go(func() {
		for i := range 10 {
			if _, err := g.Patch(t.Context(), e, plugin["id"].(string), schema.Record{"config": schema.Record{"error_message": fmt.Sprint("m", i)}}); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	if n := passed.Load(); n != 10000 {
		t.Errorf("%d requests passed, want 10000", n)
	}
}

func TestSubjects(t *testing.T) {
	for by, c := range map[string]struct {
		config schema.Record
		same   []gatewaytest.Request // share one count
		other  gatewaytest.Request   // has another
	}{
		"ip":      {nil, []gatewaytest.Request{{IP: "1.1.1.1"}, {IP: "1.1.1.1", Target: "/x"}}, gatewaytest.Request{IP: "1.1.1.2"}},
		"header":  {schema.Record{"header_name": "X-Who"}, []gatewaytest.Request{{Header: []string{"x-who", "a"}, IP: "1.1.1.1"}, {Header: []string{"X-Who", "a"}, IP: "1.1.1.2"}}, gatewaytest.Request{Header: []string{"X-Who", "b"}, IP: "1.1.1.1"}},
		"path":    {schema.Record{"path": "/p"}, []gatewaytest.Request{{Target: "/p", IP: "1.1.1.1"}, {Target: "/p?x", IP: "1.1.1.2"}}, gatewaytest.Request{Target: "/q", IP: "1.1.1.1"}},
		"service": {nil, []gatewaytest.Request{{IP: "1.1.1.1"}, {IP: "1.1.1.2"}}, gatewaytest.Request{Target: "/other", IP: "1.1.1.1"}},
	} {
		config := schema.Record{"minute": 1.0, "limit_by": by}
		for k, v := range c.config {
			config[k] = v
		}
		g, _, _ := setup(t, "2026-11-21T10:20:45Z", config)
		gatewaytest.Create(t, g, "services", schema.Record{"name": "o", "host": "h"})
		gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/other"}, "service": schema.Record{"name": "o"}})
		if got := gatewaytest.Do(g, c.same[0]); got.Status != 0 {
			t.Errorf("%s: %+v", by, got)
		}
		if got := gatewaytest.Do(g, c.same[1]); got.Status != 429 {
			t.Errorf("%s: two requests of one subject do not share a count: %d", by, got.Status)
		}
		if got := gatewaytest.Do(g, c.other); got.Status != 0 {
			t.Errorf("%s: two subjects share a count", by)
		}
	}
}

// TestConsumerScope gives one consumer a limit of its own, which wins over the global one
// although the consumer is known only once key-auth has run.
func TestConsumerScope(t *testing.T) {
	g, _, _ := setup(t, "2026-11-21T10:20:45Z", schema.Record{"minute": 1.0})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "key-auth"})
	for _, name := range []string{"vip", "plain"} {
		c := gatewaytest.Create(t, g, "consumers", schema.Record{"username": name})
		gatewaytest.Create(t, g, "keyauth_credentials", schema.Record{"key": name, "consumer": schema.Record{"id": c["id"]}})
	}
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "rate-limiting", "consumer": schema.Record{"username": "vip"},
		"config": schema.Record{"minute": 3.0, "hide_client_headers": true, "error_code": 403.0, "error_message": "enough"}})
	count := func(key string) (passed int, last gatewaytest.Result) {
		for range 6 {
			last = gatewaytest.Do(g, gatewaytest.Request{Header: []string{"apikey", key}})
			if last.Status == 0 {
				passed++
			}
		}
		return passed, last
	}
	if n, last := count("vip"); n != 3 || last.Status != 403 || !strings.Contains(last.Body, "enough") || last.Header.Get("RateLimit-Limit") != "" {
		t.Errorf("%d %+v %v", n, last, last.Header.Fields())
	}
	if n, last := count("plain"); n != 1 || last.Status != 429 {
		t.Errorf("%d %+v", n, last)
	}
}

// TestRedisAway: without the server requests pass, or fail, as configured, from the first on;
// and count when it is there.
func TestRedisAway(t *testing.T) {
	host, port, stop := dbtest.Redis(t)
	server := func(port float64) schema.Record { return schema.Record{"host": host, "port": port, "timeout": 1000.0} }
	config := func(port float64, tolerant bool) schema.Record {
		return schema.Record{"year": 1.0, "policy": "redis", "fault_tolerant": tolerant, "redis": server(port)}
	}
	g, _, _ := setup(t, "2026-11-21T10:20:45Z", config(float64(port), true))
	for i, want := range []int{0, 429} {
		if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != want {
			t.Errorf("%d: %+v", i, got)
		}
	}
	stop()
	if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 0 {
		t.Errorf("the server is gone: %+v", got)
	}
	for tolerant, want := range map[bool]int{true: 0, false: 500} {
		g, _, _ := setup(t, "2026-11-21T10:20:45Z", config(float64(port), tolerant))
		if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != want {
			t.Errorf("the server was never there, tolerant %v: %+v", tolerant, got)
		}
	}
}

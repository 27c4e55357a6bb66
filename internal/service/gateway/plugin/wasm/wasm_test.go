package wasm_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/wasm"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// module is the test's filter, built once by the toolchain that runs the test.
var module = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "filter")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "filter.wasm")
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-ldflags=-s", "-o", out, "./testdata/filter")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		os.Stderr.Write(text)
		return nil, err
	}
	return os.ReadFile(out)
})

// filters writes a directory of filters with the test's one as "one" and "two".
func filters(t *testing.T) string {
	t.Helper()
	binary, err := module()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{"one.wasm": binary, "two.wasm": binary, "notes.txt": nil,
		"two.meta.json": []byte(`{"config_schema":{"type":"object","properties":{"mode":{"type":"string"}},"required":["mode"]}}`)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// engine returns an engine over the test's filters and what it logs.
func engine(t *testing.T, edits ...func(*wasm.Config)) (*wasm.Engine, *log) {
	t.Helper()
	c := wasm.Config{Path: filters(t), Limit: 10 * time.Second}
	for _, edit := range edits {
		edit(&c)
	}
	out := new(log)
	e, err := wasm.New(t.Context(), c, wasm.Deps{Clock: clock.System{}, Log: slog.New(slog.NewTextHandler(out, nil)), NodeID: "n"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(t.Context()) })
	return e, out
}

type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.buf.String(), text)
}

func gatewayWith(t *testing.T, e *wasm.Engine) *gateway.Gateway {
	t.Helper()
	g := gatewaytest.New(t, nil, func(d *gateway.Deps) { d.Filters = e })
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	return g
}

func chainOf(t *testing.T, g *gateway.Gateway, on, name string, configs ...any) schema.Record {
	t.Helper()
	var list []any
	for _, c := range configs {
		list = append(list, schema.Record{"name": "one", "config": c})
	}
	return gatewaytest.Create(t, g, "filter_chains", schema.Record{on: schema.Record{"name": name}, "filters": list})
}

func TestFilter(t *testing.T) {
	e, out := engine(t)
	send := gatewaytest.Request{Target: "/p?q=1", Header: []string{"X-Client", "me"}, Body: "hello", AnswerBody: "answer"}
	for _, tc := range []struct {
		name, config string
		check        func(gatewaytest.Result) bool
	}{
		{"headers", "plain", func(r gatewaytest.Result) bool {
			return r.Answered == 200 && r.Body == "answer" && r.Header.Get("x-filtered") == "200" && r.Upstream.Get("x-config") == "plain" &&
				r.Upstream.Get("x-seen") == "GET /p?q=1 me" && len(r.Upstream.Get("x-route")) == 36
		}},
		{"calls are not implemented", "plain", func(r gatewaytest.Result) bool { return r.Upstream.Get("x-http-call") == "12" }},
		{"bodies", "body", func(r gatewaytest.Result) bool { return r.Sent == "HELLO" && r.Body == "<ANS><WER>" }},
		{"a body held back", "body whole", func(r gatewaytest.Result) bool { return r.Body == "<ANSWER>" }},
		{"local response", "deny", func(r gatewaytest.Result) bool {
			return r.Status == 403 && r.Body == "denied" && r.Header.Get("X-Denied") == "yes" && r.Header.Count("Content-Length") == 0
		}},
		{"another answer", "replace", func(r gatewaytest.Result) bool { return r.Answered == 502 && r.Body == "another" }},
		{"path", "path", func(r gatewaytest.Result) bool { return r.Query == "a=1" }},
		{"addresses that are none", "wild", func(r gatewaytest.Result) bool { return r.Upstream.Get("x-wild") == "62" }},
		{"log", "log", func(r gatewaytest.Result) bool { return out.has("status 200") }},
		{"trap", "trap", func(r gatewaytest.Result) bool {
			return r.Status == 500 && gatewaytest.Says(r, "An unexpected error occurred")
		}},
		{"trap in the answer", "trap-answer", func(r gatewaytest.Result) bool { return r.Answered == 500 && !strings.Contains(r.Body, "answer") }},
		{"trap in the body", "trap-body", func(r gatewaytest.Result) bool { return r.Body == "" }},
		{"memory", "bomb", func(r gatewaytest.Result) bool { return r.Status == 500 }},
		{"refused configuration", "refuse", func(r gatewaytest.Result) bool { return r.Status == 500 && out.has("refuses") }},
		{"pause that the body ends", "stuck", func(r gatewaytest.Result) bool { return r.Answered == 200 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := gatewayWith(t, e)
			chainOf(t, g, "route", "r", tc.config)
			for range 2 { // the second finds a machine that is used, or a new one
				if r := gatewaytest.Do(g, send); !tc.check(r) {
					t.Errorf("%+v\nheader %v\nupstream %v\n%s", r, r.Header.Fields(), r.Upstream.Fields(), out.buf.String())
				}
			}
		})
	}
	t.Run("pause without a body", func(t *testing.T) {
		g := gatewayWith(t, e)
		chainOf(t, g, "route", "r", "stuck")
		if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 500 {
			t.Errorf("%+v", r)
		}
	})
}

// TestLoop: a call that does not end is ended, and the node serves others.
func TestLoop(t *testing.T) {
	e, out := engine(t, func(c *wasm.Config) { c.Limit = 200 * time.Millisecond })
	g := gatewayWith(t, e)
	chainOf(t, g, "route", "r", "plain")
	began := time.Now()
	if r := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"X-Loop", "1"}}); r.Status != 500 {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if !out.has("deadline") {
		t.Error("the log does not tell why")
	}
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Answered != 200 {
		t.Errorf("afterwards: %+v", r)
	}
}

// TestChains: the service's filters run before the route's, and what is not enabled does not run.
func TestChains(t *testing.T) {
	e, _ := engine(t)
	g := gatewayWith(t, e)
	route := chainOf(t, g, "route", "r", "b", "c")
	chainOf(t, g, "service", "s", "a")
	configs := func() (out []string) {
		for _, f := range gatewaytest.Do(g, gatewaytest.Request{}).Upstream.Fields() {
			if f.Name == "x-config" {
				out = append(out, f.Value)
			}
		}
		return out
	}
	if got := strings.Join(configs(), " "); got != "a b c" {
		t.Errorf("they ran as %s", got)
	}
	entity, _ := g.Entity("filter_chains")
	if _, err := g.Patch(t.Context(), entity, route["id"].(string), schema.Record{"filters": []any{
		schema.Record{"name": "one", "config": "b", "enabled": false}, schema.Record{"name": "two", "config": schema.Record{"mode": "m"}}}}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(configs(), " "); got != `a {"mode":"m"}` {
		t.Errorf("they ran as %s", got)
	}
	if _, err := g.Patch(t.Context(), entity, route["id"].(string), schema.Record{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(configs(), " "); got != "a" {
		t.Errorf("they ran as %s", got)
	}
}

// TestTogether: requests at once share machines, and after traps there are new ones.
func TestTogether(t *testing.T) {
	e, _ := engine(t, func(c *wasm.Config) { c.Machines = 4 })
	g := gatewayWith(t, e)
	chainOf(t, g, "service", "s", "body")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			r := gatewaytest.Do(g, gatewaytest.Request{Target: "/p", Body: "hello", AnswerBody: "answer", Header: []string{"X-Client", fmt.Sprint(i)}})
			if r.Sent != "HELLO" || r.Body != "<ANS><WER>" || r.Upstream.Get("x-seen") != "GET /p "+fmt.Sprint(i) {
				t.Errorf("%d: %+v %v", i, r, r.Upstream.Fields())
			}
		})
	}
	wg.Wait()
	for i := range 16 {
		wg.Go(func() {
			req, want := gatewaytest.Request{}, 200
			if i%4 == 0 {
				req.Header, want = []string{"X-Trap", "1"}, 500
			}
			if r := gatewaytest.Do(g, req); want == 500 && r.Status != 500 {
				t.Errorf("%d: %+v", i, r)
			}
		})
	}
	wg.Wait()
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Answered != 200 {
		t.Errorf("afterwards: %+v", r)
	}
}

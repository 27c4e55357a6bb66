package proxycache_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/proxycache"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

type rig struct {
	t     *testing.T
	g     *gateway.Gateway
	kind  gateway.Plugin
	clock *gatewaytest.Clock
	id    string
}

func newRig(t *testing.T, config schema.Record) *rig {
	r := &rig{t: t, kind: proxycache.New(proxycache.Deps{MaxBytes: 64 << 10}), clock: gatewaytest.NewClock(time.Unix(1_800_000_000, 0))}
	r.g = gatewaytest.New(t, []gateway.Plugin{r.kind}, func(d *gateway.Deps) { d.Clock = r.clock })
	gatewaytest.Route(t, r.g)
	config["strategy"] = "memory"
	r.id, _ = gatewaytest.Create(t, r.g, "plugins", schema.Record{"name": "proxy-cache", "config": config})["id"].(string)
	return r
}

// ask sends a request that the upstream would answer with body.
func (r *rig) ask(target, body string, answer, header []string) gatewaytest.Result {
	return gatewaytest.Do(r.g, gatewaytest.Request{Target: target, Answer: append([]string{"Content-Type", "text/plain"}, answer...),
		AnswerBody: body, Header: header})
}

// is fails the test where a result has another cache status or body.
func (r *rig) is(what string, got gatewaytest.Result, status, body string) {
	r.t.Helper()
	if s := got.Header.Get("X-Cache-Status"); s != status || got.Body != body {
		r.t.Errorf("%s: %s %.40q, want %s %.40q", what, s, got.Body, status, body)
	}
}

func (r *rig) admin(method, path string, params map[string]string) gateway.AdminAnswer {
	for _, e := range r.kind.Admin {
		if e.Path == path {
			return e.Methods[method](gateway.AdminRequest{Context: r.t.Context(), Params: params})
		}
	}
	r.t.Fatalf("no path %s", path)
	return gateway.AdminAnswer{}
}

func TestLife(t *testing.T) {
	r := newRig(t, schema.Record{"cache_ttl": 10.0, "storage_ttl": 60.0})
	first := r.ask("/a?x=1&y=2", "one", []string{"X-Up", "1", "X-RateLimit-Remaining-Minute", "4", "Connection", "X-Up"}, nil)
	r.is("first", first, "Miss", "one")
	r.clock.Pass(7 * time.Second)
	hit := r.ask("/a?y=2&x=1", "two", nil, nil)
	r.is("second", hit, "Hit", "one")
	if h := hit.Header; hit.Status != 200 || h.Get("Age") != "7" || h.Get("X-Up") != "1" || h.Get("X-Cache-Key") != first.Header.Get("X-Cache-Key") ||
		h.Get("X-RateLimit-Remaining-Minute") != "" || h.Get("Connection") != "" {
		t.Errorf("%d %v", hit.Status, h.Fields())
	}
	r.is("another argument", r.ask("/a?y=2&x=2", "three", nil, nil), "Miss", "three")
	r.is("another case", r.ask("/A?x=1&y=2", "four", nil, nil), "Miss", "four")
	r.clock.Pass(4 * time.Second)
	r.is("stale", r.ask("/a?x=1&y=2", "five", nil, nil), "Refresh", "five")
	r.is("renewed", r.ask("/a?x=1&y=2", "six", nil, nil), "Hit", "five")
	r.clock.Pass(2 * time.Minute)
	r.is("no longer kept", r.ask("/a?x=1&y=2", "seven", nil, nil), "Miss", "seven")
}

func TestWhatIsNotCached(t *testing.T) {
	r := newRig(t, schema.Record{"response_headers": schema.Record{"X-Cache-Key": false}})
	for name, q := range map[string]gatewaytest.Request{
		"method": {Method: "POST"}, "status": {Status: 500}, "type": {Answer: []string{"Content-Type", "text/html"}},
		"parameter": {Answer: []string{"Content-Type", "text/plain; charset=utf-8"}}, "no type": {Answer: []string{"X", "y"}},
		"vary": {Answer: []string{"Content-Type", "text/plain", "Vary", "*"}}, "large": {AnswerBody: strings.Repeat("x", 9<<10)},
	} {
		if q.Answer == nil {
			q.Answer = []string{"Content-Type", "text/plain"}
		}
		for range 2 {
			if got := gatewaytest.Do(r.g, q); got.Header.Get("X-Cache-Status") != "Bypass" || got.Status != 0 || got.Header.Get("X-Cache-Key") != "" {
				t.Errorf("%s: %d %v", name, got.Status, got.Header.Fields())
			}
		}
	}
}

func TestCacheControl(t *testing.T) {
	r := newRig(t, schema.Record{"cache_control": true, "storage_ttl": 1000.0})
	for _, c := range []struct{ name, request, answer, status string }{
		{"nothing said", "", "", "Bypass"},
		{"private", "", "private, max-age=10", "Bypass"},
		{"no lifetime", "", "public, max-age=0", "Bypass"},
		{"broken lifetime", "", "max-age=abc", "Bypass"},
		{"stored", "", "max-age=0, s-maxage=10", "Miss"},
		{"hit", "", "", "Hit"},
		{"the client's no-store", "no-store", "", "Bypass"},
		{"too old for the client", "max-age=2", "s-maxage=10", "Refresh"},
		{"fresh enough", "min-fresh=4", "", "Hit"},
		{"not fresh enough", "min-fresh=6", "s-maxage=4", "Refresh"},
		{"stale", "", "s-maxage=1", "Refresh"},
		{"stale is all right", "max-stale=9", "", "Hit"},
		{"any age is", "max-stale", "", "Hit"},
	} {
		var answer, header []string
		if c.answer != "" {
			answer = []string{"Cache-Control", c.answer}
		}
		if c.request != "" {
			header = []string{"Cache-Control", c.request}
		}
		if got := r.ask("/", c.name, answer, header).Header.Get("X-Cache-Status"); got != c.status {
			t.Errorf("%s: %s, want %s", c.name, got, c.status)
		}
		r.clock.Pass(5 * time.Second)
	}
	if got := r.ask("/new", "", nil, []string{"Cache-Control", "only-if-cached"}); got.Status != 504 || !gatewaytest.Says(got, "gateway timeout") {
		t.Errorf("only-if-cached: %d %s", got.Status, got.Body)
	}
	r.is("authorized", r.ask("/", "mine", []string{"Cache-Control", "s-maxage=10"}, []string{"Authorization", "Basic x"}), "Bypass", "mine")
	expires := []string{"Expires", r.clock.Now().Add(time.Minute).UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	r.is("expires", r.ask("/e", "e", expires, nil), "Miss", "e")
	r.is("expires later", r.ask("/e", "f", nil, nil), "Hit", "e")
}

func TestVary(t *testing.T) {
	r := newRig(t, schema.Record{"vary_headers": []any{"X-Lang"}, "vary_query_params": []any{"q"}, "ignore_uri_case": true})
	r.is("first", r.ask("/a?q=1&z=1", "en", nil, []string{"X-Lang", "en"}), "Miss", "en")
	r.is("other argument", r.ask("/A?q=1&z=2", "", nil, []string{"x-lang", "en"}), "Hit", "en")
	r.is("other header", r.ask("/a?q=1", "de", nil, []string{"X-Lang", "de"}), "Miss", "de")
	r.is("named argument", r.ask("/a?q=2", "2", nil, []string{"X-Lang", "en"}), "Miss", "2")
	vary := []string{"Vary", "Accept-Encoding, X-Odd"}
	r.is("the answer's own", r.ask("/v", "gz", vary, []string{"Accept-Encoding", "gzip"}), "Miss", "gz")
	r.is("same", r.ask("/v", "", nil, []string{"Accept-Encoding", "gzip"}), "Hit", "gz")
	r.is("another", r.ask("/v", "plain", vary, nil), "Miss", "plain")
}

func TestHead(t *testing.T) {
	r := newRig(t, schema.Record{})
	head := gatewaytest.Request{Method: "HEAD", Answer: []string{"Content-Type", "application/json"}}
	for _, want := range []string{"Miss", "Hit"} {
		if got := gatewaytest.Do(r.g, head).Header.Get("X-Cache-Status"); got != want {
			t.Errorf("HEAD: %s", got)
		}
	}
	r.is("GET is another", r.ask("/", "body", nil, nil), "Miss", "body")
}

// TestBounds checks that the answer not used for the longest goes first.
func TestBounds(t *testing.T) {
	r := newRig(t, schema.Record{})
	body := strings.Repeat("x", 5800) // of 64 KiB ten fit
	for i := range 10 {
		r.ask("/"+string(rune('a'+i)), body, nil, nil)
	}
	r.is("used", r.ask("/a", "", nil, nil), "Hit", body)
	r.ask("/new", body, nil, nil)
	r.is("kept", r.ask("/a", "", nil, nil), "Hit", body)
	r.is("gone", r.ask("/b", "again", nil, nil), "Miss", "again")
}

func TestAdmin(t *testing.T) {
	r := newRig(t, schema.Record{})
	const byKey, byPlugin = "/proxy-cache/{cache_key}", "/proxy-cache/{plugin_id}/caches/{cache_key}"
	store := func() map[string]string {
		return map[string]string{"cache_key": r.ask("/", "body", nil, nil).Header.Get("X-Cache-Key")}
	}
	key := store()
	a := r.admin("GET", byKey, key)
	if body, _ := a.Body.(schema.Record); a.Status != 200 || body["body"] != "body" || body["status"] != 200 || body["ttl"] != 300 {
		t.Errorf("%d %v", a.Status, a.Body)
	}
	key["plugin_id"] = r.id
	for _, want := range []int{204, 404} {
		if a := r.admin("DELETE", byPlugin, key); a.Status != want {
			t.Errorf("DELETE: %d, want %d", a.Status, want)
		}
	}
	key = store()
	key["plugin_id"] = "another"
	if a := r.admin("GET", byPlugin, key); a.Status != 404 {
		t.Errorf("of another plugin: %d", a.Status)
	}
	if a := r.admin("DELETE", "/proxy-cache", nil); a.Status != 204 {
		t.Errorf("DELETE all: %d", a.Status)
	}
	r.is("afterwards", r.ask("/", "anew", nil, nil), "Miss", "anew")
}

// TestChanged checks that answers outlive a change of the plugin.
func TestChanged(t *testing.T) {
	r := newRig(t, schema.Record{})
	r.ask("/", "one", nil, nil)
	e, _ := r.g.Entity("plugins")
	if _, err := r.g.Patch(t.Context(), e, r.id, schema.Record{"config": schema.Record{"cache_ttl": 200.0}}); err != nil {
		t.Fatal(err)
	}
	r.is("after the change", r.ask("/", "two", nil, nil), "Hit", "one")
}

func TestConfiguration(t *testing.T) {
	config := proxycache.New(proxycache.Deps{}).Config
	for want, in := range map[string]schema.Record{
		"": {"strategy": "memory"},
		"schema violation (strategy: required field missing)":                               {},
		"schema violation (strategy: expected one of: memory)":                              {"strategy": "redis"},
		"schema violation (cache_ttl: value must be greater than 0)":                        {"strategy": "memory", "cache_ttl": 0.0},
		"schema violation (request_method.1: expected one of: HEAD, GET, POST, PATCH, PUT)": {"strategy": "memory", "request_method": []any{"DELETE"}},
	} {
		got := ""
		if bad := config.Validate(config.Complete(in)); bad != nil {
			got = bad.String()
		}
		if got != want {
			t.Errorf("%v:\n got %s\nwant %s", in, got, want)
		}
	}
}

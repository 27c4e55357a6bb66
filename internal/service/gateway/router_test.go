package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// oracle decides by the rules as they are written down: every route is cut into its
// splits, all splits that match are collected, and the best of them wins.
type oracle struct{ routes []schema.Record }

type oracleSplit struct {
	route    schema.Record
	prefixes []string
	regexes  []string
}

func strs(v any) (out []string) {
	l, _ := v.([]any)
	for _, e := range l {
		out = append(out, e.(string))
	}
	return out
}

func (o oracle) splits() (out []oracleSplit) {
	for _, r := range o.routes {
		byLen := map[int][]string{}
		var regexes []string
		for _, p := range strs(r["paths"]) {
			if strings.HasPrefix(p, "~") {
				regexes = append(regexes, p[1:])
			} else {
				byLen[len(p)] = append(byLen[len(p)], p)
			}
		}
		if len(regexes) > 0 {
			out = append(out, oracleSplit{r, nil, regexes})
		}
		for _, ps := range byLen {
			out = append(out, oracleSplit{r, ps, nil})
		}
		if len(byLen) == 0 && len(regexes) == 0 {
			out = append(out, oracleSplit{route: r})
		}
	}
	return out
}

// key is the priority, most significant first, all larger-is-better.
func (s oracleSplit) key() []float64 {
	r := s.route
	categories := 0.0
	for _, f := range []string{"methods", "hosts", "snis", "paths"} {
		if len(strs(r[f])) > 0 {
			categories++
		}
	}
	headers, _ := r["headers"].(schema.Record)
	if len(headers) > 0 {
		categories++
	}
	plain := 0.0
	if hosts := strs(r["hosts"]); len(hosts) > 0 && !strings.Contains(strings.Join(hosts, " "), "*") {
		plain = 1
	}
	regex, regexPriority, length := 0.0, 0.0, 0.0
	if len(s.regexes) > 0 {
		regex = 1
		regexPriority = r["regex_priority"].(float64)
	}
	if len(s.prefixes) > 0 {
		length = float64(len(s.prefixes[0]))
	}
	return []float64{categories, plain, float64(len(headers)), regex, regexPriority, length, -r["created_at"].(float64)}
}

// compareSplits says which of two has priority.
func compareSplits(a, b oracleSplit) int {
	if c := slices.Compare(a.key(), b.key()); c != 0 {
		return c
	}
	return strings.Compare(b.route["id"].(string), a.route["id"].(string))
}

// best is the split that takes a request; one of no route where there is none.
func (o oracle) best(q gateway.Query) (best oracleSplit) {
	for _, s := range o.splits() {
		if s.matches(q) && (best.route == nil || compareSplits(s, best) > 0) {
			best = s
		}
	}
	return best
}

func (o oracle) match(q gateway.Query) string {
	id, _ := o.best(q).route["id"].(string)
	return id
}

func (s oracleSplit) matches(q gateway.Query) bool {
	r := s.route
	if m := strs(r["methods"]); len(m) > 0 && !slices.Contains(m, q.Method) {
		return false
	}
	hostFits := func(h string) bool {
		name, port, hasPort := strings.Cut(strings.ToLower(h), ":")
		if hasPort && port != fmt.Sprint(q.Port) {
			return false
		}
		switch {
		case strings.HasPrefix(name, "*"):
			return strings.HasSuffix(q.Host, name[1:])
		case strings.HasSuffix(name, "*"):
			return strings.HasPrefix(q.Host, name[:len(name)-1])
		}
		return q.Host == name
	}
	if h := strs(r["hosts"]); len(h) > 0 && !slices.ContainsFunc(h, hostFits) {
		return false
	}
	if n := strs(r["snis"]); len(n) > 0 && q.TLS && !slices.Contains(n, q.SNI) {
		return false
	}
	headers, _ := r["headers"].(schema.Record)
	for name, values := range headers {
		got := strings.ToLower(q.Headers.Get(name))
		if !slices.ContainsFunc(strs(values), func(v string) bool {
			if strings.HasPrefix(v, "~*") {
				return got != "" && regexp.MustCompile("(?i)"+v[2:]).MatchString(got)
			}
			return got == strings.ToLower(v)
		}) {
			return false
		}
	}
	if len(s.prefixes) > 0 {
		return slices.ContainsFunc(s.prefixes, func(p string) bool { return strings.HasPrefix(q.Path, p) })
	}
	if len(s.regexes) > 0 {
		return slices.ContainsFunc(s.regexes, func(p string) bool {
			return regexp.MustCompile(`\A(?:` + p + `)`).MatchString(q.Path)
		})
	}
	return true
}

var (
	somePaths   = []string{"/", "/a", "/a/", "/ab", "/a/b", "/a/b/c", "/abc", "/b", "~/a/\\d+", "~/[ab]+$", "~/a", "~/x(?:y|z)", "/ä"}
	someHosts   = []string{"a.com", "b.a.com", "*.a.com", "a.*", "a.com:8080", "*.com:9000", "x.org"}
	someMethods = []string{"GET", "POST", "PUT"}
	someHeaders = []schema.Record{{"x-ver": []any{"1"}}, {"x-ver": []any{"1", "2"}}, {"x-a": []any{"Foo"}, "x-ver": []any{"2"}}, {"x-a": []any{"~*^f.o"}}}
)

func pick(r *rand.Rand, from []string, most int) []any {
	out := []any{}
	for range r.IntN(most + 1) {
		if v := from[r.IntN(len(from))]; !slices.Contains(out, any(v)) {
			out = append(out, v)
		}
	}
	return out
}

func randomRoutes(r *rand.Rand, n int) []schema.Record {
	out := make([]schema.Record, n)
	for i := range out {
		rec := schema.Record{
			"id": fmt.Sprintf("%08x-0000-4000-8000-000000000000", r.Uint32()), "created_at": float64(r.IntN(3)),
			"protocols": []any{"http", "https"}, "regex_priority": float64(r.IntN(3)), "strip_path": true,
			"https_redirect_status_code": 426.0,
			"paths":                      pick(r, somePaths, 3), "hosts": pick(r, someHosts, 2), "methods": pick(r, someMethods, 2),
		}
		if r.IntN(3) == 0 {
			rec["headers"] = someHeaders[r.IntN(len(someHeaders))]
		}
		if r.IntN(6) == 0 {
			rec["snis"] = []any{"a.com"}
		}
		out[i] = rec
	}
	return out
}

func randomQuery(r *rand.Rand) gateway.Query {
	paths := []string{"/", "/a", "/a/", "/a/b/c/d", "/abcd", "/a/12/x", "/b", "/abba", "/xz", "/ä/1", "/q"}
	hosts := []string{"a.com", "b.a.com", "c.b.a.com", "a.org", "x.org", "", "com"}
	h := new(gateway.Header)
	if r.IntN(2) == 0 {
		h.Add("X-Ver", []string{"1", "2", "3"}[r.IntN(3)])
	}
	if r.IntN(2) == 0 {
		h.Add("x-A", []string{"foo", "FOO", "bar"}[r.IntN(3)])
	}
	return gateway.Query{
		Method: append(someMethods, "DELETE")[r.IntN(4)], Host: hosts[r.IntN(len(hosts))], Path: paths[r.IntN(len(paths))],
		Port: []int{80, 8080, 9000}[r.IntN(3)], TLS: r.IntN(2) == 0, SNI: []string{"a.com", "z.com"}[r.IntN(2)], Headers: h,
	}
}

// TestRouterAgainstOracle compares the compiled router with the rules applied one by one.
func TestRouterAgainstOracle(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 1))
		routes := randomRoutes(r, 1+r.IntN(40))
		router := gateway.NewTestRouter(routes)
		want := oracle{routes}
		for range 100 {
			q := randomQuery(r)
			got, prefix := router.Match(&q)
			if expected := want.match(q); got != expected {
				t.Fatalf("seed %d, %+v headers %v: got %q, want %q", seed, q, q.Headers.Fields(), got, expected)
			}
			if !strings.HasPrefix(q.Path, prefix) {
				t.Fatalf("seed %d: prefix %q of %q", seed, prefix, q.Path)
			}
		}
	}
}

// TestAmendedRouter compares a router that was told what changed with one built anew.
func TestAmendedRouter(t *testing.T) {
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 4))
		routes := randomRoutes(r, 1300)
		whole := gateway.NewTestRouter(routes[:1200]).With(routes[1200:])
		thinned := gateway.NewTestRouter(routes).Without(10)
		var left []schema.Record
		for i, rec := range routes {
			if i%10 != 0 {
				left = append(left, rec)
			}
		}
		anew, fewer := gateway.NewTestRouter(routes), gateway.NewTestRouter(left)
		if !whole.Amended() || !thinned.Amended() {
			t.Fatal("a router was built anew")
		}
		for range 500 {
			q := randomQuery(r)
			for _, c := range []struct{ got, want gateway.TestRouter }{{whole, anew}, {thinned, fewer}} {
				got, prefix := c.got.Match(&q)
				want, stripped := c.want.Match(&q)
				if got != want || prefix != stripped {
					t.Fatalf("seed %d, %+v: %q, want %q", seed, q, got, want)
				}
			}
		}
	}
}

func FuzzRouter(f *testing.F) {
	f.Add(uint64(1), "GET", "a.com", "/a/b", "1")
	f.Fuzz(func(t *testing.T, seed uint64, method, host, path, ver string) {
		r := rand.New(rand.NewPCG(seed, 2))
		routes := randomRoutes(r, 1+r.IntN(30))
		h := new(gateway.Header)
		h.Add("x-ver", ver)
		if path == "" || path[0] != '/' {
			path = "/" + path
		}
		q := gateway.Query{Method: method, Host: strings.ToLower(host), Path: path, Port: 80, Headers: h}
		got, _ := gateway.NewTestRouter(routes).Match(&q)
		if want := (oracle{routes}).match(q); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

func tenThousand() gateway.TestRouter {
	var routes []schema.Record
	for i := range 10_000 {
		rec := schema.Record{"id": fmt.Sprint(i), "created_at": float64(i), "protocols": []any{"http"}, "strip_path": true,
			"paths": []any{fmt.Sprintf("/service-%d/v%d", i/3, i%3)}}
		if i%2 == 0 {
			rec["hosts"] = []any{fmt.Sprintf("host-%d.example.com", i/10)}
		}
		routes = append(routes, rec)
	}
	return gateway.NewTestRouter(routes)
}

func TestRouterDoesNotAllocate(t *testing.T) {
	router := tenThousand()
	h := new(gateway.Header)
	h.Add("Accept", "*/*")
	q := gateway.Query{Method: "GET", Host: "host-500.example.com", Path: "/service-1666/v2/items/7", Port: 80, Headers: h}
	if id, _ := router.Match(&q); id == "" {
		t.Fatal("no match")
	}
	if n := testing.AllocsPerRun(1000, func() { router.Match(&q) }); n != 0 {
		t.Errorf("a match allocates %v times", n)
	}
}

func BenchmarkRouter10000(b *testing.B) {
	router := tenThousand()
	h := new(gateway.Header)
	q := gateway.Query{Method: "GET", Host: "host-500.example.com", Path: "/service-1666/v2/items/7", Port: 80, Headers: h}
	b.ReportAllocs()
	for b.Loop() {
		router.Match(&q)
	}
}

func BenchmarkRouterBuild10000(b *testing.B) {
	for b.Loop() {
		tenThousand()
	}
}

// TestRouterPrefixesOfOneRoute pins what splitting a route by prefix length is for: its
// longer path may beat another route, and its shorter one lose to it.
func TestRouterPrefixesOfOneRoute(t *testing.T) {
	g := gatewaytest.New(t, nil)
	s := gatewaytest.Create(t, g, "services", schema.Record{"url": "http://127.0.0.1:1"})
	ref := schema.Record{"id": s["id"]}
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "two", "paths": []any{"/a", "/a/b/c"}, "service": ref})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "one", "paths": []any{"/a/b"}, "service": ref})
	for path, want := range map[string]string{"/a/b/c/d": "two", "/a/b/x": "one", "/a/x": "two", "/z": ""} {
		x := g.Begin()
		x.Conn = &gateway.Conn{}
		x.Request.Method, x.Request.Scheme = "GET", "http"
		gateway.SetTarget(&x.Request, path, 80)
		g.Access(x)
		got := ""
		if x.Route() != nil {
			got = x.Route().Name
		}
		if got != want {
			t.Errorf("%s: route %q, want %q", path, got, want)
		}
		g.End(x)
	}
}

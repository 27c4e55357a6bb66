package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// expressed writes one split of a route of fields as an expression.
func expressed(s oracleSplit) string {
	var all []string
	or := func(parts []string) {
		if len(parts) > 0 {
			all = append(all, "("+strings.Join(parts, " || ")+")")
		}
	}
	each := func(values []string, write func(string) string) (out []string) {
		for _, v := range values {
			out = append(out, write(v))
		}
		return out
	}
	or(each(strs(s.route["methods"]), func(m string) string { return fmt.Sprintf("http.method == %q", m) }))
	or(each(strs(s.route["hosts"]), func(h string) string {
		name, port, has := strings.Cut(strings.ToLower(h), ":")
		out := fmt.Sprintf("http.host == %q", name)
		if strings.HasPrefix(name, "*") {
			out = fmt.Sprintf("http.host =^ %q", name[1:])
		} else if strings.HasSuffix(name, "*") {
			out = fmt.Sprintf("http.host ^= %q", name[:len(name)-1])
		}
		if has {
			out = "(" + out + " && net.dst.port == " + port + ")"
		}
		return out
	}))
	or(append(each(s.prefixes, func(p string) string { return fmt.Sprintf("http.path ^= %q", p) }),
		each(s.regexes, func(p string) string { return `http.path ~ r#"^(` + p + `)"#` })...))
	if n := strs(s.route["snis"]); len(n) > 0 {
		or(append(each(n, func(v string) string { return fmt.Sprintf("tls.sni == %q", v) }), `net.protocol != "https"`))
	}
	headers, _ := s.route["headers"].(schema.Record)
	for name, values := range headers {
		field := "any(lower(http.headers." + strings.ToLower(strings.ReplaceAll(name, "-", "_")) + "))"
		or(each(strs(values), func(v string) string {
			if expr, ok := strings.CutPrefix(v, "~*"); ok {
				return field + ` ~ r#"(?i)` + expr + `"#`
			}
			return fmt.Sprintf("%s == %q", field, strings.ToLower(v))
		}))
	}
	return strings.Join(all, " && ")
}

// TestExpressionsAgainstFields translates random routes of fields into expressions: both
// must match the same, though the index puts them elsewhere.
func TestExpressionsAgainstFields(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		routes := randomRoutes(r, 1+r.IntN(40))
		want := oracle{routes}
		splits := want.splits()
		var translated []schema.Record
		for i, s := range splits {
			priority := 0
			for _, other := range splits {
				if c := compareSplits(s, other); c > 0 {
					priority++
				}
			}
			text := expressed(s)
			if text == "" {
				continue // it matches everything, which no expression says
			}
			translated = append(translated, schema.Record{"id": fmt.Sprintf("%s/%d", s.route["id"], i), "created_at": 0.0,
				"protocols": []any{"http"}, "strip_path": true, "expression": text, "priority": float64(priority)})
		}
		router := gateway.NewTestRouter(translated, gateway.Expressions)
		for range 50 {
			q := randomQuery(r)
			q.Dst = netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(q.Port))
			expected := want.match(q)
			got, prefix := router.Match(&q)
			got, _, _ = strings.Cut(got, "/")
			if got != expected && expressed(want.best(q)) != "" {
				t.Fatalf("seed %d, %+v headers %v: got %q, want %q", seed, q, q.Headers.Fields(), got, expected)
			}
			if !strings.HasPrefix(q.Path, prefix) {
				t.Fatalf("seed %d: prefix %q of %q", seed, prefix, q.Path)
			}
		}
	}
}

func BenchmarkExpressionRouter10000(b *testing.B) {
	var routes []schema.Record
	for i := range 10_000 {
		routes = append(routes, schema.Record{"id": fmt.Sprint(i), "created_at": 0.0, "protocols": []any{"http"}, "strip_path": true, "priority": 1.0,
			"expression": fmt.Sprintf(`http.host == "host-%d.example.com" && http.path ^= "/service-%d"`, i/10, i)})
	}
	router := gateway.NewTestRouter(routes, gateway.Expressions)
	q := gateway.Query{Method: "GET", Host: "host-500.example.com", Path: "/service-5007/items", Headers: new(gateway.Header)}
	if id, prefix := router.Match(&q); id != "5007" || prefix != "/service-5007" {
		b.Fatal(id, prefix)
	}
	if n := testing.AllocsPerRun(100, func() { router.Match(&q) }); n != 0 {
		b.Fatalf("%v allocations", n)
	}
	for b.Loop() {
		router.Match(&q)
	}
}

func flavored(f gateway.Flavor) func(*gateway.Deps) {
	return func(d *gateway.Deps) { d.Flavor, d.DebugHeader = f, true }
}

// refusal says why a record is refused; empty where it is taken.
func refusal(t *testing.T, g *gateway.Gateway, collection string, r schema.Record) string {
	t.Helper()
	e, _ := g.Entity(collection)
	if _, err := g.Create(t.Context(), e, r); err != nil {
		return err.Error()
	}
	return ""
}

func TestFlavors(t *testing.T) {
	g := gatewaytest.New(t, nil, flavored(gateway.Expressions))
	for _, c := range []struct {
		r    schema.Record
		want string
	}{
		{schema.Record{"expression": `http.path == "/x"`, "priority": 70368744177663.0}, ""},
		{schema.Record{"expression": `http.path == "/x"`, "priority": -1.0}, "value should be between 0 and 70368744177663"},
		{schema.Record{"expression": `http.path = "/x"`}, "Router Expression failed validation: at 11"},
		{schema.Record{"expression": `http.path == "/x"`, "paths": []any{"/x"}}, "cannot set 'expression' with"},
		{schema.Record{"paths": []any{"/x"}}, ""},
		{schema.Record{"name": "nothing"}, "must set one of"},
		{schema.Record{"protocols": []any{"https"}, "sources": []any{schema.Record{"ip": "127.0.0.0/8"}}}, ""},
		{schema.Record{"protocols": []any{"http"}, "paths": []any{"/x"}, "sources": []any{schema.Record{}}}, "at least one of these fields must be non-empty"},
		{schema.Record{"protocols": []any{"http"}, "paths": []any{"/x"}, "sources": []any{schema.Record{"ip": "nowhere"}}}, "invalid ip or cidr range"},
	} {
		if got := refusal(t, g, "routes", c.r); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.r, got, c.want)
		}
	}
	classic := gatewaytest.New(t, nil)
	if got := refusal(t, classic, "routes", schema.Record{"expression": `http.path == "/x"`, "paths": []any{"/x"}}); !strings.Contains(got, "unknown field") {
		t.Errorf("an expression in a traditional flavor: %q", got)
	}
	if got := refusal(t, classic, "routes", schema.Record{"paths": []any{"/x"}, "sources": []any{schema.Record{"port": 1.0}}}); !strings.Contains(got, "cannot set 'sources' when 'protocols' is 'http' or 'https'") {
		t.Errorf("sources in a traditional flavor: %q", got)
	}
	for _, path := range []string{"~/a(?=b)", "~/a++", `~/(a)\1`} {
		if got := refusal(t, classic, "routes", schema.Record{"paths": []any{path}}); !strings.Contains(got, "invalid regex") {
			t.Errorf("%s: %q", path, got)
		}
	}
}

// TestExpressionsComeFirst puts a route of each kind on one path, and asks who took it.
func TestExpressionsComeFirst(t *testing.T) {
	g := gatewaytest.New(t, nil, flavored(gateway.Expressions))
	s := gatewaytest.Create(t, g, "services", schema.Record{"name": "there", "url": "http://127.0.0.1:1/base"})
	ref := schema.Record{"id": s["id"]}
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "fields", "paths": []any{"/a/b"}, "hosts": []any{"h"}, "methods": []any{"GET"}, "service": ref})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "low", "expression": `http.path ^= "/a" && any(http.queries.q) == "a b"`, "service": ref})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "high", "expression": `http.path ~ "^/a/(?<rest>x)"`, "priority": 9.0, "service": ref})
	for target, want := range map[string]string{
		"/a/b": "fields", "/a/b?q=a+b": "low", "/a/x?q=1&q=a%20b": "high", "/a/x": "high", "/a?q=b": "",
	} {
		got := gatewaytest.Do(g, gatewaytest.Request{Target: target, Host: "h", Header: []string{"Kong-Debug", "1"}})
		if name := got.Header.Get("Kong-Route-Name"); name != want || want != "" && got.Header.Get("Kong-Service-Name") != "there" {
			t.Errorf("%s: %q, want %q", target, name, want)
		}
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{Target: "/a/b", Host: "h"}); got.Header.Get("Kong-Route-Name") != "" {
		t.Error("the route is told unasked")
	}
}

// TestPathV1 pins the examples of Kong's documentation.
func TestPathV1(t *testing.T) {
	for _, c := range []struct {
		service, path, matched string
		strip                  bool
		want                   string
	}{
		{"/s", "/fv1req", "/fv1", false, "/sfv1req"}, {"/s/", "/fv1req", "/fv1", false, "/s/fv1req"}, {"/s", "/tv1req", "/tv1", true, "/sreq"},
		{"/s", "/tv1/req", "/tv1", true, "/s/req"}, {"/s/", "/tv1/req", "/tv1", true, "/s/req"}, {"/s", "/tv1/req", "/tv1/", true, "/sreq"},
		{"", "/tv1/req", "/tv1", true, "/req"}, {"", "/x", "", true, "/x"}, {"/s", "/", "/", true, "/s"},
	} {
		if got := gateway.UpstreamPathV1(c.service, c.path, c.matched, c.strip); got != c.want {
			t.Errorf("%+v: %q", c, got)
		}
	}
}

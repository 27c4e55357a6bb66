package expression_test

import (
	"net/netip"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/expression"
)

// subject is a request by the names of its fields.
type subject struct {
	texts    map[expression.Field]string
	multi    map[string][]string
	src, dst string
}

func (s subject) Text(f expression.Field) (string, bool) { v, ok := s.texts[f]; return v, ok }

func (s subject) Next(_ expression.Field, name string, at int) (string, int, bool) {
	if v := s.multi[name]; at < len(v) {
		return v[at], at + 1, true
	}
	return "", 0, false
}

func (s subject) Source() netip.AddrPort      { a, _ := netip.ParseAddrPort(s.src); return a }
func (s subject) Destination() netip.AddrPort { a, _ := netip.ParseAddrPort(s.dst); return a }

var request = subject{
	texts: map[expression.Field]string{expression.Protocol: "https", expression.Method: "GET", expression.Host: "a.example.com", expression.Path: "/a/b/c/"},
	multi: map[string][]string{"x_ver": {"One", "two"}, "q": {"1"}},
	src:   "10.1.2.3:4000", dst: "[2001:db8::1]:8443",
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		in   string
		want bool
	}{
		{`http.path == "/a/b/c/"`, true}, {`http.path != "/a"`, true}, {`http.path ^= "/a/"`, true}, {`http.path =^ "/c/"`, true},
		{`http.path contains "b/c"`, true}, {`http.path ~ r#"^/a/(?P<x>\w)"#`, true}, {`http.path ~ "^/a/(?<x>\\w)$"`, false},
		{`http.method == "GET"&&http.host=="a.example.com"`, true}, {`lower(http.method) == "get"`, true},
		{`http.path == "x" || http.method == "GET" && net.protocol == "https"`, true},
		{`(http.path == "x" || http.method == "GET") && net.protocol == "http"`, false},
		{`http.method == "GET" || http.path == "x" && net.protocol == "http"`, true}, // && binds closer
		{`!(http.method == "GET")`, false}, {`!((http.method == "PUT"))`, true},
		{`tls.sni == "x"`, false}, {`tls.sni != "x"`, false}, {`!(tls.sni == "x")`, true}, // no value: false
		{`http.headers.x_ver == "two"`, false}, {`any(http.headers.x_ver) == "two"`, true}, {`any(lower(http.headers.X_Ver)) == "one"`, true},
		{`lower(any(http.headers.x_ver)) == "one"`, true}, {`http.headers.x_ver != "three"`, true}, {`any(http.headers.x_ver) == "three"`, false},
		{`http.headers.none != "x"`, false}, {`any(http.headers.none) != "x"`, false}, {`http.queries.q == "1"`, true},
		{`http.path.segments.0 == "a"`, true}, {`http.path.segments.1_2 == "b/c"`, true}, {`http.path.segments.2 ^= "c"`, true},
		{`http.path.segments.3 == ""`, false}, {`http.path.segments.2_3 != "x"`, false}, {`http.path.segments.len == 3`, true}, {`http.path.segments.len >= 0x4`, false},
		{`net.src.ip == 10.1.2.3`, true}, {`net.src.ip in 10.0.0.0/8`, true}, {`net.src.ip not in 10.0.0.0/8`, false}, {`net.src.ip not  in 11.0.0.0/8`, true},
		{`net.dst.ip in 2001:db8::/32`, true}, {`net.dst.ip == ::1`, false}, {`net.src.port > 3999 && net.src.port <= 4000`, true},
		{`net.dst.port == 8443`, true}, {`net.dst.port == 020373`, true}, {`net.dst.port > -1`, true}, {`http.path ^= "\"\\\n\r\t"`, false},
	} {
		e, err := expression.Parse(c.in, expression.HTTP)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if got := e.Match(request); got != c.want {
			t.Errorf("%s: %v", c.in, got)
		}
	}
}

func TestRefused(t *testing.T) {
	for in, want := range map[string]string{
		``: "expected a field", `http.path`: "expected an operator", `http.path ==`: "expected a string", `http.path == 1`: "Type mismatch",
		`http.nope == "x"`: "Unknown LHS field: http.nope", `http.headers. == "x"`: "Unknown LHS field", `(http.path == "x"`: "expected )",
		`http.path == "x" http.path == "y"`: "expected && or ||", `http.path == "x`: "no end", `http.path == r#"x"`: "no end", `!http.path == "x"`: "expected (",
		`net.src.ip == 10.0.0.0/8`: "Type mismatch", `net.src.ip in 10.0.0.1`: "Type mismatch", `net.src.ip in 10.0.0.1/8`: "invalid network",
		`net.src.ip == 10.0.0`: "invalid address", `lower(net.src.port) == 1`: "only supported with String", `upper(http.path) == "x"`: "Unknown transformation",
		`http.path ~ "(?=x)"`: "(?=", `http.path ~ "a++"`: "++", `net.src.port ~ "1"`: "Type mismatch", `http.path > "a"`: "Type mismatch",
		`http.path.segments.len == "1"`: "Type mismatch", `http.path.segments. == "a"`: "illformed", `http.path.segments.1_1 == "a"`: "illformed",
		`http.path.segments.01 == "a"`: "illformed", `http.path inx "a"`: "expected an operator", `net.dst.port == 99999999999999999999`: "expected a string",
		`http.path == "\q"`: "escape", strings.Repeat("(", 300): "nested deeper", strings.Repeat(" ", 70<<10): "longer than",
	} {
		if _, err := expression.Parse(in, expression.HTTP); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", in, err, want)
		}
	}
	if _, err := expression.Parse(`http.path == "/"`, expression.Stream); err == nil || !strings.Contains(err.Error(), "Unknown LHS field") {
		t.Errorf("of HTTP in a stream: %v", err)
	}
}

func TestFind(t *testing.T) {
	for in, want := range map[string]int{
		`http.path ^= "/a/b"`: 4, `http.path == "/a/b/c/"`: 0, `http.path ~ "^/a/[^/]+/"`: 5, `http.path ^= "/zz" || http.path ^= "/a"`: 2,
		`!(http.path ^= "/zz")`: 0,
	} {
		e, err := expression.Parse(in, expression.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := e.Find(request); !ok || f.Len != want {
			t.Errorf("%s: %v %v, want %d", in, f, ok, want)
		}
	}
}

// FuzzParse checks that whatever is accepted can be evaluated, and that its literals are
// necessary: where it holds, one of them fits.
func FuzzParse(f *testing.F) {
	f.Add(`http.host == "a.example.com" && (http.path ^= "/a" || http.path ~ r#"x"#)`)
	f.Add(`!(any(lower(http.headers.x_ver)) == "one") && net.src.ip not in 10.0.0.0/8`)
	f.Add(`http.path.segments.0_3 contains "\t"`)
	f.Fuzz(func(t *testing.T, in string) {
		e, err := expression.Parse(in, expression.HTTP)
		if err != nil {
			return
		}
		holds := e.Match(request)
		if _, ok := e.Find(request); ok != holds {
			t.Fatalf("Match %v, Find %v", holds, ok)
		}
		for _, field := range []expression.Field{expression.Host, expression.Path} {
			literals := e.Literals(field)
			if !holds || literals == nil {
				continue
			}
			fits := false
			for _, l := range literals {
				v := request.texts[field]
				fits = fits || l.Begins && strings.HasPrefix(v, l.Text) || l.Ends && strings.HasSuffix(v, l.Text) || v == l.Text
			}
			if !fits {
				t.Fatalf("%q holds, and none of %v fits", in, literals)
			}
		}
	})
}

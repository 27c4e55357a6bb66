package http1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

var limits = http1.Limits{Line: 200, Head: 2000, Fields: 20}

// read parses a request's head given piece by piece.
func read(raw string, step int) (head http1.Head, h gateway.Header, rest string, err error) {
	buf := make([]byte, 0, len(raw))
	var scan http1.Scanner
	for len(raw) > 0 {
		n := min(step, len(raw))
		buf, raw = append(buf, raw[:n]...), raw[n:]
		end, err := scan.Scan(buf, limits, false)
		if errors.Is(err, http1.ErrIncomplete) {
			continue
		}
		if err != nil {
			return head, h, "", err
		}
		err = http1.ParseRequest(buf[:end], &head, &h)
		return head, h, string(buf[end:]) + raw, err
	}
	return head, h, "", http1.ErrIncomplete
}

func TestRequestsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		raw    string
		status int
	}{
		"both framings":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"both framings reversed":     {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n", 400},
		"two lengths":                {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400},
		"same length twice":          {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n", 400},
		"length list":                {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n", 400},
		"signed length":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n", 400},
		"negative length":            {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n", 400},
		"hex length":                 {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n", 400},
		"empty length":               {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400},
		"huge length":                {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
		"unknown coding":             {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501},
		"coding list":                {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		"identity":                   {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", 501},
		"coding with a tail":         {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", 501},
		"coding twice":               {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"coding with vertical tab":   {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n", 400},
		"chunked in 1.0":             {"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		"continued line":             {"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", 400},
		"continued line with tab":    {"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n\t2\r\n\r\n", 400},
		"first line continued":       {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
		"bare LF after request line": {"GET / HTTP/1.1\nHost: a\r\n\r\n", 400},
		"bare LF after a field":      {"GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", 400},
		"bare LF at the end":         {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
		"bare CR in a value":         {"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n", 400},
		"NUL in a value":             {"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n", 400},
		"NUL in the target":          {"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"NUL in a name":              {"GET / HTTP/1.1\r\nHost: a\r\nX\x00: 1\r\n\r\n", 400},
		"DEL in a value":             {"GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n", 400},
		"space before the colon":     {"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", 400},
		"space in a name":            {"GET / HTTP/1.1\r\nHost: a\r\nX Y: 1\r\n\r\n", 400},
		"empty name":                 {"GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", 400},
		"no colon":                   {"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400},
		"no Host":                    {"GET / HTTP/1.1\r\nX: 1\r\n\r\n", 400},
		"two Hosts":                  {"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400},
		"two Hosts, first empty":     {"GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n", 400},
		"bad Host":                   {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400},
		"Host with a space":          {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
		"Host with an at sign":       {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
		"two spaces":                 {"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"space behind the version":   {"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400},
		"tab for a space":            {"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"no version":                 {"GET /\r\nHost: a\r\n\r\n", 400},
		"lower-case version":         {"GET / http/1.1\r\nHost: a\r\n\r\n", 400},
		"HTTP/1.10":                  {"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
		"HTTP/1.2":                   {"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
		"HTTP/2.0":                   {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505},
		"HTTP/0.9":                   {"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505},
		"bad method":                 {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"empty line only":            {"\r\n\r\n\r\n\r\n", 400},
		"target without a slash":     {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"asterisk for GET":           {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"asterisk":                   {"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"absolute without a host":    {"GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"absolute with bad host":     {"GET http://a\"b/x HTTP/1.1\r\nHost: a\r\n\r\n", 400},
		"unknown expectation":        {"GET / HTTP/1.1\r\nHost: a\r\nExpect: more\r\n\r\n", 417},
		"long line":                  {"GET /" + strings.Repeat("a", 300) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		"endless line":               {"GET /" + strings.Repeat("a", 3000), 414},
		"long head":                  {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 3000) + "\r\n\r\n", 431},
		"endless head":               {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 3000), 431},
		"many lines":                 {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: 1\r\n", 40) + "\r\n", 431},
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			_, _, _, err := read(c.raw, step)
			bad, ok := errors.AsType[*http1.BadMessage](err)
			if !ok || bad.Status != c.status {
				t.Errorf("%s, %d bytes at a time: %v, want status %d", name, step, err, c.status)
			}
		}
	}
}

func TestRequestsThatAreRead(t *testing.T) {
	head, h, rest, err := read("\r\nPOST /a?b=c HTTP/1.1\r\nHost: a.com:80\r\nX-One:  1 \t\r\nconnection: Keep-Alive, Upgrade\r\nx-two:\r\n"+
		"Content-Length: 3\r\nExpect: 100-Continue\r\nX-One: ü\r\n\r\nabcGET", 5)
	if err != nil {
		t.Fatal(err)
	}
	want := http1.Head{Method: "POST", Target: "/a?b=c", Host: "a.com:80", Minor: 1, Expect: true, Upgrade: true, MoreTokens: true, ContentLength: true}
	want.Length = 3
	got := head
	if got.Method != want.Method || got.Target != want.Target || got.Host != want.Host || got.Framing != want.Framing ||
		got.Expect != want.Expect || !got.Upgrade || got.Close || rest != "abcGET" {
		t.Errorf("%+v, rest %q", got, rest)
	}
	var lines []string
	for _, f := range h.Fields() {
		lines = append(lines, f.Name+"="+f.Value)
	}
	if s := strings.Join(lines, "|"); s != "X-One=1|connection=Keep-Alive, Upgrade|x-two=|X-One=ü" {
		t.Errorf("fields %s", s)
	}
	for raw, closes := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n":                                                false,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n":                           true,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n":                        true,
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n": true,
		"GET / HTTP/1.0\r\n\r\n":                                                           true,
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n":                                 false,
		"OPTIONS / HTTP/1.1\r\nHost:\r\n\r\n":                                              false,
		"GET http://a.com/x HTTP/1.1\r\nHost: b\r\n\r\n":                                   false,
	} {
		head, _, _, err := read(raw, 3)
		if err != nil || head.Close != closes {
			t.Errorf("%q: close %v, %v", raw, head.Close, err)
		}
	}
}

// source is a Source over pieces of bytes.
type source struct {
	pieces []string
	window []byte
}

func (s *source) Window() []byte { return s.window }
func (s *source) Consume(n int)  { s.window = s.window[n:] }
func (s *source) Fill() error {
	if len(s.pieces) == 0 {
		return io.ErrUnexpectedEOF
	}
	s.window = append(append([]byte(nil), s.window...), s.pieces[0]...)
	s.pieces = s.pieces[1:]
	return nil
}

func pieces(s string, step int) (out []string) {
	for len(s) > 0 {
		n := min(step, len(s))
		out, s = append(out, s[:n]), s[n:]
	}
	return out
}

func readBody(raw string, step int, f http1.Framing) (body, rest string, trailer *gateway.Header, err error) {
	src := &source{pieces: pieces(raw, step)}
	var b http1.Body
	b.Reset(src, f)
	out, err := io.ReadAll(&b)
	return string(out), string(src.window) + strings.Join(src.pieces, ""), b.Trailer(), err
}

func TestBodies(t *testing.T) {
	chunked := http1.Framing{Chunked: true, Length: -1}
	for _, step := range []int{1, 3, 1000} {
		body, rest, trailer, err := readBody("5\r\nhello\r\n1;a=\"b\"\r\n \r\n00A\r\n0123456789\r\n0\r\nX-T: v\r\n\r\nNEXT", step, chunked)
		if err != nil || body != "hello 0123456789" || rest != "NEXT" || trailer.Get("x-t") != "v" {
			t.Errorf("chunked by %d: %q, rest %q, %v", step, body, rest, err)
		}
		body, rest, _, err = readBody("helloNEXT", step, http1.Framing{Length: 5})
		if err != nil || body != "hello" || rest != "NEXT" {
			t.Errorf("length by %d: %q, rest %q, %v", step, body, rest, err)
		}
		body, _, _, err = readBody("until", step, http1.Framing{Length: -1, UntilClose: true})
		if err != nil || body != "until" {
			t.Errorf("until close by %d: %q, %v", step, body, err)
		}
		if body, _, _, err = readBody("hel", step, http1.Framing{Length: 5}); err != io.ErrUnexpectedEOF || body != "hel" {
			t.Errorf("cut: %q, %v", body, err)
		}
		for _, bad := range []string{
			"x\r\n", "\r\n", "-1\r\n\r\n", "+5\r\nhello\r\n0\r\n\r\n", "0x5\r\nhello\r\n0\r\n\r\n", "5 \r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n",
			"5\r\nhello\n0\r\n\r\n", "5\r\nhelloX\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", "5;\n\r\nhello\r\n0\r\n\r\n",
			"1000000000000000\r\n", "5;a\x00\r\nhello\r\n0\r\n\r\n", "5;" + strings.Repeat("a", 5000) + "\r\nhello\r\n0\r\n\r\n",
			"0\r\n" + strings.Repeat("a: b\r\n", 3000) + "\r\n", "0\r\n x: 1\r\n\r\n",
		} {
			if body, _, _, err := readBody(bad, step, chunked); err == nil {
				t.Errorf("%.40q by %d reads as %q", bad, step, body)
			}
		}
	}
}

func TestResponses(t *testing.T) {
	parse := func(raw, method string) (http1.Head, error) {
		var scan http1.Scanner
		var head http1.Head
		var h gateway.Header
		n, err := scan.Scan([]byte(raw), limits, true)
		if err != nil {
			return head, err
		}
		return head, http1.ParseResponse([]byte(raw)[:n], method, &head, &h)
	}
	for raw, want := range map[string]http1.Framing{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n":                   {Length: 5},
		"HTTP/1.1 200 OK\nContent-Length: 5\n\n":                         {Length: 5},
		"HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n": {Length: 5},
		"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n":            {Chunked: true, Length: -1},
		"HTTP/1.1 200 OK\r\n\r\n":                                        {UntilClose: true, Length: -1},
		"HTTP/1.1 204 No Content\r\n\r\n":                                {Length: -1},
	} {
		head, err := parse(raw, "GET")
		if err != nil || head.Framing != want {
			t.Errorf("%q: %+v, %v", raw, head.Framing, err)
		}
	}
	for _, raw := range []string{
		"HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n",
	} {
		if _, err := parse(raw, "GET"); err == nil {
			t.Errorf("%q is accepted", raw)
		}
	}
}

// FuzzRequest takes whatever is accepted to net/http's parser: both must read the same
// method, target, host and framing, or a request could be smuggled past one of them.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
		"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "\r\nGET http://b/x HTTP/1.0\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n", "GET / HTTP/1.1\nHost: a\n\n", "OPTIONS * HTTP/1.1\r\nHost:\r\nX:\t y\t\r\n\r\n",
	} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		step = max(step, 1)
		head, h, _, err := read(string(raw), step)
		whole, _, _, errWhole := read(string(raw), len(raw)+1)
		if (err == nil) != (errWhole == nil) || err == nil && (head.Method != whole.Method || head.Framing != whole.Framing) {
			t.Fatalf("in pieces of %d: %v; at once: %v", step, err, errWhole)
		}
		if err != nil {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimLeft(raw, "\r\n"))))
		if err != nil {
			// net/http is stricter about targets and hosts; the framing is what matters here.
			if strings.Contains(err.Error(), "Content-Length") || strings.Contains(err.Error(), "transfer encoding") || strings.Contains(err.Error(), "header") {
				t.Fatalf("accepted %q, which net/http refuses: %v", raw, err)
			}
			return
		}
		if r.Method != head.Method || r.RequestURI != head.Target {
			t.Fatalf("%q: read %q %q, net/http %q %q", raw, head.Method, head.Target, r.Method, r.RequestURI)
		}
		if chunked := len(r.TransferEncoding) > 0; chunked != head.Chunked || !chunked && r.ContentLength != head.Length {
			t.Fatalf("%q: framing %+v, net/http %v %d", raw, head.Framing, r.TransferEncoding, r.ContentLength)
		}
		for _, f := range h.Fields() {
			if !strings.Contains(strings.Join(r.Header.Values(f.Name), "\n"), f.Value) {
				t.Fatalf("%q: field %q=%q is %q for net/http", raw, f.Name, f.Value, r.Header.Values(f.Name))
			}
		}
	})
}

// Whether the line of a chunk is too long does not depend on how it arrives.
func TestLongChunkExtensionIsReadAlike(t *testing.T) {
	for length := 900; length <= 4300; length += 17 {
		raw := "5;" + strings.Repeat("a", length) + "\r\nhello\r\n0\r\n\r\n"
		for _, step := range []int{1, 7, 1000, 1024, 1025, 4096, len(raw)} {
			body, _, _, err := readBody(raw, step, http1.Framing{Chunked: true, Length: -1})
			if want := length+2 <= 4096; (err == nil) != want || want && body != "hello" {
				t.Fatalf("an extension of %d bytes in pieces of %d: %q, %v", length, step, body, err)
			}
		}
	}
}

// FuzzChunked reads bodies in pieces and compares with net/http's decoder.
func FuzzChunked(f *testing.F) {
	f.Add([]byte("5\r\nhello\r\n0\r\n\r\nX"), 2)
	f.Add([]byte("5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, raw []byte, step int) {
		step = max(step, 1)
		body, rest, _, err := readBody(string(raw), step, http1.Framing{Chunked: true, Length: -1})
		body2, rest2, _, err2 := readBody(string(raw), len(raw)+1, http1.Framing{Chunked: true, Length: -1})
		if (err == nil) != (err2 == nil) || body != body2 || err == nil && rest != rest2 {
			t.Fatalf("in pieces of %d: %q %q %v; at once: %q %q %v", step, body, rest, err, body2, rest2, err2)
		}
		if err != nil {
			return
		}
		br := bufio.NewReader(io.MultiReader(strings.NewReader("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), bytes.NewReader(raw)))
		r, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(r.Body)
		if err != nil {
			if strings.Contains(err.Error(), "excess") || strings.Contains(err.Error(), "trailer") || strings.Contains(err.Error(), "overhead") || strings.Contains(err.Error(), "header") {
				return // a limit of its own
			}
			t.Fatalf("accepted %q, which net/http refuses: %v", raw, err)
		}
		if string(want) != body {
			t.Fatalf("%q: %q, net/http %q", raw, body, want)
		}
	})
}

// FuzzResponse checks that whatever an upstream sends is read without a panic.
func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"))
	f.Add([]byte("\n\r\nHTTP/1.0 404\nX: y\n\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var scan http1.Scanner
		var head http1.Head
		var h gateway.Header
		n, err := scan.Scan(raw, limits, true)
		if err != nil {
			return
		}
		if err := http1.ParseResponse(raw[:n], "GET", &head, &h); err == nil && (head.Status < 100 || head.Status > 999) {
			t.Fatalf("status %d of %q", head.Status, raw)
		}
	})
}

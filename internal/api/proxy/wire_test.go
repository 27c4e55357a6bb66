package proxy_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// recorder is an upstream that keeps every byte it receives, request by request as
// net/http delimits them.
type recorder struct {
	url string
	mu  sync.Mutex
	got []string
}

// record starts an upstream that answers each request by answer.
func record(t *testing.T, answer string) *recorder {
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	rec := &recorder{url: "http://" + ln.Addr().String()}
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go rec.serve(c, answer)
		}
	}()
	return rec
}

func (rec *recorder) serve(c net.Conn, answer string) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		var raw bytes.Buffer
		tee := bufio.NewReaderSize(io.TeeReader(oneByte{br}, &raw), 16)
		r, err := http.ReadRequest(tee)
		if err == nil {
			_, err = io.Copy(io.Discard, r.Body)
		}
		if raw.Len() > 0 {
			rec.mu.Lock()
			rec.got = append(rec.got, raw.String())
			rec.mu.Unlock()
		}
		if err != nil {
			return
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// oneByte reads byte by byte, so that nothing of the next message is taken.
type oneByte struct{ r io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(len(p), 1)]) }

// take returns what was received since the last call, with what differs from run to run masked.
func (rec *recorder) take() []string {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	out := rec.got
	rec.got = nil
	for i := range out {
		out[i] = varying.ReplaceAllString(out[i], "$1: *")
	}
	return out
}

var varying = regexp.MustCompile(`(X-Kong-Request-Id|X-Forwarded-Port): [^\r]*`)

const ok200 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// forwarded is what the gateway adds to every request.
func forwarded(host, path string) string {
	return "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: " + host + "\r\nX-Forwarded-Port: *\r\nX-Forwarded-Path: " +
		path + "\r\nX-Real-IP: 127.0.0.1\r\nVia: 1.1 kong/3.9.1\r\nX-Kong-Request-Id: *\r\nConnection: keep-alive\r\n"
}

// TestWhatUpstreamsReceive sends requests that proxies have been known to pass on in
// another meaning, with a second request behind each, and compares what the upstream
// received byte by byte.
func TestWhatUpstreamsReceive(t *testing.T) {
	rec := record(t, ok200)
	r := newRig(t, proxy.Config{})
	r.route(rec.url, schema.Record{"strip_path": false, "preserve_host": true}, "/")
	const second = "GET /second HTTP/1.1\r\nHost: s\r\nConnection: close\r\n\r\n"
	sent2 := "GET /second HTTP/1.1\r\nHost: s\r\n" + forwarded("s", "/second") + "\r\n"
	head := func(method, target, host, lines string) string {
		return method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\n" + lines + forwarded(host, target)
	}
	for name, c := range map[string]struct{ request, sent string }{
		"leading zeros": {"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0003\r\n\r\nabc", head("POST", "/a", "h", "") + "Content-Length: 3\r\n\r\nabc"},
		"padded length": {"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: \t 3 \t\r\n\r\nabc", head("POST", "/a", "h", "") + "Content-Length: 3\r\n\r\nabc"},
		"body of GET":   {"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", head("GET", "/a", "h", "") + "Content-Length: 3\r\n\r\nabc"},
		"zero length":   {"DELETE /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", head("DELETE", "/a", "h", "") + "\r\n"},
		"chunks":        {"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: cHuNkEd\r\n\r\n001\r\na\r\n2;x=\"y\"\r\nbc\r\n0\r\n\r\n", head("POST", "/a", "h", "") + "Content-Length: 3\r\n\r\nabc"},
		"chunk that looks like a request": {"POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1c\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n\r\n0\r\n\r\n",
			head("POST", "/a", "h", "") + "Content-Length: 28\r\n\r\nGET /x HTTP/1.1\r\nHost: x\r\n\r\n"},
		"trailers": {"POST /a HTTP/1.1\r\nHost: h\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-T: 1\r\nHost: evil\r\nX-Consumer-ID: root\r\nContent-Length: 9\r\n\r\n",
			head("POST", "/a", "h", "") + "Content-Length: 1\r\n\r\na"},
		"absolute form":  {"GET http://other.com:8/a?b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a?b HTTP/1.1\r\nHost: other.com:8\r\n" + forwarded("other.com", "/a") + "\r\n"},
		"fragment":       {"GET /a#b?c HTTP/1.1\r\nHost: h\r\n\r\n", head("GET", "/a", "h", "") + "\r\n"},
		"dots":           {"GET /x/../a/./b%2e%2e/%2e%2e HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a/ HTTP/1.1\r\nHost: h\r\n" + forwarded("h", "/x/../a/./b%2e%2e/%2e%2e") + "\r\n"},
		"two slashes":    {"GET //evil.com/a HTTP/1.1\r\nHost: h\r\n\r\n", "GET /evil.com/a HTTP/1.1\r\nHost: h\r\n" + forwarded("h", "//evil.com/a") + "\r\n"},
		"encoded slash":  {"GET /a%2f..%2fb%3fc%23d HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%2F..%2Fb%3Fc%23d HTTP/1.1\r\nHost: h\r\n" + forwarded("h", "/a%2f..%2fb%3fc%23d") + "\r\n"},
		"encoded line":   {"GET /a%0d%0aX:y HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a%0D%0AX:y HTTP/1.1\r\nHost: h\r\n" + forwarded("h", "/a%0d%0aX:y") + "\r\n"},
		"high bytes":     {"GET /\xff?\xfe HTTP/1.1\r\nHost: h\r\nX: \xfd\r\n\r\n", "GET /%FF?\xfe HTTP/1.1\r\nHost: h\r\nX: \xfd\r\n" + forwarded("h", "/\xff") + "\r\n"},
		"h2c":            {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n", head("GET", "/a", "h", "") + "\r\n"},
		"upgrade list":   {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n\r\n", head("GET", "/a", "h", "") + "\r\n"},
		"hop named":      {"GET /a HTTP/1.1\r\nHost: h\r\nConnection: X-Mine, Content-Length, Host, X-Forwarded-For, X-Real-IP, Via\r\nX-Mine: 1\r\nX-Y: 2\r\n\r\n", head("GET", "/a", "h", "X-Y: 2\r\n") + "\r\n"},
		"1.0 keep-alive": {"GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", head("GET", "/a", "h", "") + "\r\n"},
		"pipeline":       {"GET /a HTTP/1.1\r\nHost: h\r\n\r\n\r\n", head("GET", "/a", "h", "") + "\r\n"},
	} {
		got := r.raw(c.request + second)
		if n := strings.Count(got, "HTTP/1.1 200 OK"); n != 2 {
			t.Errorf("%s: %d answers:\n%s", name, n, got)
		}
		if sent := rec.take(); len(sent) != 2 || sent[0] != c.sent || sent[1] != sent2 {
			t.Errorf("%s: the upstream received\n%q\nwant\n%q", name, sent, []string{c.sent, sent2})
		}
	}
}

// TestRefusedAndSilent sends requests that must be refused, each with another behind it:
// one answer, the connection ends, and the upstream hears nothing of either, or at most
// the beginning of a body that turned out bad.
func TestRefusedAndSilent(t *testing.T) {
	rec := record(t, ok200)
	r := newRig(t, proxy.Config{})
	r.route(rec.url, schema.Record{}, "/")
	const second = "GET /second HTTP/1.1\r\nHost: s\r\n\r\n"
	post := func(lines string) string { return "POST /a HTTP/1.1\r\nHost: h\r\n" + lines + "\r\n" }
	for name, request := range map[string]string{
		"TE in quotes":           post("Transfer-Encoding: \"chunked\"\r\n") + "0\r\n\r\n",
		"TE chunked twice":       post("Transfer-Encoding: chunked, chunked\r\n") + "0\r\n\r\n",
		"TE chunked, identity":   post("Transfer-Encoding: chunked, identity\r\n") + "0\r\n\r\n",
		"TE identity, chunked":   post("Transfer-Encoding: identity, chunked\r\n") + "0\r\n\r\n",
		"TE xchunked":            post("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n",
		"TE comma":               post("Transfer-Encoding: ,chunked\r\n") + "0\r\n\r\n",
		"TE empty then chunked":  post("Transfer-Encoding:\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
		"TE folded":              post("Transfer-Encoding:\r\n chunked\r\n") + "0\r\n\r\n",
		"TE tab before colon":    post("Transfer-Encoding\t: chunked\r\n") + "0\r\n\r\n",
		"TE NUL":                 post("Transfer-Encoding: chunked\x00\r\n") + "0\r\n\r\n",
		"TE after CR":            post("X: a\rTransfer-Encoding: chunked\r\n") + "0\r\n\r\n",
		"TE and zero CL":         post("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n") + "0\r\n\r\n",
		"CL plus":                post("Content-Length: +0\r\n"),
		"CL minus zero":          post("Content-Length: -0\r\n"),
		"CL hex":                 post("Content-Length: 0x0\r\n"),
		"CL inner space":         post("Content-Length: 0 0\r\n"),
		"CL point":               post("Content-Length: 0.0\r\n"),
		"CL exponent":            post("Content-Length: 0e1\r\n"),
		"CL full-width digit":    post("Content-Length: \uff10\r\n"),
		"CL list":                post("Content-Length: 0,0\r\n"),
		"CL wraps 64 bits":       post("Content-Length: 18446744073709551616\r\n"),
		"LF only":                strings.ReplaceAll(post("X: 1\r\n"), "\r\n", "\n"),
		"CR only":                strings.ReplaceAll(post("X: 1\r\n"), "\r\n", "\r"),
		"NUL in a name":          post("X\x00Y: 1\r\n"),
		"chunk plus":             post("Transfer-Encoding: chunked\r\n") + "+0\r\n\r\n",
		"chunk minus":            post("Transfer-Encoding: chunked\r\n") + "-1\r\n\r\n",
		"chunk space first":      post("Transfer-Encoding: chunked\r\n") + " 0\r\n\r\n",
		"chunk space behind":     post("Transfer-Encoding: chunked\r\n") + "0 \r\n\r\n",
		"chunk underscore":       post("Transfer-Encoding: chunked\r\n") + "0_0\r\n\r\n",
		"chunk empty size":       post("Transfer-Encoding: chunked\r\n") + "\r\n0\r\n\r\n",
		"chunk extension bomb":   post("Transfer-Encoding: chunked\r\n") + "1;" + strings.Repeat("x", 1<<20) + "\r\na\r\n0\r\n\r\n",
		"chunk end missing":      post("Transfer-Encoding: chunked\r\n") + "1\r\na0\r\n\r\n",
		"trailer bomb":           post("Transfer-Encoding: chunked\r\n") + "0\r\n" + strings.Repeat("X: y\r\n", 10000) + "\r\n",
		"trailer folded":         post("Transfer-Encoding: chunked\r\n") + "0\r\nX: y\r\n z\r\n\r\n",
		"trailer without colon":  post("Transfer-Encoding: chunked\r\n") + "0\r\nX\r\n\r\n",
		"broken escape":          "GET /a/%zz/../b HTTP/1.1\r\nHost: h\r\n\r\n",
		"cut escape":             "GET /a%2 HTTP/1.1\r\nHost: h\r\n\r\n",
		"encoded NUL":            "GET /a%00 HTTP/1.1\r\nHost: h\r\n\r\n",
		"userinfo":               "GET http://h@evil/a HTTP/1.1\r\nHost: h\r\n\r\n",
		"other scheme":           "GET file:///etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n",
		"preface of HTTP/2 late": "GET /%zz HTTP/1.1\r\nHost: h\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		got := r.raw(request + second)
		if n := strings.Count(got, "HTTP/1.1 "); n != 1 || !strings.HasPrefix(got, "HTTP/1.1 4") && !strings.HasPrefix(got, "HTTP/1.1 501") {
			t.Errorf("%s: %d answers:\n%s", name, n, got)
		}
		if !strings.Contains(got, "Connection: close\r\n") {
			t.Errorf("%s: the connection is said to go on:\n%s", name, got)
		}
		for _, sent := range rec.take() {
			if strings.Contains(sent, "/second") {
				t.Errorf("%s: the upstream received %q", name, sent)
			}
		}
	}
}

// identify authenticates everybody as alice.
func identify() gateway.Plugin {
	return gateway.Plugin{Name: "identify", Priority: 1000, Config: &schema.Field{Kind: schema.Nested},
		New: func(schema.Record, gateway.Env) (any, error) { return identifier{}, nil }}
}

type identifier struct{}

func (identifier) Access(x *gateway.Exchange) {
	x.Authenticate(&gateway.Consumer{ID: "1", Username: "alice"}, &gateway.Credential{ID: "c", Identifier: "c"})
}

// TestIdentityCannotBeNamedAway: a client must not make the gateway drop what it tells
// the upstream, by calling it hop-by-hop.
func TestIdentityCannotBeNamedAway(t *testing.T) {
	rec := record(t, ok200)
	r := newRig(t, proxy.Config{}, identify())
	r.route(rec.url, schema.Record{}, "/")
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "identify"})
	r.raw("GET / HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\nConnection: close, X-Mine, X-Consumer-Username, X-Consumer-ID, X-Credential-Identifier\r\nX-Consumer-ID: root\r\n\r\n")
	sent := strings.Join(rec.take(), "")
	for _, want := range []string{"X-Consumer-Username: alice\r\n", "X-Consumer-ID: 1\r\n", "X-Credential-Identifier: c\r\n"} {
		if !strings.Contains(sent, want) {
			t.Errorf("%q is missing: %q", want, sent)
		}
	}
	if strings.Contains(sent, "X-Mine") || strings.Contains(sent, "root") {
		t.Errorf("%q", sent)
	}
}

// script is an upstream that treats each connection by the function for its number; the
// last one for all further.
func script(t *testing.T, steps ...func(c net.Conn, br *bufio.Reader)) string {
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	go func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				steps[min(n, len(steps)-1)](c, bufio.NewReader(c))
			}()
		}
	}()
	return "http://" + ln.Addr().String()
}

// TestAnswersAreNotMixedUp: bytes that an upstream sends beyond its answer, together with
// it or later, must never reach the client of another request.
func TestAnswersAreNotMixedUp(t *testing.T) {
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for name, c := range map[string]struct{ method, answer, late string }{
		"beyond, at once":       {"GET", ok200 + poison, ""},
		"beyond, later":         {"GET", ok200, poison},
		"body of HEAD":          {"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n", poison},
		"body of 204":           {"GET", "HTTP/1.1 204 No Content\r\nContent-Length: 60\r\n\r\n", poison},
		"body of 304":           {"GET", "HTTP/1.1 304 Not Modified\r\n\r\n", poison},
		"chunked, then more":    {"GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n" + poison, ""},
		"length, then a tail":   {"GET", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok", poison},
		"an answer out of turn": {"GET", ok200, "HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\n\r\npoison"},
	} {
		said := make(chan struct{})
		first := func(conn net.Conn, br *bufio.Reader) {
			http.ReadRequest(br)
			io.WriteString(conn, c.answer)
			if c.late != "" {
				<-said
				io.WriteString(conn, c.late)
			}
			said <- struct{}{}
			io.Copy(io.Discard, br)
		}
		honest := func(conn net.Conn, br *bufio.Reader) {
			for {
				if _, err := http.ReadRequest(br); err != nil {
					return
				}
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhonest")
			}
		}
		r := newRig(t, proxy.Config{})
		r.route(script(t, first, honest), schema.Record{}, "/")
		r.raw(c.method + " / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if c.late != "" {
			said <- struct{}{}
		}
		<-said
		if got := r.raw("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "honest") {
			t.Errorf("%s: another request got\n%s", name, got)
		}
		r.stop()
	}
}

// TestUpstreamsThatFail holds the status codes of every way an upstream can fail, and that
// a client sees a cut answer as cut.
func TestUpstreamsThatFail(t *testing.T) {
	say := func(s string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, br *bufio.Reader) {
			http.ReadRequest(br)
			io.WriteString(c, s)
		}
	}
	stall := func(s string) func(net.Conn, *bufio.Reader) {
		return func(c net.Conn, br *bufio.Reader) {
			http.ReadRequest(br)
			io.WriteString(c, s)
			io.Copy(io.Discard, br)
		}
	}
	r := newRig(t, proxy.Config{})
	for i, c := range []struct {
		name   string
		do     func(net.Conn, *bufio.Reader)
		status string
		cut    bool // a head came, and then less than it promised
	}{
		{"closes at once", say(""), "502", false},
		{"garbage", say("\x16\x03\x01garbage\n\n"), "502", false},
		{"half a head", say("HTTP/1.1 200 OK\r\nContent-Le"), "502", false},
		{"endless head", say("HTTP/1.1 200 OK\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 100) + "\r\n"), "502", false},
		{"both framings", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "502", false},
		{"two lengths", say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"), "502", false},
		{"101 nobody asked for", say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"), "502", false},
		{"stalls before the head", stall(""), "504", false},
		{"stalls in the head", stall("HTTP/1.1 200 OK\r\n"), "504", false},
		{"dies in the body", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "200", true},
		{"dies in a chunk", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc"), "200", true},
		{"dies between chunks", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"), "200", true},
		{"bad chunk", say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n"), "200", true},
		{"stalls in the body", stall("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"), "200", true},
		{"body until close", say("HTTP/1.1 200 OK\r\n\r\nabc"), "200", false},
		{"1.0 without a length", say("HTTP/1.0 200 OK\r\n\r\nabc"), "200", false},
		{"bare line feeds", say("HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"), "200", false},
	} {
		path := fmt.Sprintf("/fail%02d", i)
		r.route(script(t, c.do), schema.Record{"read_timeout": 300.0}, path)
		conn, err := net.Dial("tcp", r.plain)
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if fmt.Sprint(resp.StatusCode) != c.status || (err != nil) != c.cut || c.status == "200" && string(body) != "abc" {
			t.Errorf("%s: status %d, body %q, %v", c.name, resp.StatusCode, body, err)
		}
		conn.Close()
	}
}

// TestEarlyRefusal: an upstream that refuses a body before it has read it is heard,
// whether the body was buffered or streamed.
func TestEarlyRefusal(t *testing.T) {
	refuse := func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		c.(*net.TCPConn).CloseWrite()
		io.CopyN(io.Discard, r.Body, 10<<10)
		c.(*net.TCPConn).SetLinger(0)
	}
	r := newRig(t, proxy.Config{})
	r.route(script(t, refuse), schema.Record{}, "/")
	for _, size := range []int{60 << 10, 8 << 20} {
		for range 5 {
			req, _ := http.NewRequest("POST", "http://"+r.plain, strings.NewReader(strings.Repeat("x", size)))
			resp, err := new(http.Transport).RoundTrip(req)
			if err != nil {
				t.Errorf("%d bytes: %v", size, err)
				continue
			}
			if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 413 || string(body) != "big" {
				t.Errorf("%d bytes: %d %s", size, resp.StatusCode, body)
			}
			resp.Body.Close()
		}
	}
}

// logged is a plugin that keeps what the log phase sees.
func logged(seen func(*gateway.Exchange)) gateway.Plugin {
	return gateway.Plugin{Name: "logged", Priority: 1, Config: &schema.Field{Kind: schema.Nested},
		New: func(schema.Record, gateway.Env) (any, error) { return logger{seen}, nil }}
}

type logger struct{ seen func(*gateway.Exchange) }

func (l logger) Log(x *gateway.Exchange) { l.seen(x) }

// TestLogSeesItsOwnAnswer: what the log phase reads of an answer's head must not be
// another exchange's by then.
func TestLogSeesItsOwnAnswer(t *testing.T) {
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Id: %s\r\nContent-Length: 0\r\n\r\n", r.Header.Get("X-Id"))
		}
	})
	var mu sync.Mutex
	var wrong []string
	r := newRig(t, proxy.Config{UpstreamIdle: 1}, logged(func(x *gateway.Exchange) {
		if a, b := x.Request.Header.Get("X-Id"), x.Response.Header.Get("X-Id"); a != b {
			mu.Lock()
			wrong = append(wrong, strings.Clone(a)+" saw "+strings.Clone(b))
			mu.Unlock()
		}
	}))
	r.route(up, schema.Record{}, "/")
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "logged"})
	var wg sync.WaitGroup
	for client := range 8 {
		wg.Go(func() {
			transport := &http.Transport{}
			defer transport.CloseIdleConnections()
			for n := range 300 {
				id := fmt.Sprintf("%d-%d-%s", client, n, strings.Repeat("x", client*7))
				req, _ := http.NewRequest("GET", "http://"+r.plain, nil)
				req.Header.Set("X-Id", id)
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if got := resp.Header.Get("X-Id"); got != id {
					t.Errorf("%s got the answer of %s", id, got)
				}
			}
		})
	}
	wg.Wait()
	if len(wrong) > 0 {
		slices.Sort(wrong)
		t.Errorf("%d answers were another's in the log phase: %s", len(wrong), wrong[0])
	}
}

// TestTrailersStay: also of a body that is streamed.
func TestTrailersStay(t *testing.T) {
	rec := record(t, ok200)
	r := newRig(t, proxy.Config{})
	r.route(rec.url, schema.Record{"strip_path": false, "preserve_host": true, "request_buffering": false}, "/")
	got := r.raw("POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nX-Consumer-ID: root\r\nHost: evil\r\n\r\n")
	want := "POST /a HTTP/1.1\r\nHost: h\r\n" + forwarded("h", "/a") + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
	if sent := rec.take(); status(got) != "200" || len(sent) != 1 || sent[0] != want {
		t.Errorf("the upstream received %q, want %q; the client %s", sent, want, got)
	}
}

// TestClientLeaves: a client that leaves ends the wait for its upstream.
func TestClientLeaves(t *testing.T) {
	asked, left := make(chan struct{}), make(chan error, 1)
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		close(asked)
		_, err := br.ReadByte() // returns when the gateway gives up
		left <- err
	})
	var codes = make(chan int, 1)
	r := newRig(t, proxy.Config{ClientCheck: 10 * time.Millisecond}, logged(func(x *gateway.Exchange) {
		if !x.Times.ClientGone {
			t.Error("the log is not told that the client left")
		}
		codes <- x.Response.Status
	}))
	r.route(up, schema.Record{}, "/")
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "logged"})
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	<-asked
	select {
	case <-left:
		t.Fatal("the gateway gave up on a client that is there")
	case <-time.After(100 * time.Millisecond):
	}
	c.Close()
	if err := <-left; err != io.EOF {
		t.Errorf("the upstream's connection ended with %v", err)
	}
	if code := <-codes; code != 499 {
		t.Errorf("logged as %d", code)
	}
}

// TestHTTP2Edges holds HTTP/2 to what holds for HTTP/1.
func TestHTTP2Edges(t *testing.T) {
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		switch r.URL.Path {
		case "/304":
			io.WriteString(c, "HTTP/1.1 304 Not Modified\r\nEtag: x\r\n\r\n")
		case "/cut":
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
		default:
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%s %s", r.Method, r.RequestURI)
		}
	})
	r := newRig(t, proxy.Config{})
	r.route(up, schema.Record{"strip_path": false}, "/")
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Transport{Protocols: protocols}
	defer client.CloseIdleConnections()
	do := func(method, opaque string) (int, string, http.Header, error) {
		resp, err := client.RoundTrip(&http.Request{Method: method, Host: "h", Header: http.Header{},
			URL: &url.URL{Scheme: "http", Host: r.plain, Opaque: opaque}})
		if err != nil {
			return 0, "", nil, err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body), resp.Header, err
	}
	if code, body, _, err := do("GET", "/a//b/%2e%2e/c"); code != 200 || body != "GET /a/c" {
		t.Errorf("%d %q %v", code, body, err)
	}
	if code, body, _, err := do("GET", "/a/%00/../b"); code != 400 {
		t.Errorf("a path that cannot be normalised: %d %q %v", code, body, err)
	}
	if code, body, _, err := do("OPTIONS", "*"); code != 400 {
		t.Errorf("OPTIONS *: %d %q %v", code, body, err)
	}
	for method, want := range map[string]int{"CONNECT": 405, "TRACE": 405, "get": 400} {
		path := "/a"
		if method == "CONNECT" {
			path = ""
		}
		if code, body, _, err := do(method, path); code != want {
			t.Errorf("%s: %d %q %v", method, code, body, err)
		}
	}
	if code, _, h, err := do("GET", "/304"); code != 304 || h.Get("Content-Length") != "" || h.Get("Etag") != "x" {
		t.Errorf("304: %d %v %v", code, h, err)
	}
	if _, body, _, err := do("GET", "/cut"); err == nil {
		t.Errorf("a cut answer reads as the whole: %q", body)
	}
}

// TestShutdownRefusesFirst: a proxy that is told to shut down takes no connection any
// more, while it lets a request in flight finish.
func TestShutdownRefusesFirst(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	up := script(t, func(c net.Conn, br *bufio.Reader) {
		http.ReadRequest(br)
		close(arrived)
		<-release
		io.WriteString(c, ok200)
	})
	r := newRig(t, proxy.Config{})
	r.route(up, schema.Record{}, "/")
	idle, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	answer, ended := make(chan string, 1), make(chan error, 1)
	go func() { answer <- r.raw("GET / HTTP/1.1\r\nHost: h\r\n\r\n") }()
	<-arrived
	go func() { ended <- r.proxy.Shutdown(t.Context()) }()
	idle.Read(make([]byte, 1)) // it is closed after the listeners are
	if c, err := net.Dial("tcp", r.plain); err == nil {
		c.Close()
		t.Error("a new connection is taken")
	}
	close(release)
	if got := <-answer; !strings.HasSuffix(got, "ok") {
		t.Errorf("the request in flight: %s", got)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

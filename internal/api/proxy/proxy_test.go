package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// rig is a gateway with its listeners.
type rig struct {
	t      testing.TB
	gw     *gateway.Gateway
	proxy  *proxy.Proxy
	plain  string
	secure string
	stop   func()
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func newRig(t testing.TB, c proxy.Config, plugins ...gateway.Plugin) *rig {
	t.Helper()
	return newRigOn(t, gatewaytest.New(t, plugins), c)
}

func newRigOn(t testing.TB, gw *gateway.Gateway, c proxy.Config) *rig {
	t.Helper()
	return newRigOnWith(t, gw, c, proxy.Deps{})
}

func newRigOnWith(t testing.TB, gw *gateway.Gateway, c proxy.Config, d proxy.Deps) *rig {
	t.Helper()
	plain, secure := listen(t), listen(t)
	c.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	d.Gateway, d.Log = gw, gatewaytest.Log()
	p := proxy.New(c, d)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- p.Serve(ctx, plain, secure) }()
	var once sync.Once
	r := &rig{t: t, gw: gw, proxy: p, plain: plain.Addr().String(), secure: secure.Addr().String()}
	r.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-served; err != nil {
				t.Errorf("Serve: %v", err)
			}
			end, done := context.WithTimeout(context.Background(), 5*time.Second)
			defer done()
			if err := p.Shutdown(end); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
		})
	}
	t.Cleanup(r.stop)
	return r
}

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// route makes a service for an upstream's URL and a route of the paths to it.
func (r *rig) route(url string, edits schema.Record, paths ...any) {
	r.t.Helper()
	service := schema.Record{"url": url, "retries": 0.0}
	for _, f := range []string{"retries", "read_timeout", "connect_timeout", "write_timeout"} {
		if v, ok := edits[f]; ok {
			service[f] = v
			delete(edits, f)
		}
	}
	s := gatewaytest.Create(r.t, r.gw, "services", service)
	route := schema.Record{"paths": paths, "service": schema.Record{"id": s["id"]}}
	for k, v := range edits {
		route[k] = v
	}
	gatewaytest.Create(r.t, r.gw, "routes", route)
}

// echo answers with what it was asked, line by line.
func echo(t testing.TB) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Upstream", "yes")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "gone")
		fmt.Fprintf(w, "%s %s\nHost: %s\n", r.Method, r.RequestURI, r.Host)
		r.Header.Write(w)
		io.WriteString(w, "\n")
		io.Copy(w, r.Body)
	}))
	t.Cleanup(s.Close)
	return s
}

// raw sends bytes and returns all that comes back until the connection ends or the
// answer is complete.
func (r *rig) raw(request string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	out, _ := io.ReadAll(c)
	return string(out)
}

func status(answer string) string {
	line, _, _ := strings.Cut(answer, "\r\n")
	if len(line) < 12 {
		return answer
	}
	return line[9:12]
}

func TestForwarding(t *testing.T) {
	r := newRig(t, proxy.Config{})
	r.route(echo(t).URL+"/base", schema.Record{}, "/a")
	r.route(echo(t).URL, schema.Record{"strip_path": false, "preserve_host": true}, "/keep")
	got := r.raw("GET /a/b%2fc/../d?x=1&y HTTP/1.1\r\nHost: Example.com:81\r\nX-Forwarded-For: 9.9.9.9\r\nConnection: close, X-Mine\r\n" +
		"X-Mine: hop\r\nKeep-Alive: 5\r\nX-Real-IP: 9.9.9.9\r\nX-Forwarded-Proto: gopher\r\nVia: 1.0 other\r\nX-Any: v\r\nTE: trailers, x\r\n\r\n")
	head, body, _ := strings.Cut(got, "\r\n\r\n")
	for _, want := range []string{
		"HTTP/1.1 200 OK", "X-Upstream: yes", "Via: 1.1 kong/3.9.1", "X-Kong-Upstream-Latency: ", "X-Kong-Proxy-Latency: ",
		"X-Kong-Request-Id: ", "Connection: close", "Date: ",
	} {
		if !strings.Contains(head+"\r\n", want) {
			t.Errorf("the answer lacks %q:\n%s", want, head)
		}
	}
	if strings.Contains(head, "X-Hop") || strings.Contains(head, "Server: kong") {
		t.Errorf("the answer has what it must not have:\n%s", head)
	}
	for _, want := range []string{
		"GET /base/d?x=1&y\n", "Host: 127.0.0.1:", "X-Forwarded-For: 9.9.9.9, 127.0.0.1", "X-Forwarded-Proto: http\r", "X-Forwarded-Host: example.com",
		"X-Forwarded-Path: /a/b%2fc/../d", "X-Forwarded-Prefix: /a\r", "X-Real-Ip: 127.0.0.1", "Via: 1.0 other, 1.1 kong/3.9.1", "X-Any: v",
		"Te: trailers\r", "X-Forwarded-Port: " + r.plain[strings.LastIndexByte(r.plain, ':')+1:],
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the upstream did not get %q:\n%s", want, body)
		}
	}
	if strings.Contains(body, "X-Mine") || strings.Contains(body, "Keep-Alive") {
		t.Errorf("hop-by-hop headers went on:\n%s", body)
	}
	if got := r.raw("GET /keep/x HTTP/1.1\r\nHost: my.host:1\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "GET /keep/x\nHost: my.host:1\n") {
		t.Errorf("preserve_host and strip_path=false:\n%s", got)
	}
}

func TestErrors(t *testing.T) {
	r := newRig(t, proxy.Config{})
	dead := listen(t)
	dead.Close()
	silent := listen(t)
	defer silent.Close()
	r.route("http://"+dead.Addr().String(), schema.Record{}, "/dead")
	r.route("http://no-such-host.invalid", schema.Record{}, "/nowhere")
	r.route("http://"+silent.Addr().String(), schema.Record{"read_timeout": 50.0}, "/silent")
	r.route("http://"+dead.Addr().String(), schema.Record{"protocols": []any{"https"}}, "/secure")
	r.route("http://"+dead.Addr().String(), schema.Record{"protocols": []any{"https"}, "https_redirect_status_code": 301.0}, "/moved")
	gatewaytest.Create(t, r.gw, "routes", schema.Record{"paths": []any{"/orphan"}})
	garbled := listen(t)
	defer garbled.Close()
	go func() {
		for {
			c, err := garbled.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096))
			io.WriteString(c, "NOT HTTP\r\n\r\n")
			c.Close()
		}
	}()
	r.route("http://"+garbled.Addr().String(), schema.Record{}, "/garbled")
	for path, want := range map[string][]string{
		"/none":      {"404", "no Route matched with those values", `"request_id":"`},
		"/dead":      {"502", "An invalid response was received from the upstream server"},
		"/garbled":   {"502", "An invalid response was received from the upstream server"},
		"/nowhere":   {"503", "name resolution failed"},
		"/silent":    {"504", "The upstream server is timing out"},
		"/orphan":    {"503", "no Service found with those values"},
		"/secure":    {"426", "Please use HTTPS protocol", "Upgrade: TLS/1.2, HTTP/1.1\r\n", "Connection: Upgrade\r\n"},
		"/moved/x?y": {"301", "Location: https://h/moved/x?y\r\n"},
	} {
		got := r.raw("GET " + path + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if status(got) != want[0] {
			t.Errorf("%s: %s, want %s", path, got, want[0])
		}
		for _, text := range append(want[1:], "Server: kong/3.9.1\r\n", "X-Kong-Response-Latency: ", "X-Kong-Request-Id: ") {
			if !strings.Contains(got, text) {
				t.Errorf("%s lacks %q: %s", path, text, got)
			}
		}
	}
	for accept, want := range map[string]string{
		"text/html": "<h1>Error</h1>", "application/xml": "<message>no Route", "text/plain": "no Route matched with those values\nrequest_id: ",
		"application/json": "{\n  \"message\":\"no Route matched", "image/png, */*": "{\n", "text/html;q=0.1, application/json": "{\n",
	} {
		if got := r.raw("GET /none HTTP/1.1\r\nHost: h\r\nAccept: " + accept + "\r\nConnection: close\r\n\r\n"); !strings.Contains(got, want) {
			t.Errorf("Accept %s: %s", accept, got)
		}
	}
}

// TestSmuggling sends requests that two servers could read differently, with another
// request behind each. The first must be refused and the second must never be served.
func TestSmuggling(t *testing.T) {
	var served atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/smuggled" {
			served.Add(1)
		}
		io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route(up.URL, schema.Record{}, "/")
	const second = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
	for name, c := range map[string]struct{ first, status string }{
		"CL.TE":           {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"},
		"TE.CL":           {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "400"},
		"TE.TE":           {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", "400"},
		"TE space":        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400"},
		"CL.CL":           {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n", "400"},
		"obs-fold":        {"POST / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 40\r\n\r\n", "400"},
		"bare LF":         {"POST / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 40\r\n\r\n", "400"},
		"chunk size":      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n", "400"},
		"chunk LF":        {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\n\r\n", "400"},
		"chunk extension": {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0;a\nb\r\n\r\n", "400"},
		"chunk overflow":  {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", "400"},
		"chunk data":      {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "400"},
		"no Host":         {"GET / HTTP/1.1\r\n\r\n", "400"},
		"two Hosts":       {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"},
		"NUL":             {"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", "400"},
		"long target":     {"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n", "414"},
		"large head":      {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 40000) + "\r\n\r\n", "431"},
		"CONNECT":         {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "405"},
		"TRACE":           {"TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "405"},
		"lower case":      {"get / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400"},
		"digit in method": {"M2 / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "400"},
		"version":         {"GET / HTTP/1.3\r\nHost: a\r\n\r\n", "505"},
	} {
		got := r.raw(c.first + second)
		if status(got) != c.status {
			t.Errorf("%s: status %s, want %s\n%s", name, status(got), c.status, got)
		}
		if n := strings.Count(got, "HTTP/1.1 "); n != 1 {
			t.Errorf("%s: %d answers:\n%s", name, n, got)
		}
	}
	if n := served.Load(); n != 0 {
		t.Errorf("%d smuggled requests were served", n)
	}
}

func TestPipeliningAndUnreadBodies(t *testing.T) {
	r := newRig(t, proxy.Config{})
	r.route(echo(t).URL, schema.Record{}, "/e")
	got := r.raw("POST /e/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 30\r\n\r\nGET /e/smuggled HTTP/1.1\r\n\r\nxx" +
		"POST /e/2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\n" +
		"HEAD /e/3 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"GET /e/4 HTTP/1.0\r\n\r\n")
	order := []string{"POST /1\n", "\n\nabc", "no Route", "POST /2\n", "\n\ndef", "HTTP/1.1 200", "GET /4\n"}
	rest := got
	for _, want := range order {
		i := strings.Index(strings.ReplaceAll(rest, "\r\n", "\n"), want)
		if i < 0 {
			t.Fatalf("%q is missing or out of order in:\n%s", want, got)
		}
		rest = strings.ReplaceAll(rest, "\r\n", "\n")[i+len(want):]
	}
	if strings.Contains(got, "GET /smuggled\n") {
		t.Errorf("a body was served as a request:\n%s", got)
	}
}

func TestExpectContinue(t *testing.T) {
	r := newRig(t, proxy.Config{})
	r.route(echo(t).URL, schema.Record{}, "/e")
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	br := bufio.NewReader(c)
	io.WriteString(c, "POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	br.ReadString('\n')
	io.WriteString(c, "hello")
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); !strings.HasSuffix(string(body), "hello") {
		t.Errorf("%s", body)
	}
	io.WriteString(c, "PUT /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n")
	if line, err := br.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("before an empty body: %q %v", line, err)
	}
	br.ReadString('\n')
	if resp, err = http.ReadResponse(br, nil); err != nil || resp.StatusCode != 200 {
		t.Fatalf("%+v %v", resp, err)
	}
	io.Copy(io.Discard, resp.Body)
	// An answer that does not want the body comes without an invitation, and ends the connection.
	io.WriteString(c, "POST /none HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	resp, err = http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 404 || !resp.Close {
		t.Errorf("%+v %v", resp, err)
	}
}

// TestLargeBodiesStream moves much more than it may hold in memory, both ways.
func TestLargeBodiesStream(t *testing.T) {
	const size = 256 << 20
	var got atomic.Int64
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Store(n)
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(size))
		}
		io.CopyN(w, zeros{}, size)
	}))
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route(up.URL, schema.Record{}, "/")
	runtime.GC()
	var before, m runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := uint64(0)
	for _, path := range []string{"/length", "/chunked"} {
		body := io.Reader(io.LimitReader(zeros{}, size))
		req, _ := http.NewRequest("POST", "http://"+r.plain+path, body)
		if path == "/length" {
			req.ContentLength = size
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		total, buf := int64(0), make([]byte, 1<<20)
		for {
			n, err := resp.Body.Read(buf)
			if total>>25 != (total+int64(n))>>25 {
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
			}
			total += int64(n)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		resp.Body.Close()
		if total != size || got.Load() != size {
			t.Errorf("%s: %d bytes came back, %d went out, want %d", path, total, got.Load(), size)
		}
	}
	if grown := int64(peak) - int64(before.HeapInuse); grown > 32<<20 {
		t.Errorf("the heap grew by %d MB while %d MB streamed", grown>>20, size>>20)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestBothWaysAtOnce talks over one request with an upstream that answers piece by piece.
func TestBothWaysAtOnce(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				w.Write(bytes.ToUpper(buf[:n]))
				rc.Flush()
			}
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route(up.URL, schema.Record{"request_buffering": false}, "/")
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	for range 3 {
		io.WriteString(c, "5\r\nhello\r\n")
		if _, err := io.ReadFull(resp.Body, buf[:5]); err != nil || string(buf[:5]) != "HELLO" {
			t.Fatalf("%q %v", buf[:5], err)
		}
	}
	io.WriteString(c, "0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) != 0 {
		t.Errorf("%q %v", rest, err)
	}
}

func TestUpgrade(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" || !strings.EqualFold(r.Header.Get("Connection"), "upgrade") {
			http.Error(w, "no upgrade", 400)
			return
		}
		c, brw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhi")
		io.Copy(c, brw)
	}))
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route(up.URL, schema.Record{}, "/ws")
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	io.WriteString(c, "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") != "x" {
		t.Fatalf("%+v %v", resp, err)
	}
	io.WriteString(c, " and late")
	buf := make([]byte, len("hiearly and late"))
	if _, err := io.ReadFull(br, buf); err != nil || string(buf) != "hiearly and late" {
		t.Fatalf("%q %v", buf, err)
	}
	c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(br); err != nil || len(rest) != 0 {
		t.Errorf("%q %v", rest, err)
	}
}

func TestSlowHead(t *testing.T) {
	r := newRig(t, proxy.Config{HeadTimeout: 100 * time.Millisecond})
	c, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	done := make(chan string)
	go func() { out, _ := io.ReadAll(c); done <- string(out) }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	io.WriteString(c, "GET / HTTP/1.1\r\n")
	for {
		select {
		case <-tick.C:
			io.WriteString(c, "X: 1\r\n") // never done
		case got := <-done:
			if status(got) != "408" {
				t.Errorf("%s", got)
			}
			return
		case <-time.After(10 * time.Second):
			t.Fatal("a head that drips in is waited for")
		}
	}
}

func TestRetries(t *testing.T) {
	// An upstream that takes connections and drops them, until it has had enough.
	var seen atomic.Int64
	ln := listen(t)
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				if seen.Add(1)%3 != 0 {
					return
				}
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
			}()
		}
	}()
	r := newRig(t, proxy.Config{})
	r.route("http://"+ln.Addr().String(), schema.Record{"retries": 5.0}, "/")
	if got := r.raw("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); status(got) != "200" || seen.Load() != 3 {
		t.Errorf("GET: %d attempts\n%s", seen.Load(), got)
	}
	seen.Store(0)
	if got := r.raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx"); status(got) != "502" || seen.Load() != 1 {
		t.Errorf("a POST that may have had an effect was sent %d times\n%s", seen.Load(), got)
	}
}

// TestIdleUpstreamGone reuses a connection that its upstream has closed meanwhile.
func TestIdleUpstreamGone(t *testing.T) {
	closed := make(chan struct{}, 10)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }))
	up.Config.ConnState = func(c net.Conn, s http.ConnState) {
		if s == http.StateIdle {
			c.Close()
			closed <- struct{}{}
		}
	}
	up.Start()
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route(up.URL, schema.Record{}, "/")
	for i := range 5 {
		resp, err := http.Post("http://"+r.plain, "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(body) != "hello" {
			t.Fatalf("request %d: %d %s", i, resp.StatusCode, body)
		}
		<-closed
	}
}

// TestChangesUnderLoad changes routes, services and plugins while requests run; none may fail.
func TestChangesUnderLoad(t *testing.T) {
	r := newRig(t, proxy.Config{})
	up1, up2 := echo(t), echo(t)
	r.route(up1.URL, schema.Record{}, "/load")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var n, failed atomic.Int64
	for range 8 {
		wg.Go(func() {
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("http://" + r.plain + "/load/x")
				if err != nil {
					failed.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					failed.Add(1)
				}
				resp.Body.Close()
				n.Add(1)
			}
		})
	}
	services, _ := r.gw.Entity("services")
	list, _ := r.gw.List(services, gateway.ListQuery{Size: 1})
	id := list[0]["id"].(string)
	for i := range 60 {
		url := []string{up1.URL, up2.URL}[i%2]
		if _, err := r.gw.Patch(t.Context(), services, id, schema.Record{"url": url}); err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/new-%d", i)
		r.route(url, schema.Record{}, path)
		resp, err := http.Get("http://" + r.plain + path) // effective when the change returned
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s: %v %v", path, resp, err)
		}
		resp.Body.Close()
	}
	close(stop)
	wg.Wait()
	if failed.Load() != 0 || n.Load() == 0 {
		t.Errorf("%d of %d requests failed", failed.Load(), n.Load())
	}
}

// TestDrain stops the proxy while a request is in flight: it is answered.
func TestDrain(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
		io.WriteString(w, "finished")
	}))
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route(up.URL, schema.Record{}, "/")
	idle, err := net.Dial("tcp", r.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	answer := make(chan string)
	go func() { answer <- r.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n") }()
	<-arrived
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	idle.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("an idle connection ends with %v", err)
	}
	close(release)
	if got := <-answer; !strings.HasSuffix(got, "finished") || !strings.Contains(got, "Connection: close") {
		t.Errorf("%s", got)
	}
	<-stopped
	if _, err := net.Dial("tcp", r.plain); err == nil {
		t.Error("the listener is still open")
	}
}

func TestHTTP2(t *testing.T) {
	r := newRig(t, proxy.Config{})
	r.route(echo(t).URL, schema.Record{}, "/e")
	secure := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	plain := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	http1 := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for name, c := range map[string]struct {
		client *http.Client
		url    string
		major  int
		proto  string
	}{
		"h2": {secure, "https://" + r.secure, 2, "https"}, "h2c": {plain, "http://" + r.plain, 2, "http"}, "TLS": {http1, "https://" + r.secure, 1, "https"},
	} {
		resp, err := c.client.Post(c.url+"/e/x?q=1", "text/plain", strings.NewReader("body"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || resp.ProtoMajor != c.major || !strings.Contains(string(body), "POST /x?q=1\n") ||
			!strings.Contains(string(body), "X-Forwarded-Proto: "+c.proto) || !strings.HasSuffix(string(body), "\n\nbody") || resp.Header.Get("X-Upstream") != "yes" {
			t.Errorf("%s: %+v\n%s", name, resp, body)
		}
		if resp, err = c.client.Get(c.url + "/none"); err != nil || resp.StatusCode != 404 {
			t.Errorf("%s: %v %v", name, resp, err)
		}
		c.client.CloseIdleConnections()
	}
}

// TestGRPC passes a stream of messages both ways, and the trailers that end it.
func TestGRPC(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(200)
		rc := http.NewResponseController(w)
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			if n > 0 {
				w.Write(buf[:n])
				rc.Flush()
			}
			if err != nil {
				break
			}
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "fine")
	}))
	up.Config.Protocols = protocols
	up.Start()
	t.Cleanup(up.Close)
	r := newRig(t, proxy.Config{})
	r.route("grpc://"+up.Listener.Addr().String(), schema.Record{"protocols": []any{"grpc"}}, "/pkg.Svc/")
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	defer client.CloseIdleConnections()
	pr, pw := io.Pipe()
	req, _ := http.NewRequest("POST", "http://"+r.plain+"/pkg.Svc/Method", pr)
	req.Header.Set("Content-Type", "application/grpc")
	req.Header.Set("TE", "trailers")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4)
	for range 3 {
		io.WriteString(pw, "ping")
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "ping" {
			t.Fatalf("%q %v", buf, err)
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("%q %v", rest, err)
	}
	if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "fine" {
		t.Errorf("trailers %v", resp.Trailer)
	}
	if got := r.raw("POST /pkg.Svc/Method HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"); !strings.Contains(got, "rpc-message: Please use HTTP2 protocol") {
		t.Errorf("HTTP/1 on a gRPC route: %s", got)
	}
	if got := r.raw("GET /pkg.Svc/Method HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); status(got) != "415" {
		t.Errorf("no gRPC on a gRPC route: %s", got)
	}
}

package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/iprestriction"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// answering serves TCP connections: it reads until the client has said all, then tells its
// name and what it got.
func answering(t testing.TB, name string, secure *tls.Config) string {
	ln := listen(t)
	if secure != nil {
		ln = tls.NewListener(ln, secure)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.SetDeadline(time.Now().Add(10 * time.Second))
				got, _ := io.ReadAll(c)
				io.WriteString(c, name+":"+string(got))
			}()
		}
	}()
	return ln.Addr().String()
}

// stream makes a service and a route of a protocol, and returns the route's id.
func (r *rig) stream(protocol, addr string, service, route schema.Record) {
	r.t.Helper()
	host, port, _ := net.SplitHostPort(addr)
	var n float64
	fmt.Sscan(port, &n)
	s := schema.Record{"protocol": protocol, "host": host, "port": n, "retries": 0.0, "connect_timeout": 2000.0}
	for k, v := range service {
		s[k] = v
	}
	if _, ok := route["protocols"]; !ok {
		route["protocols"] = []any{protocol}
	}
	route["service"] = schema.Record{"id": gatewaytest.Create(r.t, r.gw, "services", s)["id"]}
	gatewaytest.Create(r.t, r.gw, "routes", route)
}

// listenStream adds a listener to the rig's proxy.
func (r *rig) listenStream(l proxy.StreamListener) string {
	r.t.Helper()
	l.Listener = listen(r.t)
	served := make(chan error, 1)
	go func() { served <- r.proxy.ServeStream(context.Background(), l) }()
	r.t.Cleanup(func() {
		r.stop()
		if err := <-served; err != nil {
			r.t.Errorf("ServeStream: %v", err)
		}
	})
	return l.Addr().String()
}

// say sends text, says that it is all, and returns the answer.
func say(t testing.TB, c net.Conn, text string) string {
	t.Helper()
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(c, text)
	c.(interface{ CloseWrite() error }).CloseWrite()
	out, _ := io.ReadAll(c)
	return string(out)
}

func dial(t testing.TB, addr string, from ...byte) net.Conn {
	t.Helper()
	d := net.Dialer{}
	if from != nil {
		d.LocalAddr = &net.TCPAddr{IP: net.IP(from)}
	}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ends(ends ...string) []any {
	var out []any
	for _, e := range ends {
		r := schema.Record{}
		ip, port, ok := strings.Cut(e, ":")
		if ip != "" {
			r["ip"] = ip
		}
		if ok {
			var n float64
			fmt.Sscan(port, &n)
			r["port"] = n
		}
		out = append(out, r)
	}
	return out
}

// TestStreamOrder asks which of many routes takes a connection.
func TestStreamOrder(t *testing.T) {
	r := newRig(t, proxy.Config{}, iprestriction.New())
	addr := r.listenStream(proxy.StreamListener{})
	_, port, _ := net.SplitHostPort(addr)
	r.stream("tcp", answering(t, "cidr", nil), nil, schema.Record{"sources": ends("127.0.0.0/16")})
	if got := say(t, dial(t, addr), "hello"); got != "cidr:hello" {
		t.Fatalf("got %q", got)
	}
	r.stream("tcp", answering(t, "ip", nil), nil, schema.Record{"sources": ends("127.0.0.5")})
	r.stream("tcp", answering(t, "both", nil), nil, schema.Record{"sources": ends("127.0.0.6/31"), "destinations": ends(":" + port)})
	r.stream("tcp", answering(t, "exact", nil), nil, schema.Record{"sources": ends("127.0.0.6"), "destinations": ends("127.0.0.1:" + port)})
	r.stream("udp", answering(t, "udp", nil), nil, schema.Record{"sources": ends("127.0.0.1")})
	big := strings.Repeat("x", 1<<20)
	for from, want := range map[byte]string{1: "cidr:", 5: "ip:", 6: "exact:", 7: "both:"} {
		if got := say(t, dial(t, addr, 127, 0, 0, from), big); got != want+big {
			t.Errorf("from %d: %.20q", from, got)
		}
	}
	if got := say(t, dial(t, addr, 127, 1, 0, 1), ""); got != "" {
		t.Errorf("without a route: %q", got)
	}
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "ip-restriction", "config": schema.Record{"deny": []any{"127.0.0.5"}}})
	for from, want := range map[byte]string{1: "cidr:", 5: ""} {
		if got := say(t, dial(t, addr, 127, 0, 0, from), ""); got != want {
			t.Errorf("with a restriction, from %d: %q", from, got)
		}
	}
}

// TestStreamTLS ends TLS for one name and passes it on for another, with openssl as a client.
func TestStreamTLS(t *testing.T) {
	r := newRig(t, proxy.Config{})
	addr := r.listenStream(proxy.StreamListener{TLS: true})
	ca := gatewaytest.NewAuthority(t, "ca")
	ended, passed := ca.Issue(t, "ended.example", gatewaytest.Names("ended.example")), ca.Issue(t, "passed.example", gatewaytest.Names("x.passed.example"))
	gatewaytest.Create(t, r.gw, "certificates", pairRecord(ended, "ended.example"))
	r.stream("tcp", answering(t, "clear", nil), nil, schema.Record{"protocols": []any{"tls"}, "snis": []any{"ended.example"}})
	r.stream("tcp", answering(t, "passed", &tls.Config{Certificates: []tls.Certificate{passed.TLS()}}), nil,
		schema.Record{"protocols": []any{"tls_passthrough"}, "snis": []any{"*.passed.example"}})
	r.stream("tls", answering(t, "again", &tls.Config{Certificates: []tls.Certificate{passed.TLS()}}), nil,
		schema.Record{"protocols": []any{"tls"}, "snis": []any{"again.example"}})
	for name, want := range map[string]struct{ answer, subject string }{
		"ended.example": {"clear:hi", "ended.example"}, "x.passed.example": {"passed:hi", "passed.example"}, "again.example": {"again:hi", ""},
	} {
		c := tls.Client(dial(t, addr), &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if got := say(t, c, "hi"); got != want.answer {
			t.Errorf("%s: %q", name, got)
			continue
		}
		if subject := c.ConnectionState().PeerCertificates[0].Subject.CommonName; want.subject != "" && subject != want.subject {
			t.Errorf("%s: the certificate is for %s", name, subject)
		}
	}
	for name, c := range map[string]net.Conn{"no TLS": dial(t, addr), "no such name": tls.Client(dial(t, addr), &tls.Config{ServerName: "z.example", InsecureSkipVerify: true})} {
		if got := say(t, c, "GET / HTTP/1.0\r\n\r\n"); strings.Contains(got, ":") {
			t.Errorf("%s: %q", name, got)
		}
	}
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl")
	}
	cmd := exec.Command(openssl, "s_client", "-connect", addr, "-servername", "x.passed.example")
	out, _ := cmd.CombinedOutput()
	if !bytes.Contains(out, []byte("CN = passed.example")) && !bytes.Contains(out, []byte("CN=passed.example")) {
		t.Errorf("openssl: %s", out)
	}
}

// TestStreamFailures covers retries, time-outs, slow and broken beginnings, and the end.
func TestStreamFailures(t *testing.T) {
	r := newRig(t, proxy.Config{HeadTimeout: 200 * time.Millisecond})
	addr := r.listenStream(proxy.StreamListener{})
	secure := r.listenStream(proxy.StreamListener{TLS: true})
	good := answering(t, "good", nil)
	gatewaytest.Create(t, r.gw, "upstreams", schema.Record{"name": "pool"})
	for _, target := range []string{refusing(t), good} {
		e, _ := r.gw.Entity("targets")
		u, _ := r.gw.ByUnique("upstreams", "name", "pool")
		if _, err := r.gw.Create(t.Context(), e, schema.Record{"target": target, "upstream": schema.Record{"id": u["id"]}}); err != nil {
			t.Fatal(err)
		}
	}
	r.stream("tcp", "pool:80", schema.Record{"retries": 5.0}, schema.Record{"sources": ends("127.0.0.1")})
	for range 4 {
		if got := say(t, dial(t, addr), "x"); got != "good:x" {
			t.Errorf("with a target that refuses: %q", got)
		}
	}
	r.stream("tcp", refusing(t), nil, schema.Record{"sources": ends("127.0.0.2")})
	if got := say(t, dial(t, addr, 127, 0, 0, 2), "x"); got != "" {
		t.Errorf("nobody listens: %q", got)
	}
	mute := listen(t)
	t.Cleanup(func() { mute.Close() })
	r.stream("tcp", mute.Addr().String(), schema.Record{"read_timeout": 100.0}, schema.Record{"sources": ends("127.0.0.3")})
	start := time.Now()
	c := dial(t, addr, 127, 0, 0, 3)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF || time.Since(start) > 3*time.Second {
		t.Errorf("a silent flow: %v after %v", err, time.Since(start))
	}
	c.Close()
	c = dial(t, secure)
	c.SetDeadline(time.Now().Add(5 * time.Second))
	c.Write([]byte{22, 3, 1, 1, 0, 1}) // a ClientHello that never ends
	if _, err := c.Read(make([]byte, 1)); err == nil || isTimeoutError(err) {
		t.Errorf("a slow ClientHello: %v", err)
	}
	c.Close()
	if n := r.proxy.Stats().Accepted.Load(); n < 7 {
		t.Errorf("%d connections were counted", n)
	}
}

func isTimeoutError(err error) bool { ne, ok := err.(net.Error); return ok && ne.Timeout() }

// TestStreamDrain stops the proxy with a connection open, which may finish.
func TestStreamDrain(t *testing.T) {
	r := newRig(t, proxy.Config{})
	addr := r.listenStream(proxy.StreamListener{})
	r.stream("tcp", answering(t, "late", nil), nil, schema.Record{"sources": ends("127.0.0.1")})
	c := dial(t, addr)
	io.WriteString(c, "a")
	for r.proxy.Stats().Active.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan struct{})
	go func() { r.stop(); close(stopped) }()
	for {
		probe, err := net.Dial("tcp", addr)
		if err != nil {
			break // it accepts no more
		}
		probe.Close()
	}
	if got := say(t, c, "b"); got != "late:ab" {
		t.Errorf("got %q", got)
	}
	<-stopped
}

func TestUDP(t *testing.T) {
	r := newRig(t, proxy.Config{})
	udp := func() *net.UDPConn {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	server := udp()
	t.Cleanup(func() { server.Close() })
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			server.WriteToUDPAddrPort(append([]byte(from.String()+" "), buf[:n]...), from)
		}
	}()
	front := udp()
	served := make(chan error, 1)
	go func() { served <- r.proxy.ServeUDP(context.Background(), front) }()
	ask := func(c *net.UDPConn, text string) string {
		c.SetDeadline(time.Now().Add(5 * time.Second))
		c.Write([]byte(text))
		buf := make([]byte, 64<<10)
		n, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	client := func() *net.UDPConn {
		c, err := net.DialUDP("udp", nil, front.LocalAddr().(*net.UDPAddr))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	r.stream("udp", server.LocalAddr().String(), schema.Record{"read_timeout": 150.0}, schema.Record{"sources": ends("127.0.0.1")})
	a, b := client(), client()
	big := strings.Repeat("y", 9000)
	first, _, _ := strings.Cut(ask(a, "one"), " ")
	second, text, _ := strings.Cut(ask(a, big), " ")
	other, _, _ := strings.Cut(ask(b, "one"), " ")
	if first != second || other == first || text != big {
		t.Errorf("sessions %s, %s, %s", first, second, other)
	}
	for until := time.Now().Add(5 * time.Second); r.proxy.Stats().Active.Load() != 0 && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond) // until the sessions have ended
	}
	if again, _, _ := strings.Cut(ask(a, "one"), " "); again == first {
		t.Error("a session outlived its time-out")
	}
	r.stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

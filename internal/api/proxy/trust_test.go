package proxy_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/iprestriction"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var everyone = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}

// lines gives the header lines of an echo's answer by name, the last of each.
func lines(body string) map[string]string {
	out := map[string]string{}
	for l := range strings.Lines(body) {
		if k, v, ok := strings.Cut(strings.TrimSpace(l), ": "); ok {
			out[k] = v
		}
	}
	return out
}

func TestTrustedPeers(t *testing.T) {
	upstream := echo(t)
	for _, c := range []struct {
		name   string
		trust  proxy.Trust
		send   []string
		expect map[string]string
	}{
		{"nobody is trusted", proxy.Trust{}, []string{"X-Real-IP", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil", "X-Forwarded-Prefix", "/p", "X-Forwarded-For", "9.9.9.9"},
			map[string]string{"X-Real-Ip": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "a.example", "X-Forwarded-Prefix": "/echo", "X-Forwarded-For": "9.9.9.9, 127.0.0.1"}},
		{"all is passed on", proxy.Trust{Peers: everyone}, []string{"X-Real-IP", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "front", "X-Forwarded-Port", "444", "X-Forwarded-Path", "/was", "X-Forwarded-Prefix", "/p"},
			map[string]string{"X-Real-Ip": "1.2.3.4", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "front", "X-Forwarded-Port": "444", "X-Forwarded-Path": "/was", "X-Forwarded-Prefix": "/p", "X-Forwarded-For": "1.2.3.4"}},
		{"the last of a list", proxy.Trust{Peers: everyone, Header: "X-Forwarded-For"}, []string{"X-Forwarded-For", "1.2.3.4, 10.1.1.1"},
			map[string]string{"X-Real-Ip": "10.1.1.1", "X-Forwarded-For": "1.2.3.4, 10.1.1.1, 127.0.0.1"}},
		{"the last untrusted", proxy.Trust{Peers: everyone, Header: "X-Forwarded-For", Recursive: true}, []string{"X-Forwarded-For", "6.6.6.6, 1.2.3.4", "X-Forwarded-For", "10.1.1.1"},
			map[string]string{"X-Real-Ip": "1.2.3.4"}},
		{"all trusted", proxy.Trust{Peers: everyone, Header: "X-Forwarded-For", Recursive: true}, []string{"X-Forwarded-For", "10.2.2.2, 10.1.1.1"},
			map[string]string{"X-Real-Ip": "10.2.2.2"}},
		{"no address ends the search", proxy.Trust{Peers: everyone, Header: "X-Forwarded-For", Recursive: true}, []string{"X-Forwarded-For", "1.1.1.1, unknown, 10.1.1.1"},
			map[string]string{"X-Real-Ip": "10.1.1.1"}},
		{"IPv6 with a port", proxy.Trust{Peers: everyone}, []string{"X-Real-IP", "[2001:db8::1]:99"}, map[string]string{"X-Real-Ip": "2001:db8::1"}},
		{"no address at all", proxy.Trust{Peers: everyone}, []string{"X-Real-IP", "me"}, map[string]string{"X-Real-Ip": "127.0.0.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, proxy.Config{Trust: c.trust})
			r.route(upstream.URL, nil, "/echo")
			for proto, client := range map[string]*http.Client{"http1": {}, "http2": h2Client(t)} {
				url := "http://" + r.plain
				if proto == "http2" {
					url = "https://" + r.secure
				}
				req, _ := http.NewRequest("GET", url+"/echo/x", nil)
				req.Host = "a.example"
				for i := 0; i < len(c.send); i += 2 {
					req.Header.Add(c.send[i], c.send[i+1])
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				got := lines(string(body))
				for k, v := range c.expect {
					if proto == "http2" && k == "X-Forwarded-Proto" {
						v = "https"
					}
					if got[k] != v {
						t.Errorf("%s: %s is %q, want %q\n%s", proto, k, got[k], v, body)
					}
				}
			}
		})
	}
}

// TestForwardedProto checks that TLS in front of a trusted peer counts as TLS, and only there.
func TestForwardedProto(t *testing.T) {
	upstream := echo(t)
	for trusted, want := range map[bool]string{false: "301 https://a.example/only", true: "200 "} {
		c := proxy.Config{}
		if trusted {
			c.Trust.Peers = everyone
		}
		r := newRig(t, c)
		r.route(upstream.URL, schema.Record{"protocols": []any{"https"}, "https_redirect_status_code": 301.0}, "/only")
		answer := r.raw("GET /only HTTP/1.1\r\nHost: a.example\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n")
		resp := lines(answer)
		if got := status(answer) + " " + resp["Location"]; got != want {
			t.Errorf("trusted %v: %q, want %q", trusted, got, want)
		}
	}
}

// TestClientChangesPerRequest restricts by address on one connection.
func TestClientChangesPerRequest(t *testing.T) {
	upstream := echo(t)
	r := newRig(t, proxy.Config{Trust: proxy.Trust{Peers: everyone}}, iprestriction.New())
	r.route(upstream.URL, nil, "/")
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "ip-restriction", "config": schema.Record{"deny": []any{"6.6.6.6"}}})
	answer := r.raw("GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 5.5.5.5\r\n\r\n" +
		"GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: 6.6.6.6\r\n\r\n" + "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	var got []string
	for _, part := range strings.Split(answer, "HTTP/1.1 ")[1:] {
		got = append(got, part[:3])
	}
	if fmt.Sprint(got) != "[200 403 200]" {
		t.Errorf("%v\n%s", got, answer)
	}
}

func TestProxyProtocol(t *testing.T) {
	upstream := echo(t)
	r := newRig(t, proxy.Config{ProxyProtocol: true, HeadTimeout: 300 * time.Millisecond, Trust: proxy.Trust{Peers: everyone, Header: "proxy_protocol"}})
	r.route(upstream.URL, nil, "/")
	header := func(version byte) string {
		h := proxyproto.HeaderProxyFromAddrs(version, &net.TCPAddr{IP: net.IPv4(1, 2, 3, 4), Port: 5}, &net.TCPAddr{IP: net.IPv4(9, 9, 9, 9), Port: 80})
		raw, err := h.Format()
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	const get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	for name, c := range map[string]struct{ send, want string }{
		"version 1": {header(1) + get, "1.2.3.4"}, "version 2": {header(2) + get, "1.2.3.4"},
		"unknown": {"PROXY UNKNOWN\r\n" + get, "127.0.0.1"}, "none": {get, ""}, "cut": {"PROXY TCP4 1.2.3.4", ""},
		"endless": {"PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n" + get, ""}, "garbage": {"PROXY TCP4 a b c d\r\n" + get, ""},
		"prior knowledge": {header(1) + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""},
	} {
		if got := lines(r.raw(c.send))["X-Real-Ip"]; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	client := h2Client(t)
	client.Transport.(*http.Transport).DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		io.WriteString(c, header(2))
		tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		return tc, tc.HandshakeContext(ctx)
	}
	resp, err := client.Get("https://" + r.secure + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if got := lines(string(body))["X-Real-Ip"]; got != "1.2.3.4" || resp.ProtoMajor != 2 {
		t.Errorf("HTTP/2: %q by %s", got, resp.Proto)
	}
}

// TestBehindHAProxy lets a real HAProxy speak both versions of the PROXY protocol.
func TestBehindHAProxy(t *testing.T) {
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if haproxy = "/usr/sbin/haproxy"; !exists(haproxy) {
			t.Skip("no haproxy")
		}
	}
	upstream := echo(t)
	r := newRig(t, proxy.Config{ProxyProtocol: true, Trust: proxy.Trust{Peers: everyone, Header: "proxy_protocol"}})
	r.route(upstream.URL, nil, "/")
	for _, send := range []string{"send-proxy", "send-proxy-v2"} {
		t.Run(send, func(t *testing.T) {
			front := listen(t)
			addr := front.Addr().String()
			front.Close()
			config := filepath.Join(t.TempDir(), "haproxy.cfg")
			text := fmt.Sprintf("defaults\n mode tcp\n timeout connect 2s\n timeout client 5s\n timeout server 5s\nlisten l\n bind %s\n server s %s %s\n", addr, r.plain, send)
			if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(haproxy, "-db", "-f", config)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() { cmd.Process.Kill(); cmd.Wait() }()
			dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
			client := &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}
			for until := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
				resp, err := client.Get("http://" + addr + "/")
				if err != nil && time.Now().Before(until) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if got := lines(string(body))["X-Real-Ip"]; got != "127.0.0.9" {
					t.Errorf("X-Real-IP is %q", got)
				}
				return
			}
		})
	}
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

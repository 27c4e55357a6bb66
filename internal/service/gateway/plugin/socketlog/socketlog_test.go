package socketlog_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/socketlog"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func status(t *testing.T, raw []byte) float64 {
	t.Helper()
	var record struct{ Response struct{ Status float64 } }
	if err := json.Unmarshal(raw, &record); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	return record.Response.Status
}

func config(a net.Addr, more schema.Record) schema.Record {
	out := schema.Record{"host": "127.0.0.1"}
	switch a := a.(type) {
	case *net.TCPAddr:
		out["port"] = float64(a.Port)
	case *net.UDPAddr:
		out["port"] = float64(a.Port)
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

func TestTCP(t *testing.T) {
	for name, secure := range map[string]bool{"clear": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			names := make(chan string, 4)
			lines := make(chan []byte, 16)
			go func() {
				for first := true; ; first = false {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					if first {
						c.Close() // what was written into it is sent again or was lost with it
						continue
					}
					if secure {
						conf := pair().Clone()
						conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { names <- h.ServerName; return nil, nil }
						c = tls.Server(c, conf)
					}
					for s := bufio.NewScanner(c); s.Scan(); {
						lines <- append([]byte(nil), s.Bytes()...)
					}
				}
			}()
			first, err := net.Dial("tcp", ln.Addr().String()) // uses up the connection that is closed
			if err != nil {
				t.Fatal(err)
			}
			first.Close()
			g, send := gatewaytest.Logged(t, socketlog.NewTCP(socketlog.Deps{}), config(ln.Addr(), schema.Record{"tls": secure, "tls_sni": "logs.example"}))
			for _, s := range []int{200, 404, 500} {
				send(s)
			}
			g.Close()
			for _, want := range []float64{200, 404, 500} {
				if got := status(t, <-lines); got != want {
					t.Errorf("got %v, want %v", got, want)
				}
			}
			if secure && <-names != "logs.example" {
				t.Error("another server name")
			}
		})
	}
}

// pair is a server's TLS configuration with a certificate nobody trusts.
func pair() *tls.Config {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates}
}

func TestUDP(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	g, send := gatewaytest.Logged(t, socketlog.NewUDP(socketlog.Deps{}), config(pc.LocalAddr(), nil))
	send(200)
	send(503)
	g.Close()
	buf := make([]byte, 65536)
	for _, want := range []float64{200, 503} {
		pc.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, _, err := pc.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if got := status(t, buf[:n]); got != want {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

func TestNobodyListens(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	g, send := gatewaytest.Logged(t, socketlog.NewUDP(socketlog.Deps{}), config(ln.Addr(), nil))
	for range 10 {
		send(200)
	}
	g.Close() // neither hangs nor panics
}

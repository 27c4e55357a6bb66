package mesh_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/mesh"
)

// node is a mesh that runs.
type node struct {
	*mesh.Mesh
	address string
	stop    func()
}

// start runs a node; before may register handlers.
func start(t *testing.T, c mesh.Config, before func(*mesh.Mesh)) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c.Advertise = l.Addr().String()
	if c.Cluster == "" {
		c.Cluster = "efm"
	}
	if c.Database == "" {
		c.Database = "db"
	}
	m := mesh.New(c, mesh.Deps{Listener: l, Log: slog.New(slog.DiscardHandler)})
	if before != nil {
		before(m)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	n := &node{m, c.Advertise, func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
			ended <- nil
		case <-time.After(20 * time.Second):
			t.Error("the mesh does not end")
		}
	}}
	t.Cleanup(n.stop)
	return n
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func (n *node) sees(names ...string) func() bool {
	return func() bool {
		var got []string
		for _, p := range n.Peers() {
			got = append(got, p.Node)
		}
		return strings.Join(got, " ") == strings.Join(names, " ")
	}
}

func TestNodesFindEachOtherAndSpeak(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS=%t", secure), func(t *testing.T) {
			var c mesh.Config
			if secure {
				c.Server, c.Client = pair(t)
			}
			heard := make(chan string, 1000)
			nodes := map[string]*node{}
			for _, name := range []string{"a", "b", "c"} {
				c := c
				c.Node = name
				nodes[name] = start(t, c, func(m *mesh.Mesh) {
					m.OnCast("news", func(from string, body []byte) { heard <- name + "<" + from + ":" + string(body) })
					m.OnCall("upper", func(_ context.Context, from string, body []byte) ([]byte, error) {
						if len(body) == 0 {
							return nil, (&fault.Reason{Kind: fault.Throttled, Name: "Nothing"}).Field("body", "nothing was said")
						}
						return bytes.ToUpper(body), nil
					})
					l := m.Listen("echo")
					go func() {
						for {
							conn, err := l.Accept()
							if err != nil {
								return
							}
							go func() {
								_, _ = io.Copy(conn, conn)
								_ = conn.Close()
							}()
						}
					}()
				})
			}
			a, b := nodes["a"], nodes["b"]
			b.Know(a.address)
			nodes["c"].Know(a.address) // it learns of b from a
			until(t, "all see all", func() bool {
				return a.sees("b", "c")() && b.sees("a", "c")() && nodes["c"].sees("a", "b")()
			})
			if want := map[bool]string{false: "tcp", true: "tcp-ssl"}[secure]; a.Stack() != want {
				t.Errorf("stack %s", a.Stack())
			}
			cast := time.Now()
			a.Cast("news", []byte("hello"))
			got := []string{<-heard, <-heard}
			if took := time.Since(cast); took > 100*time.Millisecond {
				t.Errorf("a cast took %s", took)
			}
			if s := strings.Join(got, " "); s != "b<a:hello c<a:hello" && s != "c<a:hello b<a:hello" {
				t.Error(s)
			}
			large := bytes.Repeat([]byte("x"), 5<<20)
			if out, err := a.Call(t.Context(), "b", "upper", large); err != nil || !bytes.Equal(out, bytes.ToUpper(large)) {
				t.Errorf("%d bytes, %v", len(out), err)
			}
			if _, err := a.Call(t.Context(), "b", "upper", nil); fault.KindOf(err) != fault.Throttled || fault.FieldOf(err) != "body" || fault.MessageOf(err) != "nothing was said" {
				t.Errorf("a fault comes back as %v", err)
			}
			if _, err := a.Call(t.Context(), "b", "nothing", nil); fault.KindOf(err) != fault.Unsupported {
				t.Errorf("a call that nobody answers: %v", err)
			}
			if _, err := a.Call(t.Context(), "z", "upper", nil); !mesh.NoPeer.Is(err) {
				t.Errorf("a node that is not there: %v", err)
			}
			conn, err := a.Dial(t.Context(), "c", "echo")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = conn.Write(large)
			}()
			back := make([]byte, len(large))
			if _, err := io.ReadFull(conn, back); err != nil || !bytes.Equal(back, large) {
				t.Errorf("an echo: %v", err)
			}
			if err := conn.Close(); err != nil {
				t.Error(err)
			}
			if _, err := a.Dial(t.Context(), "c", "nothing"); fault.KindOf(err) != fault.Unavailable {
				t.Errorf("a service that is not there: %v", err)
			}

			nodes["c"].stop()
			until(t, "the others see that c left", func() bool { return a.sees("b")() && b.sees("a")() })
			c.Node = "c"
			again := start(t, c, nil)
			again.Know(b.address)
			until(t, "c is back", func() bool { return a.sees("b", "c")() && again.sees("a", "b")() })
		})
	}
}

func TestWhoDoesNotFitIsRefused(t *testing.T) {
	base := mesh.Config{Node: "a", Digests: map[string]string{"store.url": "1", "cluster.hosts": "2", "tls": "3"}, Key: [32]byte{1}}
	server, client := pair(t)
	for name, test := range map[string]struct {
		change func(*mesh.Config)
		want   string
	}{
		"one key": {func(c *mesh.Config) {
			c.Digests = map[string]string{"store.url": "9", "cluster.hosts": "2", "tls": "3"}
		}, "these keys differ: store.url"},
		"keys": {func(c *mesh.Config) {
			c.Digests = map[string]string{"store.url": "1", "cluster.hosts": "9", "more": "3"}
		}, "these keys differ: cluster.hosts, more, tls"},
		"the database":     {func(c *mesh.Config) { c.Database = "other" }, "same database"},
		"the cluster":      {func(c *mesh.Config) { c.Cluster = "other" }, `cluster.name differs: "other" and "efm"`},
		"the name":         {func(c *mesh.Config) { c.Node = "a" }, `two nodes are called "a"`},
		"the key":          {func(c *mesh.Config) { c.Key = [32]byte{2} }, "does not know the cluster's key"},
		"a new generation": {func(c *mesh.Config) { c.Generation, c.Digests = 1, nil }, ""},
		"TLS":              {func(c *mesh.Config) { c.Server, c.Client = server, client }, "never"},
	} {
		t.Run(name, func(t *testing.T) {
			a := start(t, base, nil)
			a.Joined()
			c := base
			c.Node = "b"
			test.change(&c)
			b := start(t, c, nil)
			b.Know(a.address)
			switch test.want {
			case "":
				until(t, "they are connected", b.sees("a"))
			case "never":
				// Neither side takes the other; both attempts have failed by then.
				until(t, "b has tried", b.Settled)
				a.Know(b.address)
				until(t, "a has tried", a.Settled)
				if !a.sees()() || !b.sees()() {
					t.Error("a node that speaks TLS and one that does not are connected")
				}
			default:
				select {
				case err := <-b.Refused():
					if !mesh.Refused.Is(err) || !strings.Contains(err.Error(), test.want) {
						t.Errorf("refused with %v", err)
					}
				case <-time.After(10 * time.Second):
					t.Fatal("not refused")
				}
				if !a.sees()() || !b.sees()() {
					t.Error("they are connected")
				}
			}
			select {
			case err := <-a.Refused():
				t.Errorf("the node that was there first is told to end: %v", err)
			default:
			}
		})
	}
}

// What strangers send ends nothing and stays small.
func TestStrangers(t *testing.T) {
	a := start(t, mesh.Config{Node: "a"}, nil)
	for _, text := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x02\x00", "\x00\x00\x00\x02{}", "\x00\x00\x00\x04null", "\x00\x00\x00\x05\xff\xff\xff\xff\xff",
		"\x00\x03\xff\xff" + strings.Repeat("x", 1000)} {
		conn, err := net.Dial("tcp", a.address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite() // it may be closed by now
		// It says hello, and gives up on who does not.
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, net.ErrClosed) && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: %v", text, err)
		}
		_ = conn.Close()
	}
	if !a.sees()() {
		t.Error("a stranger became a peer")
	}
}

// pair is a TLS identity that all nodes of a test share.
func pair(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "node"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, DNSNames: []string{"localhost"}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	own := []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	return &tls.Config{Certificates: own, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert},
		&tls.Config{Certificates: own, RootCAs: roots, ServerName: "localhost"}
}

package acme_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/acme"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// rig is a gateway with the plugin, and Pebble as its authority.
type rig struct {
	t          *testing.T
	g          *gateway.Gateway // the node that is asked
	kind       gateway.Plugin
	roots      *x509.CertPool
	clock      *gatewaytest.Clock
	client     *http.Client
	management string           // of Pebble
	web        *httptest.Server // where challenges are asked for
	config     schema.Record
	challenged atomic.Pointer[gateway.Gateway] // the node that challenges come to
	asked      chan struct{}                   // has something when a challenge has come
	hold       sync.Mutex                      // challenges wait for it
}

// node adds a gateway with the plugin.
func (r *rig) node() (*gateway.Gateway, gateway.Plugin) {
	kind := acme.New(acme.Deps{Client: r.client})
	g := gatewaytest.New(r.t, []gateway.Plugin{kind}, func(d *gateway.Deps) { d.Clock = r.clock })
	r.t.Cleanup(r.web.Close) // before the gateway, which challenges come to until then
	gatewaytest.Create(r.t, g, "plugins", schema.Record{"name": "acme", "config": r.config})
	return g, kind
}

// newRig starts Pebble, with pebble's settings besides the usual ones, and a node.
func newRig(t *testing.T, edit schema.Record, pebble ...schema.Record) *rig {
	t.Helper()
	program, err := exec.LookPath("pebble")
	if err != nil {
		t.Skip("pebble is not installed")
	}
	r := &rig{t: t, asked: make(chan struct{}, 1), clock: gatewaytest.NewClock(time.Now())}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		select {
		case r.asked <- struct{}{}:
		default:
		}
		r.hold.Lock()
		defer r.hold.Unlock()
		got := gatewaytest.Do(r.challenged.Load(), gatewaytest.Request{Target: q.URL.Path, Host: q.Host})
		w.WriteHeader(got.Status)
		io.WriteString(w, got.Body)
	}))
	r.web = web
	port := web.Listener.Addr().(*net.TCPAddr).Port

	authority := gatewaytest.NewAuthority(t, "pebble's own")
	pair := authority.Issue(t, "127.0.0.1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	api, management := freeAddress(t), freeAddress(t)
	settings := schema.Record{"listenAddress": api, "managementListenAddress": management,
		"certificate": write("cert.pem", []byte(pair.Cert)), "privateKey": write("key.pem", []byte(pair.Key)), "httpPort": port, "tlsPort": port}
	for _, more := range pebble {
		maps.Copy(settings, more)
	}
	raw, _ := json.Marshal(schema.Record{"pebble": settings})
	cmd := exec.Command(program, "-config", write("pebble.json", raw), "-dnsserver", resolver(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_ALTERNATE_ROOTS=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })

	dialer := &net.Dialer{}
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authority.Pool()},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if _, p, _ := net.SplitHostPort(address); p == "80" {
				address = web.Listener.Addr().String()
			}
			return dialer.DialContext(ctx, network, address)
		}}}
	t.Cleanup(client.CloseIdleConnections)
	r.roots = x509.NewCertPool()
	r.until("pebble is there", func() bool {
		got, err := client.Get("https://" + management + "/roots/0")
		if err != nil {
			return false
		}
		defer got.Body.Close()
		pem, _ := io.ReadAll(got.Body)
		return r.roots.AppendCertsFromPEM(pem)
	})
	r.client, r.management = client, management
	r.config = schema.Record{"account_email": "a@b.example", "api_uri": "https://" + api + "/dir", "domains": []any{"one.example", "*.wild.example"}, "cert_type": "ecc"}
	maps.Copy(r.config, edit)
	r.g, r.kind = r.node()
	r.challenged.Store(r.g)
	return r
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// resolver is a DNS server for which every name is this machine.
func resolver(t *testing.T) string {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1)}}
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatalf("not in time: %s", what)
		}
	}
}

// serial shakes hands and returns the certificate's number; "" where there is none that
// the authority vouches for.
func (r *rig) serial(name string) string {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	server := tls.Server(far, &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if _, asked := r.g.AsksCertificate(h.ServerName); asked {
			r.t.Error("the client is asked for a certificate")
		}
		return r.g.Certificate(h), nil
	}})
	go server.Handshake()
	client := tls.Client(near, &tls.Config{ServerName: name, RootCAs: r.roots})
	if client.HandshakeContext(r.t.Context()) != nil {
		return ""
	}
	return client.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

func (r *rig) admin(method, path string, body schema.Record) (int, string) {
	r.t.Helper()
	return r.ask(r.kind, method, path, body)
}

// ask asks the Admin API of a node.
func (r *rig) ask(kind gateway.Plugin, method, path string, body schema.Record) (int, string) {
	r.t.Helper()
	for _, e := range kind.Admin {
		if e.Path == path {
			a := e.Methods[method](gateway.AdminRequest{Context: r.t.Context(), Body: body, Params: map[string]string{"host": "one.example"}})
			raw, _ := json.Marshal(a.Body)
			return a.Status, string(raw)
		}
	}
	r.t.Fatal("no such path", path)
	return 0, ""
}

func TestHandshakeObtainsAndRenews(t *testing.T) {
	for _, storage := range []string{"kong", "shm", "redis"} {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, schema.Record{"storage": storage, "storage_config": redisConfig(t), "renew_threshold_days": 36500.0})
			for _, name := range []string{"other.example", "wild.example"} {
				if r.serial(name) != "" {
					t.Error(name)
				}
			}
			var first string
			r.until("a certificate", func() bool { first = r.serial("one.example"); return first != "" })
			r.until("a certificate of a wildcard's", func() bool { return r.serial("a.wild.example") != "" })
			if status, body := r.admin("PATCH", "/acme", nil); status != 202 {
				t.Error(status, body)
			}
			r.until("a new certificate", func() bool { s := r.serial("one.example"); return s != "" && s != first })
			if e, _ := r.g.Entity("acme_storage"); e != nil && !e.Private {
				t.Error("the storage shows")
			}
			for _, path := range []string{"/acme/certificates", "/acme/certificates/{host}"} {
				if status, body := r.admin("GET", path, nil); status != 200 || !json.Valid([]byte(body)) {
					t.Error(path, status, body)
				}
			}
		})
	}
}

func TestAdminCreates(t *testing.T) {
	t.Parallel()
	r := newRig(t, schema.Record{"storage": "kong"})
	for _, c := range []struct {
		body   schema.Record
		status int
		says   string
	}{
		{schema.Record{}, 400, "host must be provided and containing a single domain"},
		{schema.Record{"host": "one.example:80"}, 400, "port is not allowed in host"},
		{schema.Record{"host": "other.example"}, 400, "host other.example is not included in plugin config.domains"},
		{schema.Record{"host": "one.example", "test_http_challenge_flow": true}, 200, "sanity test for host one.example passed"},
		{schema.Record{"host": "one.example"}, 201, "certificate for host one.example is created"},
		{schema.Record{"host": "One.example"}, 201, "certificate for host one.example is created"},
	} {
		if status, body := r.admin("POST", "/acme", c.body); status != c.status || body != fmt.Sprintf(`{"message":%q}`, c.says) {
			t.Errorf("%v: %d %s", c.body, status, body)
		}
	}
	if r.serial("one.example") == "" {
		t.Error("it is not served")
	}
}

func TestFailureBacksOff(t *testing.T) {
	t.Parallel()
	r := newRig(t, schema.Record{"api_uri": "https://" + freeAddress(t) + "/dir"})
	if status, body := r.admin("POST", "/acme", schema.Record{"host": "one.example"}); status != 500 {
		t.Fatal(status, body)
	}
	r.clock.Pass(time.Minute)
	want := `{"message":"failed to update certificate: please try again in 240 seconds for host one.example because of previous failure; this is configurable with config.fail_backoff_minutes"}`
	if status, body := r.admin("POST", "/acme", schema.Record{"host": "one.example"}); status != 500 || body != want {
		t.Error(status, body)
	}
}

func TestConfig(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{acme.New(acme.Deps{})})
	e, _ := g.Entity("plugins")
	for _, c := range []schema.Record{
		{"account_email": "a@b.example"},
		{"tos_accepted": true},
		{"account_email": "nobody", "tos_accepted": true},
		{"account_email": "a@b.example", "tos_accepted": true, "storage": "etcd"},
		{"account_email": "a@b.example", "tos_accepted": true, "domains": []any{"a.*"}},
		{"account_email": "a@b.example", "tos_accepted": true, "domains": []any{"192.0.2.1"}},
		{"account_email": "a@b.example", "tos_accepted": true, "rsa_key_size": 1024.0},
	} {
		if _, err := g.Create(t.Context(), e, schema.Record{"name": "acme", "config": c}); err == nil {
			t.Errorf("accepted: %v", c)
		}
	}
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "acme", "config": schema.Record{"account_email": "a@b.example", "tos_accepted": true}})
	if got := gatewaytest.Do(g, gatewaytest.Request{Target: "/.well-known/acme-challenge/x", Host: "any.example"}); !gatewaytest.Says(got, "no Route matched with those values") {
		t.Errorf("%+v", got)
	}
}

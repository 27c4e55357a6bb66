package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// handshake connects once and returns the state after one exchange, by which time the
// session ticket has come.
func (r *rig) handshake(c *tls.Config) tls.ConnectionState {
	r.t.Helper()
	if c.RootCAs == nil {
		c.InsecureSkipVerify = true
	}
	conn, err := tls.Dial("tcp", r.secure, c)
	if err != nil {
		r.t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(conn, "GET /nothing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
	if _, err := io.ReadAll(conn); err != nil {
		r.t.Fatal(err)
	}
	return conn.ConnectionState()
}

func pairRecord(p *gatewaytest.Pair, names ...any) schema.Record {
	return schema.Record{"cert": p.Cert, "key": p.Key, "snis": names}
}

func TestCertificateByName(t *testing.T) {
	r, ca := newRig(t, proxy.Config{}), gatewaytest.NewAuthority(t, "ca")
	for name, label := range map[string]string{"exact": "www.one.example", "below": "*.one.example", "behind": "www.*"} {
		gatewaytest.Create(t, r.gw, "certificates", pairRecord(ca.Issue(t, name), label))
	}
	for name, want := range map[string]string{
		"www.one.example": "exact", "WWW.One.example.": "exact", "api.one.example": "below", "www.other": "behind",
		"a.b.one.example": "", "other.example": "", "": "",
	} {
		if got := r.handshake(&tls.Config{ServerName: name}).PeerCertificates[0].Subject.CommonName; got != want {
			t.Errorf("%q: certificate of %q, want %q", name, got, want)
		}
	}
	gatewaytest.Create(t, r.gw, "certificates", pairRecord(ca.Issue(t, "any"), "*"))
	if got := r.handshake(&tls.Config{ServerName: "other.example"}).PeerCertificates[0].Subject.CommonName; got != "any" {
		t.Errorf("certificate of %q", got)
	}
}

func TestCertificateByAlgorithm(t *testing.T) {
	r, ca := newRig(t, proxy.Config{}), gatewaytest.NewAuthority(t, "ca")
	one, other := ca.IssueRSA(t, "n"), ca.Issue(t, "n")
	record := pairRecord(one, "n")
	record["cert_alt"], record["key_alt"] = other.Cert, other.Key
	gatewaytest.Create(t, r.gw, "certificates", record)
	for suite, want := range map[uint16]x509.PublicKeyAlgorithm{
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: x509.RSA, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: x509.ECDSA, 0: x509.ECDSA,
	} {
		c := &tls.Config{ServerName: "n"}
		if suite != 0 {
			c.CipherSuites, c.MaxVersion = []uint16{suite}, tls.VersionTLS12
		}
		if got := r.handshake(c).PeerCertificates[0].PublicKeyAlgorithm; got != want {
			t.Errorf("%s: %v, want %v", tls.CipherSuiteName(suite), got, want)
		}
	}
}

// TestCertificateReplacedUnderLoad replaces a certificate while clients connect: every
// handshake shows a whole pair, and what the Admin API answered is what the next one shows.
func TestCertificateReplacedUnderLoad(t *testing.T) {
	r, ca := newRig(t, proxy.Config{}), gatewaytest.NewAuthority(t, "ca")
	e, _ := r.gw.Entity("certificates")
	made := gatewaytest.Create(t, r.gw, "certificates", pairRecord(ca.Issue(t, "0", gatewaytest.Names("n")), "n"))
	var stop atomic.Bool
	var handshakes, failed atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				conn, err := tls.Dial("tcp", r.secure, &tls.Config{ServerName: "n", RootCAs: ca.Pool()})
				if handshakes.Add(1); err != nil {
					failed.Add(1)
					continue
				}
				conn.Close()
			}
		})
	}
	for i := range 20 {
		name := fmt.Sprint(i + 1)
		p := ca.Issue(t, name, gatewaytest.Names("n"))
		if _, err := r.gw.Patch(t.Context(), e, made["id"].(string), schema.Record{"cert": p.Cert, "key": p.Key}); err != nil {
			t.Fatal(err)
		}
		if got := r.handshake(&tls.Config{ServerName: "n", RootCAs: ca.Pool()}).PeerCertificates[0].Subject.CommonName; got != name {
			t.Fatalf("after change %s the certificate is %s", name, got)
		}
	}
	stop.Store(true)
	wg.Wait()
	if failed.Load() > 0 || handshakes.Load() < 20 {
		t.Errorf("%d of %d handshakes failed", failed.Load(), handshakes.Load())
	}
}

// asker is a plugin that wants to see the client's certificate and tells its name.
type asker struct{ tell bool }

func (a asker) AskCertificate(all *gateway.Authorities) ([]*gateway.Authority, bool) {
	return all.All(), a.tell
}

func (asker) Access(x *gateway.Exchange) {
	name := "none"
	if certs := x.Conn.TLS.PeerCertificates; len(certs) > 0 {
		name = certs[0].Subject.CommonName
	}
	x.Respond(200, []byte(name))
}

func askerKind() gateway.Plugin {
	return gateway.Plugin{Name: "asker", Priority: 1, Config: &schema.Field{Fields: []*schema.Field{{Name: "tell", Kind: schema.Boolean}}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			tell, _ := c["tell"].(bool)
			return asker{tell}, nil
		}}
}

// TestResumption holds that sessions are resumed, across changes too, but not past the
// question for a certificate.
func TestResumption(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r, ca := newRig(t, proxy.Config{}, askerKind()), gatewaytest.NewAuthority(t, "ca")
		client := ca.Issue(t, "client").TLS()
		config := func(certs ...tls.Certificate) *tls.Config {
			return &tls.Config{ServerName: "n", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(8), Certificates: certs}
		}
		bearer, bare := config(client), config()
		resumed := func(c *tls.Config, want bool, when string) {
			t.Helper()
			if got := r.handshake(c).DidResume; got != want {
				t.Errorf("%s %s: resumed %v", tls.VersionName(version), when, got)
			}
		}
		resumed(bearer, false, "first")
		resumed(bearer, true, "second")
		gatewaytest.Create(t, r.gw, "certificates", pairRecord(ca.Issue(t, "server"), "other"))
		resumed(bearer, true, "after a change")
		gatewaytest.Create(t, r.gw, "routes", schema.Record{"paths": []any{"/"}})
		p := gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "asker"})
		resumed(bearer, false, "with a session of before the question")
		resumed(bearer, true, "asked")
		resumed(bare, false, "without a certificate")
		resumed(bare, true, "without a certificate, again")
		tr := &http.Transport{TLSClientConfig: &tls.Config{ServerName: "n", InsecureSkipVerify: true, MaxVersion: version,
			ClientSessionCache: bearer.ClientSessionCache, Certificates: []tls.Certificate{client}}}
		resp, err := (&http.Client{Transport: tr}).Get("https://" + r.secure + "/")
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		tr.CloseIdleConnections()
		if string(got) != "client" || !resp.TLS.DidResume {
			t.Errorf("%s: a resumed session (%v) shows the certificate of %q", tls.VersionName(version), resp.TLS.DidResume, got)
		}
		e, _ := r.gw.Entity("plugins")
		if _, err := r.gw.Delete(t.Context(), e, p["id"].(string)); err != nil {
			t.Fatal(err)
		}
		resumed(bearer, false, "with a certificate nobody asks for any more")
	}
}

// TestAsksWhereNeeded holds that clients are asked for a certificate for the server names
// of the routes that need it, and told the names of authorities where a plugin says so.
func TestAsksWhereNeeded(t *testing.T) {
	r, ca := newRig(t, proxy.Config{}, askerKind()), gatewaytest.NewAuthority(t, "known ca")
	gatewaytest.Create(t, r.gw, "ca_certificates", schema.Record{"cert": ca.Cert})
	asked := func(name string) (asked bool, told int) {
		r.handshake(&tls.Config{ServerName: name, GetClientCertificate: func(i *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked, told = true, len(i.AcceptableCAs)
			return new(tls.Certificate), nil
		}})
		return asked, told
	}
	check := func(when string, want map[string]int) { // -1: not asked
		t.Helper()
		for name, n := range want {
			if a, told := asked(name); a != (n >= 0) || a && told != n {
				t.Errorf("%s, %q: asked %v, told %d", when, name, a, told)
			}
		}
	}
	check("no plugin", map[string]int{"a": -1, "": -1})
	one := gatewaytest.Create(t, r.gw, "routes", schema.Record{"snis": []any{"a", "*.b"}})
	gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "asker", "route": schema.Record{"id": one["id"]}, "config": schema.Record{"tell": true}})
	check("one route", map[string]int{"a": 1, "A": 1, "x.b": 1, "c": -1, "": -1})
	two := gatewaytest.Create(t, r.gw, "routes", schema.Record{"paths": []any{"/x"}})
	p := gatewaytest.Create(t, r.gw, "plugins", schema.Record{"name": "asker", "route": schema.Record{"id": two["id"]}})
	check("a route without names", map[string]int{"a": 1, "c": 0, "": 0})
	e, _ := r.gw.Entity("plugins")
	if _, err := r.gw.Patch(t.Context(), e, p["id"].(string), schema.Record{"enabled": false}); err != nil {
		t.Fatal(err)
	}
	check("disabled", map[string]int{"a": 1, "c": -1})
}

// TestTLSToUpstream covers what a service says about TLS to its upstream, for clients in
// HTTP/1 and in HTTP/2.
func TestTLSToUpstream(t *testing.T) {
	r, ca, foreign := newRig(t, proxy.Config{}), gatewaytest.NewAuthority(t, "ca"), gatewaytest.NewAuthority(t, "foreign")
	middle := ca.Under(t, "middle")
	leaf := middle.Issue(t, "upstream", gatewaytest.Names("localhost"))
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "none"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		io.WriteString(w, name)
	}))
	up.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, ClientCAs: foreign.Pool(),
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Leaf.Raw, middle.Leaf.Raw}, PrivateKey: leaf.Signer}}}
	up.StartTLS()
	t.Cleanup(up.Close)
	port := float64(up.Listener.Addr().(*net.TCPAddr).Port)
	create := func(collection string, rec schema.Record) schema.Record {
		return gatewaytest.Create(t, r.gw, collection, rec)
	}
	id := func(rec schema.Record) any { return rec["id"] }
	cert := create("certificates", pairRecord(ca.Issue(t, "gate")))
	known, unknown := id(create("ca_certificates", schema.Record{"cert": ca.Cert})), id(create("ca_certificates", schema.Record{"cert": foreign.Cert}))
	balanced := create("upstreams", schema.Record{"name": "localhost", "client_certificate": nil})
	create("targets", schema.Record{"upstream": schema.Record{"id": balanced["id"]}, "target": fmt.Sprintf("localhost:%d", int(port))})
	plain := &http.Client{Transport: &http.Transport{}}
	h2 := &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	t.Cleanup(plain.CloseIdleConnections)
	t.Cleanup(h2.CloseIdleConnections)
	for name, c := range map[string]struct {
		service schema.Record
		status  int
		body    string
	}{
		"default":     {schema.Record{}, 200, "none"},
		"certificate": {schema.Record{"client_certificate": schema.Record{"id": cert["id"]}}, 200, "gate"},
		"verified":    {schema.Record{"tls_verify": true, "ca_certificates": []any{unknown, known}}, 200, "none"},
		"deep":        {schema.Record{"tls_verify": true, "ca_certificates": []any{known}, "tls_verify_depth": 1.0}, 200, "none"},
		"too-deep":    {schema.Record{"tls_verify": true, "ca_certificates": []any{known}, "tls_verify_depth": 0.0}, 502, ""},
		"unknown":     {schema.Record{"tls_verify": true, "ca_certificates": []any{unknown}}, 502, ""},
		"system":      {schema.Record{"tls_verify": true}, 502, ""},
		"unverified":  {schema.Record{"tls_verify": false, "ca_certificates": []any{unknown}}, 200, "none"},
	} {
		c.service["name"], c.service["protocol"], c.service["host"], c.service["port"], c.service["retries"] = name, "https", "localhost", port, 0.0
		s := create("services", c.service)
		create("routes", schema.Record{"paths": []any{"/" + name}, "service": schema.Record{"id": s["id"]}})
		for url, client := range map[string]*http.Client{"http://" + r.plain: plain, "https://" + r.secure: h2} {
			for range 2 { // the second time over a connection that was kept
				resp, err := client.Get(url + "/" + name)
				if err != nil {
					t.Fatal(err)
				}
				got, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode != c.status || c.status == 200 && string(got) != c.body {
					t.Errorf("%s by %s: %d %q", name, url, resp.StatusCode, got)
				}
			}
		}
	}
}

// BenchmarkHandshake measures whole and resumed handshakes, client and server together.
func BenchmarkHandshake(b *testing.B) {
	r, ca := newRig(b, proxy.Config{}, askerKind()), gatewaytest.NewAuthority(b, "ca")
	for i := range 1000 {
		name := fmt.Sprintf("n%d.example", i)
		gatewaytest.Create(b, r.gw, "certificates", pairRecord(&ca.Pair, name))
	}
	for name, c := range map[string]*tls.Config{
		"whole":   {ServerName: "n7.example"},
		"resumed": {ServerName: "n7.example", ClientSessionCache: tls.NewLRUClientSessionCache(8)},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				r.handshake(c)
			}
		})
	}
}

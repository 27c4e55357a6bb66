package mtlsauth_test

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// registry is an OCSP responder and a server of CRLs for an authority.
type registry struct {
	*httptest.Server
	t       testing.TB
	ca      *gatewaytest.Authority
	revoked atomic.Pointer[big.Int]
	signer  atomic.Pointer[gatewaytest.Pair] // of OCSP answers, besides the authority
	mode    atomic.Pointer[string]           // how it misbehaves
	asked   atomic.Int64
}

func newRegistry(t testing.TB, ca *gatewaytest.Authority) *registry {
	r := &registry{t: t, ca: ca}
	r.behave("")
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *registry) behave(mode string) { r.mode.Store(&mode) }

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.asked.Add(1)
	mode, now := *r.mode.Load(), time.Now()
	from, to := now.Add(-time.Hour), now.Add(time.Hour)
	switch mode {
	case "down":
		w.WriteHeader(503)
		return
	case "garbage":
		io.WriteString(w, "no DER at all")
		return
	case "endless":
		io.Copy(w, strings.NewReader(strings.Repeat("x", 128<<10)))
		return
	case "old":
		from, to = now.Add(-3*time.Hour), now.Add(-2*time.Hour)
	}
	revoked := r.revoked.Load()
	if strings.HasSuffix(req.URL.Path, "/crl") {
		list := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: to}
		if revoked != nil {
			list.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: revoked, RevocationTime: now}}
		}
		der, err := x509.CreateRevocationList(rand.Reader, list, r.ca.Leaf, r.ca.Signer)
		if err != nil {
			r.t.Error(err)
		}
		if mode == "pem" {
			der = pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
		}
		w.Write(der)
		return
	}
	body, _ := io.ReadAll(req.Body)
	asked, err := ocsp.ParseRequest(body)
	if err != nil || req.Header.Get("Content-Type") != "application/ocsp-request" {
		r.t.Errorf("not an OCSP request: %v", err)
		return
	}
	answer := ocsp.Response{Status: ocsp.Good, SerialNumber: asked.SerialNumber, ThisUpdate: from, NextUpdate: to}
	if revoked != nil && revoked.Cmp(asked.SerialNumber) == 0 {
		answer.Status, answer.RevokedAt = ocsp.Revoked, now
	}
	if mode == "unknown" {
		answer.Status = ocsp.Unknown
	}
	by := &r.ca.Pair
	if other := r.signer.Load(); other != nil {
		by, answer.Certificate = other, other.Leaf
	}
	der, err := ocsp.CreateResponse(r.ca.Leaf, by.Leaf, answer, by.Signer)
	if err != nil {
		r.t.Error(err)
	}
	w.Write(der)
}

func (r *registry) config(mode string) schema.Record {
	return schema.Record{"revocation_check_mode": mode, "cert_cache_ttl": 0.0, "http_timeout": 5000.0}
}

func TestRevocation(t *testing.T) {
	r, ca := newRig(t), gatewaytest.NewAuthority(t, "ca")
	r.trust(ca)
	reg := newRegistry(t, ca)
	at := func(urls func(c *x509.Certificate)) *gatewaytest.Pair { return ca.Issue(t, "client", urls) }
	byOCSP := at(func(c *x509.Certificate) { c.OCSPServer = []string{reg.URL} })
	byCRL := at(func(c *x509.Certificate) { c.CRLDistributionPoints = []string{reg.URL + "/crl"} })
	both := at(func(c *x509.Certificate) {
		c.OCSPServer, c.CRLDistributionPoints = []string{"http://127.0.0.1:1/"}, []string{"ldap://nowhere", reg.URL + "/crl"}
	})
	neither := ca.Issue(t, "client")
	responder := ca.Issue(t, "responder", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning} })
	for _, c := range []struct {
		name           string
		cert           *gatewaytest.Pair
		revoked        bool
		behave         string
		signer         *gatewaytest.Pair
		ignore, strict string
	}{
		{"good by OCSP", byOCSP, false, "", nil, "", ""},
		{"revoked by OCSP", byOCSP, true, "", nil, badCert, badCert},
		{"by a responder of the authority", byOCSP, false, "", responder, "", ""},
		{"revoked, by a responder", byOCSP, true, "", responder, badCert, badCert},
		{"signed by a client", byOCSP, true, "", neither, "", badCert},
		{"responder is down", byOCSP, true, "down", nil, "", badCert},
		{"responder answers rubbish", byOCSP, true, "garbage", nil, "", badCert},
		{"responder answers too much", byOCSP, true, "endless", nil, "", badCert},
		{"responder is out of date", byOCSP, false, "old", nil, "", badCert},
		{"responder does not know", byOCSP, false, "unknown", nil, "", badCert},
		{"good by CRL", byCRL, false, "", nil, "", ""},
		{"revoked by CRL", byCRL, true, "", nil, badCert, badCert},
		{"revoked by CRL in PEM", byCRL, true, "pem", nil, badCert, badCert},
		{"CRL is out of date", byCRL, true, "old", nil, "", badCert},
		{"no CRL", byCRL, true, "down", nil, "", badCert},
		{"no responder, good by CRL", both, false, "", nil, "", ""},
		{"no responder, revoked by CRL", both, true, "", nil, badCert, badCert},
		{"nobody to ask", neither, true, "", nil, "", badCert},
	} {
		reg.revoked.Store(nil)
		if c.revoked {
			reg.revoked.Store(c.cert.Leaf.SerialNumber)
		}
		reg.behave(c.behave)
		reg.signer.Store(c.signer)
		for mode, want := range map[string]string{"IGNORE_CA_ERROR": c.ignore, "STRICT": c.strict, "SKIP": ""} {
			before := reg.asked.Load()
			r.configure(reg.config(mode))
			r.want(c.name+", "+mode, r.ask(c.cert), want, "")
			if mode == "SKIP" && reg.asked.Load() != before {
				t.Errorf("%s: asked all the same", c.name)
			}
		}
	}
}

// TestRevokedIntermediate asks about intermediates too.
func TestRevokedIntermediate(t *testing.T) {
	r, ca := newRig(t), gatewaytest.NewAuthority(t, "ca")
	r.trust(ca)
	reg := newRegistry(t, ca)
	middle := ca.Under(t, "middle", func(c *x509.Certificate) { c.OCSPServer = []string{reg.URL} })
	client := middle.Issue(t, "client")
	r.configure(reg.config("IGNORE_CA_ERROR"))
	r.want("good", r.ask(client, &middle.Pair), "", "")
	reg.revoked.Store(middle.Leaf.SerialNumber)
	r.want("revoked", r.ask(client, &middle.Pair), badCert, "")
}

// TestVerdictsAreKept holds that a verdict is kept for its time, and that requests that
// come together ask once.
func TestVerdictsAreKept(t *testing.T) {
	r, ca := newRig(t), gatewaytest.NewAuthority(t, "ca")
	r.trust(ca)
	reg := newRegistry(t, ca)
	client := ca.Issue(t, "client", func(c *x509.Certificate) { c.OCSPServer = []string{reg.URL} })
	config := reg.config("STRICT")
	config["cert_cache_ttl"] = 60_000.0
	r.configure(config)
	done := make(chan gatewaytest.Result)
	for range 8 {
		go func() { done <- r.ask(client) }()
	}
	for range 8 {
		r.want("together", <-done, "", "")
	}
	reg.revoked.Store(client.Leaf.SerialNumber)
	r.want("revoked since", r.ask(client), "", "")
	if n := reg.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// TestRevocationByProxy sends the questions where http_proxy_host says.
func TestRevocationByProxy(t *testing.T) {
	r, ca := newRig(t), gatewaytest.NewAuthority(t, "ca")
	r.trust(ca)
	reg := newRegistry(t, ca)
	var asked atomic.Pointer[url.URL]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		asked.Store(req.URL)
		body, _ := io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(body))
		reg.ServeHTTP(w, req)
	}))
	t.Cleanup(proxy.Close)
	host, port, _ := strings.Cut(strings.TrimPrefix(proxy.URL, "http://"), ":")
	n, _ := strconv.Atoi(port)
	config := reg.config("STRICT")
	config["http_proxy_host"], config["http_proxy_port"] = host, float64(n)
	r.configure(config)
	client := ca.Issue(t, "client", func(c *x509.Certificate) { c.OCSPServer = []string{"http://ocsp.example/q"} })
	r.want("by a proxy", r.ask(client), "", "")
	if u := asked.Load(); u == nil || u.Host != "ocsp.example" {
		t.Errorf("%v", u)
	}
}

package gateway_test

import (
	"crypto/tls"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// serviceAt returns the service a request for a path would go to.
func serviceAt(t testing.TB, g *gateway.Gateway, path string) *gateway.Service {
	t.Helper()
	x := g.Begin()
	defer g.End(x)
	x.Conn = &gateway.Conn{PeerIP: "127.0.0.1"}
	x.Request.Method, x.Request.Scheme, x.Request.Proto = "GET", "http", 1
	gateway.SetTarget(&x.Request, path, 80)
	g.Access(x)
	if x.Upstream.Service == nil {
		t.Fatalf("%s leads to no service", path)
	}
	return x.Upstream.Service
}

// TestUpstreamIdentity holds that what services say about TLS is compiled once for each
// identity: connections are shared where it is the same, and only there.
func TestUpstreamIdentity(t *testing.T) {
	g, ca := gatewaytest.New(t, nil), gatewaytest.NewAuthority(t, "ca")
	pair := func(name string) schema.Record {
		p := ca.Issue(t, name)
		return schema.Record{"id": gatewaytest.Create(t, g, "certificates", schema.Record{"cert": p.Cert, "key": p.Key})["id"]}
	}
	own, balanced := pair("own"), pair("balanced")
	gatewaytest.Create(t, g, "upstreams", schema.Record{"name": "up.example", "client_certificate": balanced})
	service := func(name, url string, more schema.Record) {
		t.Helper()
		more["name"], more["url"] = name, url
		gatewaytest.Create(t, g, "services", more)
		gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/" + name}, "service": schema.Record{"name": name}})
	}
	service("clear", "http://h", schema.Record{})
	service("one", "https://h", schema.Record{})
	service("same", "https://other", schema.Record{})
	service("verified", "https://h", schema.Record{"tls_verify": true})
	service("own", "https://up.example", schema.Record{"client_certificate": own})
	service("balanced", "https://up.example", schema.Record{})
	at := func(name string) *tls.Config { return serviceAt(t, g, "/"+name).TLSConfig }
	shown := func(name string) string {
		c := at(name)
		if c.GetClientCertificate == nil {
			return ""
		}
		cert, err := c.GetClientCertificate(&tls.CertificateRequestInfo{})
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.Subject.CommonName
	}
	if at("clear") != nil || at("one") == nil || at("one") != at("same") || at("one") == at("verified") {
		t.Error("the same identity is the same configuration, another is another")
	}
	if shown("one") != "" || shown("own") != "own" || shown("balanced") != "balanced" {
		t.Errorf("%q %q %q", shown("one"), shown("own"), shown("balanced"))
	}
	before := at("own")
	e, _ := g.Entity("services")
	if _, err := g.Patch(t.Context(), e, "own", schema.Record{"retries": 1.0}); err != nil {
		t.Fatal(err)
	}
	if at("own") != before || serviceAt(t, g, "/own").Retries != 1 {
		t.Error("a change of something else changes the identity")
	}
	certificates, _ := g.Entity("certificates")
	next := ca.Issue(t, "next")
	if _, err := g.Patch(t.Context(), certificates, own["id"].(string), schema.Record{"cert": next.Cert, "key": next.Key}); err != nil {
		t.Fatal(err)
	}
	if at("own") == before || shown("own") != "next" {
		t.Error("a new certificate is not a new identity")
	}
}

// TestCertificateInVault serves a certificate whose key is in a vault; one that cannot be
// read serves nothing.
func TestCertificateInVault(t *testing.T) {
	ca := gatewaytest.NewAuthority(t, "ca")
	p := ca.Issue(t, "in a vault")
	g := gatewaytest.New(t, nil, func(d *gateway.Deps) {
		d.Secret = func(name string) (string, bool) { return p.Key, name == "THE_KEY" }
	})
	gatewaytest.Create(t, g, "certificates", schema.Record{"cert": p.Cert, "key": "{vault://env/the-key}", "snis": []any{"a"}})
	gatewaytest.Create(t, g, "certificates", schema.Record{"cert": p.Cert, "key": "{vault://env/no-key}", "snis": []any{"b"}})
	if c := g.Certificate(&tls.ClientHelloInfo{ServerName: "a"}); c == nil || c.Leaf.Subject.CommonName != "in a vault" {
		t.Errorf("%v", c)
	}
	if c := g.Certificate(&tls.ClientHelloInfo{ServerName: "b"}); c != nil {
		t.Errorf("%v", c.Leaf.Subject)
	}
}

// FuzzCertificate puts any text where PEM belongs: it is refused in words that hold nothing
// of a key, or it is a pair.
func FuzzCertificate(f *testing.F) {
	ca := gatewaytest.NewAuthority(f, "ca")
	p := ca.Issue(f, "n")
	f.Add(p.Cert, p.Key)
	f.Add(p.Cert+ca.Cert, p.Key)
	f.Add(p.Key, p.Cert)
	f.Add("@/a/b", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	f.Add(strings.Repeat("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n", 40), "{vault://env/x}")
	g := gatewaytest.New(f, nil)
	certificates, _ := g.Entity("certificates")
	authorities, _ := g.Entity("ca_certificates")
	f.Fuzz(func(t *testing.T, cert, key string) {
		err := g.Validate(certificates, schema.Record{"cert": cert, "key": key})
		if err != nil && strings.Contains(err.Error(), "PRIVATE KEY---") {
			t.Errorf("the error shows the key: %v", err)
		}
		_ = g.Validate(authorities, schema.Record{"cert": cert}) // it must not panic
	})
}

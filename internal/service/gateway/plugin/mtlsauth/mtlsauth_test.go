package mtlsauth_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/mtlsauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	noCert  = "No required TLS certificate was sent"
	badCert = "TLS certificate failed verification"
)

// rig is a gateway with one route, and with the plugin as config says.
type rig struct {
	t      testing.TB
	gw     *gateway.Gateway
	plugin schema.Record
}

func newRig(t testing.TB) *rig {
	r := &rig{t: t, gw: gatewaytest.New(t, []gateway.Plugin{mtlsauth.New(), keyauth.New()})}
	gatewaytest.Route(t, r.gw)
	return r
}

func (r *rig) configure(config schema.Record) {
	r.t.Helper()
	if r.plugin != nil {
		e, _ := r.gw.Entity("plugins")
		if _, err := r.gw.Delete(r.t.Context(), e, r.plugin["id"].(string)); err != nil {
			r.t.Fatal(err)
		}
	}
	r.plugin = gatewaytest.Create(r.t, r.gw, "plugins", schema.Record{"name": "mtls-auth", "config": config})
}

func (r *rig) trust(a *gatewaytest.Authority) string {
	r.t.Helper()
	return gatewaytest.Create(r.t, r.gw, "ca_certificates", schema.Record{"cert": a.Cert})["id"].(string)
}

// ask sends a request with the certificates of a client, the leaf first.
func (r *rig) ask(chain ...*gatewaytest.Pair) gatewaytest.Result {
	state := &tls.ConnectionState{}
	for _, p := range chain {
		state.PeerCertificates = append(state.PeerCertificates, p.Leaf)
	}
	return gatewaytest.Do(r.gw, gatewaytest.Request{TLS: state, Header: []string{"X-Client-Cert-Dn", "CN=forged", "X-Client-Cert", "forged"}})
}

func (r *rig) want(what string, got gatewaytest.Result, message, consumer string) {
	r.t.Helper()
	status := 0
	if message != "" {
		status = 401
	}
	if got.Status != status || !strings.Contains(got.Body, message) || got.Consumer != consumer {
		r.t.Errorf("%s: %d %s consumer %q, want %q %q", what, got.Status, got.Body, got.Consumer, message, consumer)
	}
	if dn := got.Upstream.Get("X-Client-Cert-Dn"); dn == "CN=forged" || got.Upstream.Get("X-Client-Cert") == "forged" {
		r.t.Errorf("%s: the client's own headers pass", what)
	}
}

// TestSeedForm is the plugin without ca_certificates: every uploaded authority counts, and
// no consumer is needed.
func TestSeedForm(t *testing.T) {
	r, one, two, foreign := newRig(t), gatewaytest.NewAuthority(t, "one"), gatewaytest.NewAuthority(t, "two"), gatewaytest.NewAuthority(t, "one")
	r.configure(schema.Record{})
	mine, other := one.Issue(t, "client"), two.Issue(t, "alice")
	r.want("no authority yet", r.ask(mine), badCert, "")
	id := r.trust(one)
	r.want("known", r.ask(mine), "", "")
	r.want("known, again", r.ask(mine), "", "")
	r.want("unknown", r.ask(other), badCert, "")
	r.want("of the same name", r.ask(foreign.Issue(t, "client")), badCert, "")
	r.want("none", r.ask(), noCert, "")
	r.want("clear text", gatewaytest.Do(r.gw, gatewaytest.Request{}), noCert, "")
	second := r.trust(two)
	r.want("uploaded since", r.ask(other), "", "")
	gatewaytest.Consumer(t, r.gw, "alice")
	r.want("with a consumer", r.ask(other), "", "alice")
	r.want("expired", r.ask(one.Issue(t, "late", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), badCert, "")
	r.want("for servers", r.ask(one.Issue(t, "s", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })), badCert, "")
	e, _ := r.gw.Entity("ca_certificates")
	if _, err := r.gw.Delete(t.Context(), e, second); err != nil {
		t.Fatal(err)
	}
	r.want("taken away", r.ask(other), badCert, "")
	r.configure(schema.Record{"trusted_certificate_ids": []any{id}})
	r.trust(two)
	r.want("by the older name", r.ask(mine), "", "")
	r.want("not in the list", r.ask(other), badCert, "")
	if _, err := r.gw.Delete(t.Context(), e, id); err != nil {
		t.Fatal(err)
	}
	r.want("the only one of the list is gone", r.ask(mine), badCert, "")
	r.want("which is not to trust the others", r.ask(other), badCert, "")
}

// TestKongForm is the plugin with ca_certificates: a consumer is needed, in Kong's order.
func TestKongForm(t *testing.T) {
	r, ca, unused := newRig(t), gatewaytest.NewAuthority(t, "ca"), gatewaytest.NewAuthority(t, "unused")
	id, other := r.trust(ca), r.trust(unused)
	for _, name := range []string{"by-name", "by-mapping", "by-authority", "fallback", "nobody"} {
		gatewaytest.Consumer(t, r.gw, name)
	}
	gatewaytest.Create(t, r.gw, "consumers", schema.Record{"username": "x", "custom_id": "custom"})
	config := schema.Record{"ca_certificates": []any{id}}
	r.configure(config)
	named := func(cn string, sans ...string) *gatewaytest.Pair { return ca.Issue(t, cn, gatewaytest.Names(sans...)) }
	consumerID := func(name string) any {
		c, _ := r.gw.Consumer(name)
		return schema.Record{"id": c.ID}
	}
	r.want("no consumer", r.ask(named("stranger")), badCert, "")
	r.want("common name", r.ask(named("by-name")), "", "by-name")
	r.want("alternative name", r.ask(named("stranger", "a.example", "by-name")), "", "by-name")
	r.want("common name beside an alternative", r.ask(named("by-name", "a.example")), badCert, "")
	r.want("custom id", r.ask(named("custom")), "", "x")
	nobody, _ := r.gw.Consumer("nobody")
	r.want("a consumer's id as a name", r.ask(named(nobody.ID)), badCert, "")
	r.want("authority not listed", r.ask(unused.Issue(t, "by-name")), badCert, "")
	mapTo := func(consumer string, ca any) {
		m := schema.Record{"subject_name": "by-name", "consumer": consumerID(consumer)}
		if ca != nil {
			m["ca_certificate"] = schema.Record{"id": ca}
		}
		gatewaytest.Create(t, r.gw, "mtls_auth_credentials", m)
	}
	mapTo("nobody", other)
	r.want("mapping of another authority", r.ask(named("by-name")), "", "by-name")
	mapTo("by-mapping", nil)
	r.want("mapping", r.ask(named("by-name")), "", "by-mapping")
	mapTo("by-authority", id)
	got := r.ask(named("by-name"))
	r.want("mapping of the authority", got, "", "by-authority")
	if got.Upstream.Get("X-Credential-Identifier") != "by-name" {
		t.Error(got.Upstream.Get("X-Credential-Identifier"))
	}
	config["consumer_by"], config["default_consumer"] = []any{"username"}, "fallback"
	r.configure(config)
	r.want("default", r.ask(named("custom")), "", "fallback")
	r.want("default is not for strangers", r.ask(unused.Issue(t, "custom")), badCert, "")
	config["anonymous"] = "nobody"
	r.configure(config)
	r.want("anonymous without", r.ask(), "", "nobody")
	got = r.ask(unused.Issue(t, "by-name"))
	r.want("anonymous", got, "", "nobody")
	if got.Upstream.Get("X-Anonymous-Consumer") != "true" {
		t.Error("the upstream is not told that the consumer is anonymous")
	}
	for form, extra := range map[string]any{"allow_any_client_cert": true, "allowed_client_certificates": []any{hexDigest(named("z"))}} {
		r.configure(schema.Record{"ca_certificates": []any{id}, form: extra})
		got := r.ask(named("stranger"))
		if want := map[string]int{"allow_any_client_cert": 0, "allowed_client_certificates": 401}[form]; got.Status != want {
			t.Errorf("%s: %d", form, got.Status)
		}
	}
}

func hexDigest(p *gatewaytest.Pair) string {
	sum := sha256.Sum256(p.Leaf.Raw)
	return hex.EncodeToString(sum[:])
}

func TestGroupsAndHeaders(t *testing.T) {
	r, ca := newRig(t), gatewaytest.NewAuthority(t, "ca")
	id := r.trust(ca)
	p := ca.Issue(t, "dev\r\nX-Evil: 1", gatewaytest.Names("d.example"), func(c *x509.Certificate) {
		c.IPAddresses = []net.IP{net.IPv4(10, 0, 0, 1)}
	})
	for by, group := range map[string]string{"CN": "dev??X-Evil: 1", "DN": "CN=dev??X-Evil: 1,O=Test"} {
		r.configure(schema.Record{"ca_certificates": []any{id}, "skip_consumer_lookup": true, "authenticated_group_by": by})
		got := r.ask(p)
		r.want(by, got, "", "")
		for name, want := range map[string]string{"X-Authenticated-Groups": group, "X-Client-Cert-Dn": "CN=dev??X-Evil: 1,O=Test",
			"X-Client-Cert-San": "d.example,10.0.0.1", "X-Client-Cert": ""} {
			if v := got.Upstream.Get(name); v != want {
				t.Errorf("%s %s: %q, want %q", by, name, v, want)
			}
		}
	}
	r.configure(schema.Record{"pass_client_cert": true})
	text, err := url.PathUnescape(r.ask(p).Upstream.Get("X-Client-Cert"))
	if block, _ := pem.Decode([]byte(text)); err != nil || block == nil || string(block.Bytes) != string(p.Leaf.Raw) {
		t.Errorf("%v %s", err, text)
	}
}

func TestAllowedCertificates(t *testing.T) {
	r, ca := newRig(t), gatewaytest.NewAuthority(t, "ca")
	r.trust(ca)
	one, two, third := ca.Issue(t, "one"), ca.Issue(t, "two"), ca.Issue(t, "three")
	made := gatewaytest.Create(t, r.gw, "certificates", schema.Record{"cert": one.Cert, "key": one.Key})
	r.configure(schema.Record{"allowed_client_certificates": []any{made["id"], strings.ToUpper(hexDigest(two))}})
	r.want("by id", r.ask(one), "", "")
	r.want("by digest", r.ask(two), "", "")
	r.want("other", r.ask(third), badCert, "")
	e, _ := r.gw.Entity("certificates")
	if _, err := r.gw.Patch(t.Context(), e, made["id"].(string), schema.Record{"cert": third.Cert, "key": third.Key}); err != nil {
		t.Fatal(err)
	}
	r.want("replaced, the old one", r.ask(one), badCert, "")
	r.want("replaced, the new one", r.ask(third), "", "")
}

func TestPartialChain(t *testing.T) {
	r, root := newRig(t), gatewaytest.NewAuthority(t, "root")
	middle := root.Under(t, "middle")
	client := middle.Issue(t, "client")
	id := r.trust(middle)
	for _, c := range []struct {
		partial bool
		want    string
	}{{false, badCert}, {true, ""}} {
		r.configure(schema.Record{"ca_certificates": []any{id}, "allow_partial_chain": c.partial, "allow_any_client_cert": true})
		r.want("the intermediate alone", r.ask(client), c.want, "")
	}
	rootID := r.trust(root)
	r.configure(schema.Record{"ca_certificates": []any{id, rootID}, "allow_any_client_cert": true})
	r.want("the intermediate is not sent", r.ask(client), "", "")
	r.configure(schema.Record{"ca_certificates": []any{rootID}, "allow_any_client_cert": true})
	r.want("nobody knows the intermediate", r.ask(client), badCert, "")
	r.want("the intermediate is sent", r.ask(client, &middle.Pair), "", "")
}

func TestConfigRefusals(t *testing.T) {
	r := newRig(t)
	e, _ := r.gw.Entity("plugins")
	for want, config := range map[string]schema.Record{
		"config.ca_certificates: length must be at least 1":                                           {"ca_certificates": []any{}},
		"does not reference an existing 'ca_certificates'":                                            {"ca_certificates": []any{"8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}},
		"all or none of these fields must be set: 'config.http_proxy_host', 'config.http_proxy_port'": {"http_proxy_host": "h"},
		"config.revocation_check_mode: expected one of: IGNORE_CA_ERROR, SKIP, STRICT":                {"revocation_check_mode": "MAYBE"},
		"config.allowed_client_certificates: must not be set where allow_any_client_cert is true":     {"allow_any_client_cert": true, "allowed_client_certificates": []any{strings.Repeat("0", 64)}},
		"expected the id of a certificate, or its SHA-256 digest in hexadecimal digits":               {"allowed_client_certificates": []any{"x"}},
		"config.authenticated_group_by: expected one of: CN, DN":                                      {"authenticated_group_by": "OU"},
		"config.san_dirname_matcher: matching directory names is not served yet":                      {"san_dirname_matcher": []any{"x"}},
	} {
		if _, err := r.gw.Create(t.Context(), e, schema.Record{"name": "mtls-auth", "config": config}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", config, err)
		}
	}
	c := gatewaytest.Consumer(t, r.gw, "c")
	if _, err := r.gw.Create(t.Context(), e, schema.Record{"name": "mtls-auth", "consumer": c}); err == nil || !strings.Contains(err.Error(), "consumer: value must be null") {
		t.Error(err)
	}
}

package openidconnect_test

import (
	"encoding/base64"
	"maps"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/openidconnect"
	"sluice.dev/sluice/internal/service/gateway/plugin/session"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func setup(t *testing.T, p *provider, config schema.Record) (*gateway.Gateway, *gatewaytest.Clock) {
	t.Helper()
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	g := gatewaytest.New(t, []gateway.Plugin{openidconnect.New(), session.New()}, func(d *gateway.Deps) { d.Clock = clock })
	gatewaytest.Route(t, g)
	gatewaytest.Consumer(t, g, "alice")
	gatewaytest.Consumer(t, g, "nobody")
	c := schema.Record{"issuer": p.URL, "client_id": []any{"me"}, "client_secret": []any{"hush"}}
	maps.Copy(c, config)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "openid-connect", "config": c})
	return g, clock
}

func ask(g *gateway.Gateway, token string, more ...string) gatewaytest.Result {
	return gatewaytest.Do(g, gatewaytest.Request{Header: append([]string{"Authorization", "Bearer " + token}, more...)})
}

// edited returns claims with changes; nil removes one.
func edited(base, with map[string]any) map[string]any {
	out := maps.Clone(base)
	for k, v := range with {
		if out[k] = v; v == nil {
			delete(out, k)
		}
	}
	return out
}

func TestBearer(t *testing.T) {
	p, k := newProvider(t, httptest.NewServer), newKey(t, "k1")
	p.publish(k)
	g, clock := setup(t, p, schema.Record{"auth_methods": []any{"bearer"}, "consumer_claim": []any{"user", "name"}, "leeway": 5.0, "hide_credentials": true,
		"scopes_required": []any{"read write", "admin"}, "audience_required": []any{"api"}, "authenticated_groups_claim": []any{"groups"},
		"upstream_headers_claims": []any{"user.name", "level"}, "upstream_headers_names": []any{"X-Name", "X-Level"}, "upstream_access_token_header": "X-Token"})
	now := clock.Now().Unix()
	good := map[string]any{"iss": p.URL, "sub": "s1", "exp": now + 100, "nbf": now, "iat": now, "aud": []string{"x", "api"}, "scope": "write read",
		"user": map[string]any{"name": "alice"}, "level": 12345678901234567, "groups": []string{"a", "b"}}
	r := ask(g, k.sign(t, good), "X-Name", "forged", "X-Authenticated-Groups", "forged")
	if up := r.Upstream; r.Status != 0 || r.Consumer != "alice" || up.Get("X-Credential-Identifier") != "s1" || up.Get("X-Name") != "alice" ||
		up.Get("X-Level") != "12345678901234567" || up.Get("X-Authenticated-Groups") != "a, b" || up.Get("Authorization") != "" || up.Get("X-Token") == "" {
		t.Fatalf("%+v %v", r, up.Fields())
	}
	host, _ := url.Parse(p.URL)
	for name, c := range map[string]struct {
		token  string
		status int
	}{
		"expired":             {k.sign(t, edited(good, map[string]any{"exp": now - 5})), 401},
		"within the leeway":   {k.sign(t, edited(good, map[string]any{"exp": now - 4})), 0},
		"no end":              {k.sign(t, edited(good, map[string]any{"exp": nil})), 401},
		"end in words":        {k.sign(t, edited(good, map[string]any{"exp": "never"})), 401},
		"not yet":             {k.sign(t, edited(good, map[string]any{"nbf": now + 6})), 401},
		"another issuer":      {k.sign(t, edited(good, map[string]any{"iss": "https://evil.example"})), 401},
		"no issuer":           {k.sign(t, edited(good, map[string]any{"iss": nil})), 401},
		"another audience":    {k.sign(t, edited(good, map[string]any{"aud": "other"})), 403},
		"half of the scopes":  {k.sign(t, edited(good, map[string]any{"scope": "read"})), 403},
		"the other scope":     {k.sign(t, edited(good, map[string]any{"scope": "x admin"})), 0},
		"no consumer":         {k.sign(t, edited(good, map[string]any{"user": map[string]any{"name": "bob"}})), 403},
		"none":                {unsigned(good), 401},
		"none with signature": {unsigned(good) + "AAAA", 401},
		"a stranger's key":    {newKey(t, "k1").sign(t, good), 401},
		"HS256 by public key": {signBy(t, jose.HS256, k.der(t), "k1", good), 401},
		"changed":             {k.sign(t, good)[:20] + "x" + k.sign(t, good)[21:], 401},
		"no JWT":              {"opaque", 401},
		"huge":                {strings.Repeat("a.", 20_000), 401},
		"key in the token":    {embedded(t, good), 401},
	} {
		r := ask(g, c.token)
		want := ""
		switch c.status {
		case 401:
			want = `Bearer realm="` + host.Host + `", error="invalid_token"`
		case 403:
			want = `Bearer realm="` + host.Host + `", error="insufficient_scope"`
		}
		if r.Status != c.status || r.Header.Get("WWW-Authenticate") != want || c.status != 0 && r.Upstream.Get("X-Consumer-Username") != "" {
			t.Errorf("%s: %d %s %v", name, r.Status, r.Body, r.Header.Fields())
		}
	}
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 401 || !gatewaytest.Says(r, "Unauthorized") || r.Header.Get("WWW-Authenticate") != `Bearer realm="`+host.Host+`"` {
		t.Errorf("%+v", r)
	}
	for _, r := range []gatewaytest.Request{
		{Target: "/?a=1&access_token=" + k.sign(t, good)},
		{Method: "POST", Header: []string{"Content-Type", "application/x-www-form-urlencoded"}, Body: "access_token=" + k.sign(t, good)},
	} {
		if got := gatewaytest.Do(g, r); got.Status != 0 || strings.Contains(got.Query+got.Sent, "access_token") {
			t.Errorf("%s: %+v", r.Target, got)
		}
	}
}

// embedded is a token that brings the key it is signed by.
func embedded(t *testing.T, claims map[string]any) string {
	k := newKey(t, "")
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k.private}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign([]byte(`{"iss":"` + claims["iss"].(string) + `","exp":9999999999,"scope":"admin","aud":"api","user":{"name":"alice"}}`))
	if err != nil {
		t.Fatal(err)
	}
	out, _ := signed.CompactSerialize()
	return out
}

func TestKeyRotation(t *testing.T) {
	p, old, next := newProvider(t, httptest.NewServer), newKey(t, "old"), newKey(t, "next")
	p.publish(old)
	g, clock := setup(t, p, schema.Record{"auth_methods": []any{"bearer"}})
	claims := map[string]any{"iss": p.URL, "sub": "s", "exp": clock.Now().Unix() + 100_000}
	if ask(g, old.sign(t, claims)).Status != 0 {
		t.Fatal("the first key")
	}
	p.publish(next)
	clock.Pass(31 * time.Second)
	if r := ask(g, next.sign(t, claims)); r.Status != 0 {
		t.Errorf("a new key is not looked for: %+v", r)
	}
	if ask(g, old.sign(t, claims)).Status != 401 {
		t.Error("a withdrawn key counts")
	}
	before := p.fetches
	for range 20 {
		ask(g, newKey(t, "unknown").sign(t, claims))
	}
	if p.fetches != before {
		t.Errorf("unknown keys cause %d fetches", p.fetches-before)
	}
	p.Close()
	clock.Pass(2 * time.Hour)
	if ask(g, next.sign(t, claims)).Status != 0 {
		t.Error("what was known is lost with the provider")
	}
}

func TestDiscovery(t *testing.T) {
	k := newKey(t, "k")
	claims := map[string]any{"sub": "s", "exp": int64(1_900_000_000)}
	lying := newProvider(t, httptest.NewServer)
	lying.publish(k)
	lying.issuer = "https://someone.else"
	secure := newProvider(t, httptest.NewTLSServer)
	secure.publish(k)
	for name, c := range map[string]struct {
		p      *provider
		config schema.Record
		status int
	}{
		"another's metadata":      {lying, nil, 500},
		"unknown authority":       {secure, nil, 500},
		"not verified":            {secure, schema.Record{"ssl_verify": false}, 0},
		"address of the document": {secure, schema.Record{"ssl_verify": false, "issuer": secure.URL + "/.well-known/openid-configuration"}, 0},
	} {
		config := schema.Record{"auth_methods": []any{"bearer"}}
		maps.Copy(config, c.config)
		g, _ := setup(t, c.p, config)
		if r := ask(g, k.sign(t, edited(claims, map[string]any{"iss": c.p.URL}))); r.Status != c.status {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestIntrospection(t *testing.T) {
	p := newProvider(t, httptest.NewServer)
	g, clock := setup(t, p, schema.Record{"auth_methods": []any{"introspection"}, "anonymous": "nobody", "scopes_required": []any{"read"}})
	p.active["opaque"] = map[string]any{"active": true, "sub": "s", "scope": "read", "exp": clock.Now().Unix() + 50}
	p.active["poor"] = map[string]any{"active": true, "sub": "s", "scope": "write"}
	for range 3 {
		if r := ask(g, "opaque"); r.Status != 0 || r.Upstream.Get("X-Credential-Identifier") != "s" || r.Upstream.Get("Authorization") != "Bearer opaque" {
			t.Fatalf("%+v", r)
		}
	}
	if p.asked != 1 {
		t.Errorf("the provider is asked %d times", p.asked)
	}
	for _, token := range []string{"unknown", "poor"} {
		if r := ask(g, token); r.Consumer != "nobody" {
			t.Errorf("%s: %+v", token, r)
		}
	}
	delete(p.active, "opaque")
	clock.Pass(51 * time.Second)
	if r := ask(g, "opaque"); r.Consumer != "nobody" {
		t.Errorf("an expired token is remembered: %+v", r)
	}
}

func TestBasicCredentials(t *testing.T) {
	p, k := newProvider(t, httptest.NewServer), newKey(t, "k")
	p.publish(k)
	g, clock := setup(t, p, schema.Record{"auth_methods": []any{"client_credentials", "password"}, "consumer_claim": []any{"sub"}, "consumer_optional": true})
	asked := 0
	p.token = func(form url.Values, id, secret string) (int, any) {
		asked++
		who := ""
		switch {
		case form.Get("grant_type") == "password" && form.Get("username") == "alice" && form.Get("password") == "pw" && id == "me" && secret == "hush":
			who = "alice"
		case form.Get("grant_type") == "client_credentials" && id == "robot" && secret == "pw":
			who = "robot"
		default:
			return 400, map[string]any{"error": "invalid_grant"}
		}
		return 200, map[string]any{"access_token": k.sign(t, map[string]any{"iss": p.URL, "sub": who, "exp": clock.Now().Unix() + 60}), "expires_in": 60}
	}
	try := func(credentials string) gatewaytest.Result {
		return gatewaytest.Do(g, gatewaytest.Request{Header: []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(credentials))}})
	}
	for range 2 {
		if r := try("alice:pw"); r.Status != 0 || r.Consumer != "alice" || !strings.HasPrefix(r.Upstream.Get("Authorization"), "Bearer ey") {
			t.Fatalf("%+v", r)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	if r := try("robot:pw"); r.Status != 0 || r.Consumer != "" || r.Upstream.Get("X-Credential-Identifier") != "robot" {
		t.Errorf("%+v", r)
	}
	if r := try("alice:no"); r.Status != 401 {
		t.Errorf("%+v", r)
	}
}

// The provider sends the browser back to where it came from, port included.
func TestRedirectKeepsPort(t *testing.T) {
	p := newProvider(t, httptest.NewServer)
	g, _ := setup(t, p, schema.Record{"auth_methods": []any{"authorization_code"}})
	for host, want := range map[string]string{"svc.test:8000": "http://svc.test:8000/a", "svc.test:80": "http://svc.test/a", "svc.test": "http://svc.test/a"} {
		r := gatewaytest.Do(g, gatewaytest.Request{Host: host, Target: "/a?b=c"})
		to, err := url.Parse(r.Header.Get("Location"))
		if err != nil || r.Status != 302 || to.Query().Get("redirect_uri") != want {
			t.Errorf("%s: %d to %s, want back to %s", host, r.Status, to, want)
		}
	}
}

func TestConfig(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{openidconnect.New(), session.New()})
	e, _ := g.Entity("plugins")
	for name, c := range map[string]schema.Record{
		"no issuer": {"client_id": []any{"x"}}, "no client": {"issuer": "https://i.example"}, "issuer": {"issuer": "ftp://x", "client_id": []any{"x"}},
		"headers": {"issuer": "https://i.example", "client_id": []any{"x"}, "upstream_headers_claims": []any{"a"}},
		"method":  {"issuer": "https://i.example", "client_id": []any{"x"}, "auth_methods": []any{"kong_oauth2"}},
	} {
		if err := g.Validate(e, schema.Record{"name": "openid-connect", "config": c}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

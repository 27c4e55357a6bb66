package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	jose "github.com/golang-jwt/jwt/v5"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/jwt"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

var now = time.Unix(1_800_000_000, 0)

func setup(t *testing.T, config schema.Record) (*gateway.Gateway, schema.Record) {
	t.Helper()
	g := gatewaytest.New(t, []gateway.Plugin{jwt.New()}, func(d *gateway.Deps) { d.Clock = gatewaytest.NewClock(now) })
	gatewaytest.Route(t, g)
	alice := gatewaytest.Consumer(t, g, "alice")
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "jwt", "config": config})
	return g, alice
}

func sign(t *testing.T, method string, key any, claims jose.MapClaims) string {
	t.Helper()
	s, err := jose.NewWithClaims(jose.GetSigningMethod(method), claims).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTokens(t *testing.T) {
	g, alice := setup(t, schema.Record{"claims_to_verify": []any{"exp", "nbf"}, "maximum_expiration": 100.0, "cookie_names": []any{"session"}, "realm": "r"})
	gatewaytest.Create(t, g, "jwt_secrets", schema.Record{"key": "k", "secret": "s3cret", "consumer": alice})
	unix := func(after int64) int64 { return now.Unix() + after }
	claims := func(edits jose.MapClaims) jose.MapClaims {
		c := jose.MapClaims{"iss": "k", "exp": unix(50), "nbf": unix(0)}
		for k, v := range edits {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	hs := func(edits jose.MapClaims) string { return sign(t, "HS256", []byte("s3cret"), claims(edits)) }
	good := hs(nil)
	bearer := func(s string) gatewaytest.Request {
		return gatewaytest.Request{Header: []string{"Authorization", "Bearer " + s}}
	}
	none := `eyJhbGciOiJub25lIn0.eyJpc3MiOiJrIn0.`
	for name, c := range map[string]struct {
		request gatewaytest.Request
		body    string // empty: forwarded
	}{
		"header":          {bearer(good), ""},
		"query":           {gatewaytest.Request{Target: "/?jwt=" + good}, ""},
		"cookie":          {gatewaytest.Request{Header: []string{"Cookie", "a=b; session=" + good}}, ""},
		"the same twice":  {gatewaytest.Request{Target: "/?jwt=" + good, Header: []string{"Authorization", "Bearer " + good}}, ""},
		"none":            {gatewaytest.Request{}, `{"message":"Unauthorized"}`},
		"two":             {gatewaytest.Request{Target: "/?jwt=x", Header: []string{"Authorization", "Bearer " + good}}, `{"message":"Multiple tokens provided"}`},
		"garbage":         {bearer("a.b.c"), `{"message":"Bad token; invalid JSON"}`},
		"two parts":       {bearer("a.b"), `{"message":"Bad token; bad argument"}`},
		"unsigned":        {bearer(none), `{"message":"Bad token; invalid alg"}`},
		"no issuer":       {bearer(hs(jose.MapClaims{"iss": nil})), `{"message":"No mandatory 'iss' in claims"}`},
		"empty issuer":    {bearer(hs(jose.MapClaims{"iss": ""})), `{"message":"Invalid 'iss' in claims"}`},
		"unknown issuer":  {bearer(hs(jose.MapClaims{"iss": "other"})), `{"message":"No credentials found for given 'iss'"}`},
		"another hash":    {bearer(sign(t, "HS384", []byte("s3cret"), claims(nil))), `{"message":"Invalid algorithm"}`},
		"wrong secret":    {bearer(sign(t, "HS256", []byte("guess"), claims(nil))), `{"message":"Invalid signature"}`},
		"changed":         {bearer(good[:len(good)-4] + "AAAA"), `{"message":"Invalid signature"}`},
		"expired":         {bearer(hs(jose.MapClaims{"exp": unix(0)})), `{"exp":"token expired"}`},
		"too early":       {bearer(hs(jose.MapClaims{"nbf": unix(1)})), `{"nbf":"token not valid yet"}`},
		"no exp":          {bearer(hs(jose.MapClaims{"exp": nil})), `{"exp":"must be a number"}`},
		"exp is text":     {bearer(hs(jose.MapClaims{"exp": "tomorrow"})), `{"exp":"must be a number"}`},
		"expires too far": {bearer(hs(jose.MapClaims{"exp": unix(101)})), `{"exp":"exceeds maximum allowed expiration"}`},
	} {
		got := gatewaytest.Do(g, c.request)
		if c.body == "" {
			if got.Status != 0 || got.Consumer != "alice" || got.Upstream.Get("X-Credential-Identifier") != "k" {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		challenge := got.Header.Get("WWW-Authenticate")
		if got.Status != 401 || got.Body != c.body || !strings.HasPrefix(challenge, `Bearer realm="r"`) ||
			strings.HasSuffix(challenge, `, error="invalid_token"`) == (name == "none") {
			t.Errorf("%s: %+v %q", name, got, challenge)
		}
	}
}

// TestAlgorithms signs by every kind of key; and by a public key as if it were a secret.
func TestAlgorithms(t *testing.T) {
	g, alice := setup(t, schema.Record{"secret_is_base64": true})
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	ec := map[string]*ecdsa.PrivateKey{}
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		ec[name], _ = ecdsa.GenerateKey(curve, rand.Reader)
	}
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	public := func(key crypto.Signer) string {
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	keys := map[string]crypto.Signer{"RS256": rsaKey, "RS384": rsaKey, "RS512": rsaKey, "PS256": rsaKey, "PS384": rsaKey, "PS512": rsaKey,
		"ES256": ec["ES256"], "ES384": ec["ES384"], "ES512": ec["ES512"], "EdDSA": ed}
	try := func(token string) int {
		return gatewaytest.Do(g, gatewaytest.Request{Header: []string{"Authorization", "bearer " + token}}).Status
	}
	for name, key := range keys {
		gatewaytest.Create(t, g, "jwt_secrets", schema.Record{"key": name, "algorithm": name, "rsa_public_key": public(key), "consumer": alice})
		for range 2 { // the second time the key comes from the cache
			if s := try(sign(t, name, key, jose.MapClaims{"iss": name})); s != 0 {
				t.Errorf("%s: %d", name, s)
			}
		}
		if s := try(sign(t, "HS256", []byte(public(key)), jose.MapClaims{"iss": name})); s != 401 {
			t.Errorf("%s: a token signed with the public key as a secret gives %d", name, s)
		}
	}
	gatewaytest.Create(t, g, "jwt_secrets", schema.Record{"key": "hs", "secret": "czNjcmV0", "consumer": alice})
	if s := try(sign(t, "HS256", []byte("s3cret"), jose.MapClaims{"iss": "hs"})); s != 0 {
		t.Errorf("base64: %d", s)
	}
	e, _ := g.Entity("jwt_secrets")
	for _, good := range []schema.Record{{"algorithm": "HS256", "rsa_public_key": "x"}, {"rsa_public_key": "x"}, {"algorithm": "ES256"}, {"algorithm": "EdDSA"}, {"algorithm": "PS256"}} {
		good["consumer"] = alice
		gatewaytest.Create(t, g, "jwt_secrets", good)
	}
	for _, bad := range []schema.Record{{"algorithm": "RS256"}, {"algorithm": "none"}, {"algorithm": "RS256", "rsa_public_key": "x"}} {
		bad["consumer"] = alice
		if _, err := g.Create(t.Context(), e, bad); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

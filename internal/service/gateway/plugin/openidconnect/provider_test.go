package openidconnect_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// provider is an OpenID provider that says what a test wants, also what none should.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	keys    jose.JSONWebKeySet // those it publishes
	fetches int
	token   func(form url.Values, id, secret string) (int, any)
	active  map[string]map[string]any // what introspection says
	asked   int                       // introspections
	issuer  string                    // where it is another than the address
}

func newProvider(t *testing.T, start func(http.Handler) *httptest.Server) *provider {
	p := &provider{active: map[string]map[string]any{}}
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	locked := func(f http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			defer p.mu.Unlock()
			f(w, r)
		}
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", locked(func(w http.ResponseWriter, r *http.Request) {
		issuer := p.issuer
		if issuer == "" {
			issuer = p.URL
		}
		reply(w, 200, map[string]any{"issuer": issuer, "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token",
			"introspection_endpoint": p.URL + "/introspect", "end_session_endpoint": p.URL + "/leave", "jwks_uri": p.URL + "/keys"})
	}))
	mux.HandleFunc("GET /keys", locked(func(w http.ResponseWriter, r *http.Request) {
		p.fetches++
		reply(w, 200, p.keys)
	}))
	mux.HandleFunc("POST /token", locked(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		id, secret, _ := r.BasicAuth()
		status, v := p.token(r.PostForm, id, secret)
		reply(w, status, v)
	}))
	mux.HandleFunc("POST /introspect", locked(func(w http.ResponseWriter, r *http.Request) {
		p.asked++
		says := p.active[r.PostFormValue("token")]
		if says == nil {
			says = map[string]any{"active": false}
		}
		reply(w, 200, says)
	}))
	p.Server = start(mux)
	t.Cleanup(p.Close)
	return p
}

// key is a pair of keys to sign by.
type key struct {
	id      string
	private crypto.Signer
}

func newKey(t *testing.T, id string) key {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key{id, k}
}

func (p *provider) publish(keys ...key) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys.Keys = nil
	for _, k := range keys {
		p.keys.Keys = append(p.keys.Keys, jose.JSONWebKey{Key: k.private.Public(), KeyID: k.id, Use: "sig", Algorithm: "ES256"})
	}
}

func (k key) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	return signBy(t, jose.ES256, k.private, k.id, claims)
}

func signBy(t *testing.T, alg jose.SignatureAlgorithm, by any, kid string, claims map[string]any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: by}, (&jose.SignerOptions{}).WithHeader("kid", kid).WithType("JWT"))
	if err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(claims)
	signed, err := s.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// unsigned is a token of the algorithm "none".
func unsigned(claims map[string]any) string {
	body, _ := json.Marshal(claims)
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + b64.EncodeToString(body) + "."
}

// der is a public key as one might take it for a shared secret.
func (k key) der(t *testing.T) []byte {
	b, err := x509.MarshalPKIXPublicKey(k.private.Public())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

package openidconnect

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sluice.dev/sluice/internal/base/clock"
)

const (
	wellKnown  = "/.well-known/openid-configuration"
	maxAnswer  = 1 << 20 // bytes of anything the provider says
	maxKeys    = 200
	maxToken   = 16 << 10 // bytes of a token
	retryAfter = time.Second
	refreshed  = time.Hour // how long what was discovered is believed
)

// metadata is what a provider tells about itself (OpenID Connect Discovery section 3).
type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	EndSession    string `json:"end_session_endpoint"`
	JWKS          string `json:"jwks_uri"`
}

// provider is who issues the tokens.
type provider struct {
	issuer   string
	override metadata // endpoints that are configured; empty for those discovered
	allowed  []string // issuers besides
	pause    time.Duration
	leeway   time.Duration
	clock    clock.Clock
	http     *http.Client

	id, secret string // of the client; empty for none
	post       bool   // the client's secret goes into the body

	mu      sync.Mutex // held while something is fetched, so that one caller does
	meta    metadata
	keys    jose.JSONWebKeySet
	fetched time.Time // zero: never
	tried   time.Time
	failed  error // of the last try
}

func newClient(verify bool, timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !verify},
			ForceAttemptHTTP2: true, MaxConnsPerHost: 64, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
			MaxResponseHeaderBytes: 64 << 10, Proxy: http.ProxyFromEnvironment},
	}
}

// discover returns what is known of the provider, fetched where it is not known yet or not
// any more.
func (p *provider) discover(ctx context.Context) (metadata, jose.JSONWebKeySet, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.fetched.IsZero():
		p.refresh(ctx, retryAfter)
	case p.clock.Now().Sub(p.fetched) >= refreshed:
		p.refresh(ctx, max(p.pause, retryAfter))
	}
	if p.fetched.IsZero() {
		return metadata{}, jose.JSONWebKeySet{}, p.failed
	}
	return p.meta, p.keys, nil
}

// rediscover is discover for a caller who has met a key that is not known.
func (p *provider) rediscover(ctx context.Context) jose.JSONWebKeySet {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh(ctx, p.pause)
	return p.keys
}

// refresh fetches everything, unless that was tried less than pause ago. What was known
// stays where it fails.
func (p *provider) refresh(ctx context.Context, pause time.Duration) {
	now := p.clock.Now()
	if !p.tried.IsZero() && now.Sub(p.tried) < pause {
		return
	}
	// Those who waited for a try that took long do not try again at once.
	defer func() { p.tried = p.clock.Now() }()
	// Others wait for the outcome, so that it must not end with this caller.
	ctx = context.WithoutCancel(ctx)
	var m metadata
	var keys jose.JSONWebKeySet
	p.failed = p.get(ctx, p.issuer+wellKnown, &m)
	switch {
	case p.failed != nil:
		return
	case strings.TrimSuffix(m.Issuer, "/") != p.issuer:
		p.failed = fmt.Errorf("the provider says that it is %q", m.Issuer)
		return
	}
	if p.failed = p.get(ctx, m.JWKS, &keys); p.failed != nil {
		return
	}
	if len(keys.Keys) > maxKeys {
		p.failed = errors.New("the provider has too many keys")
		return
	}
	for _, e := range []struct{ to, by *string }{{&m.Authorization, &p.override.Authorization}, {&m.Token, &p.override.Token},
		{&m.Introspection, &p.override.Introspection}, {&m.EndSession, &p.override.EndSession}} {
		if *e.by != "" {
			*e.to = *e.by
		}
	}
	p.meta, p.keys, p.fetched = m, keys, now
}

func (p *provider) get(ctx context.Context, target string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return errors.New("the provider has no such address")
	}
	r.Header.Set("Accept", "application/json")
	_, err = p.do(r, into)
	return err
}

// refusal is an error that an endpoint of the provider's answered.
type refusal struct{ Status int }

func (r refusal) Error() string { return fmt.Sprintf("the provider answers %d", r.Status) }

// do sends a request and reads the JSON of a 200.
func (p *provider) do(r *http.Request, into any) (status int, err error) {
	answer, err := p.http.Do(r)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err // without the address, which may hold secrets
		}
		return 0, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return 0, err
	case answer.StatusCode != http.StatusOK:
		return answer.StatusCode, refusal{answer.StatusCode}
	case len(body) > maxAnswer:
		return 0, errors.New("the provider's answer is too long")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return 0, errors.New("the provider's answer is not the JSON expected")
	}
	return answer.StatusCode, nil
}

// call posts a form to an endpoint, authenticated as the client or by the given id and
// secret.
func (p *provider) call(ctx context.Context, endpoint string, form url.Values, id, secret string, into any) error {
	if endpoint == "" {
		return errors.New("the provider has no such endpoint")
	}
	inBody := p.post || secret == ""
	if inBody {
		form.Set("client_id", id)
		if secret != "" {
			form.Set("client_secret", secret)
		}
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return errors.New("the provider has no such address")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if !inBody {
		r.SetBasicAuth(url.QueryEscape(id), url.QueryEscape(secret)) // RFC 6749 section 2.3.1
	}
	_, err = p.do(r, into)
	return err
}

// verify checks a token's signature, issuer and times, and returns its claims.
func (p *provider) verify(ctx context.Context, token string) (claims, error) {
	if len(token) > maxToken {
		return nil, errors.New("the token is too long")
	}
	signed, err := jose.ParseSigned(token, algorithms)
	if err != nil || len(signed.Signatures) != 1 {
		return nil, errors.New("the token is not signed as it must be")
	}
	m, keys, err := p.discover(ctx)
	if err != nil {
		return nil, unreachable{err}
	}
	head := signed.Signatures[0].Header
	payload, ok := check(signed, head, keys)
	if !ok && !slices.ContainsFunc(keys.Keys, func(k jose.JSONWebKey) bool { return head.KeyID != "" && k.KeyID == head.KeyID }) {
		payload, ok = check(signed, head, p.rediscover(ctx))
	}
	if !ok {
		return nil, errors.New("the signature is not the provider's")
	}
	c, err := parseClaims(payload)
	if err != nil {
		return nil, err
	}
	if iss, _ := c["iss"].(string); iss != m.Issuer && !slices.Contains(p.allowed, iss) {
		return nil, errors.New("another issuer's token")
	}
	return c, c.timely(p.clock.Now(), p.leeway, true)
}

// check tries the keys that the token may be signed by.
func check(signed *jose.JSONWebSignature, head jose.Header, keys jose.JSONWebKeySet) (payload []byte, ok bool) {
	for _, k := range keys.Keys {
		if head.KeyID != "" && k.KeyID != head.KeyID || k.Use == "enc" || k.Algorithm != "" && k.Algorithm != head.Algorithm || !k.IsPublic() {
			continue
		}
		if payload, err := signed.Verify(k.Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

// unreachable says that the provider could not be asked, which is not the client's fault.
type unreachable struct{ error }

package openidconnect

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/maypok86/otter/v2"
	"golang.org/x/sync/singleflight"
)

// grant is the tokens of a client, as a session keeps them.
type grant struct {
	Access  string `json:"a,omitempty"`
	Refresh string `json:"r,omitempty"`
	ID      string `json:"i,omitempty"`
	Scope   string `json:"s,omitempty"`
	Expires int64  `json:"e,omitempty"` // seconds since 1970; 0 where it is not known

	says claims // of a grant that was just checked
}

// answer is what the token endpoint says.
type answer struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	ID      string `json:"id_token"`
	Scope   string `json:"scope"`
	Expires int64  `json:"expires_in"`
}

// obtain asks the token endpoint.
func (p *provider) obtain(ctx context.Context, form url.Values, id, secret string) (*grant, error) {
	m, _, err := p.discover(ctx)
	if err != nil {
		return nil, unreachable{err}
	}
	var a answer
	if err := p.call(ctx, m.Token, form, id, secret, &a); err != nil {
		if r, ok := errors.AsType[refusal](err); ok && r.Status < 500 {
			return nil, err
		}
		return nil, unreachable{err}
	}
	if a.Access == "" || len(a.Access) > maxToken || len(a.ID) > maxToken || len(a.Refresh) > maxToken {
		return nil, unreachable{errors.New("the provider gave no token")}
	}
	g := &grant{Access: a.Access, Refresh: a.Refresh, ID: a.ID, Scope: a.Scope}
	if a.Expires > 0 && a.Expires < 1e9 {
		g.Expires = p.clock.Now().Unix() + a.Expires
	}
	return g, nil
}

// verifyID checks the ID token of a grant; nonce is "" where the grant is not of a login.
func (p *provider) verifyID(ctx context.Context, g *grant, nonce string) error {
	if g.ID == "" {
		if nonce == "" {
			return nil
		}
		return errors.New("the provider gave no ID token")
	}
	c, err := p.verify(ctx, g.ID)
	if err != nil {
		return err
	}
	if !slices.Contains(c.list([]string{"aud"}), p.id) {
		return errors.New("the ID token is for another client")
	}
	if azp, given := c["azp"]; given && azp != p.id {
		return errors.New("the ID token is for another client")
	}
	if got, _ := c["nonce"].(string); nonce != "" && subtle.ConstantTimeCompare([]byte(got), []byte(nonce)) != 1 {
		return errors.New("the ID token is of another login")
	}
	return nil
}

// claims returns what the tokens of a grant say that was checked before: the ID token, and
// over it the access token where it is a JWT.
func (g *grant) claims() claims {
	if g.says != nil {
		return g.says
	}
	all := claims{}
	for _, t := range []string{g.ID, g.Access} {
		signed, err := jose.ParseSigned(t, algorithms)
		if err != nil {
			continue
		}
		if c, err := parseClaims(signed.UnsafePayloadWithoutVerification()); err == nil {
			for k, v := range c {
				all[k] = v
			}
		}
	}
	if all["scope"] == nil && g.Scope != "" {
		all["scope"] = g.Scope
	}
	return all
}

// memory remembers what the provider said.
type memory struct {
	key    []byte
	known  *otter.Cache[[sha256.Size]byte, remembered]
	flight singleflight.Group
}

type remembered struct {
	grant *grant
	until time.Time
}

func newMemory() *memory {
	m := &memory{key: make([]byte, 32), known: otter.Must(&otter.Options[[sha256.Size]byte, remembered]{MaximumSize: 10_000})}
	_, _ = rand.Read(m.key) // never fails: crypto/rand aborts the program instead
	return m
}

// get returns what is remembered under the parts, or else what ask says, which is
// remembered for the time it tells with it.
func (m *memory) get(now time.Time, ask func() (*grant, time.Duration, error), parts ...string) (*grant, error) {
	mac := hmac.New(sha256.New, m.key)
	for _, part := range parts {
		fmt.Fprintf(mac, "%d:%s", len(part), part)
	}
	var digest [sha256.Size]byte
	mac.Sum(digest[:0])
	if r, ok := m.known.GetIfPresent(digest); ok && now.Before(r.until) {
		return r.grant, nil
	}
	v, err, _ := m.flight.Do(string(digest[:]), func() (any, error) {
		g, life, err := ask()
		if err == nil && life > 0 {
			m.known.Set(digest, remembered{g, now.Add(life)})
		}
		return g, err
	})
	if err != nil {
		return nil, err
	}
	return v.(*grant), nil
}

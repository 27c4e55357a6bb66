package oauth2

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"iter"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// token is what a client gets.
type token struct {
	Access  string `json:"access_token"`
	Type    string `json:"token_type"`
	Expires int    `json:"expires_in,omitempty"` // seconds; 0 for never
	Refresh string `json:"refresh_token,omitempty"`
	State   string `json:"state,omitempty"`
}

func (t *token) pairs() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		_ = yield("access_token", t.Access) && yield("token_type", t.Type) &&
			(t.Expires == 0 || yield("expires_in", strconv.Itoa(t.Expires))) && (t.Refresh == "" || yield("refresh_token", t.Refresh))
	}
}

// grant is what a client asks a token by.
type grant func(in *instance, c *call, client schema.Record) (*token, problem, error)

// issue answers a client that wants a token.
func (in *instance) issue(c *call) {
	var g grant
	kind := c.values["grant_type"]
	switch {
	case kind == "authorization_code":
		g = (*instance).byCode
	case kind == "refresh_token":
		g = (*instance).byRefresh
	case kind == "client_credentials" && in.client:
		g = (*instance).byClient
	case kind == "password" && in.owner:
		g = (*instance).byOwner
	}
	id, secret, header := in.credentials(c)
	client, registered := in.application(id)
	var p problem
	switch {
	case client == nil || fields.String(client, "client_type") != "public" && !isSecret(client, secret):
		p = invalidClient
	case fields.String(client, "client_type") == "public" && strings.TrimSpace(secret) != "":
		p = problem{"invalid_request", "client_secret is disallowed for public clients"}
	case g == nil:
		p = problem{"unsupported_grant_type", "Invalid grant_type"}
	case kind == "client_credentials":
	case len(registered) == 0:
		p = invalidClient
	default:
		if _, ok := c.redirect(registered); !ok {
			p = invalidRedirect
		}
	}
	var t *token
	var err error
	if (p == problem{}) {
		t, p, err = g(in, c, client)
	}
	switch {
	case err != nil:
		in.failed(c, err)
	case p == invalidClient && header:
		c.x.Response.Header.Add("WWW-Authenticate", `Basic realm="OAuth2.0"`)
		c.answer(401, p.body(c.values["state"]))
	case p != problem{}:
		c.answer(400, p.body(c.values["state"]))
	default:
		t.State = c.values["state"]
		c.answer(200, marshal(t))
	}
}

func (in *instance) byCode(c *call, client schema.Record) (*token, problem, error) {
	code, ok := in.env.Directory.ByUnique(codes, "code", c.values["code"])
	if !ok || refID(code, "credential") != client["id"] || refID(code, "plugin") != in.env.ID ||
		!in.global && refID(code, "service") != serviceID(c.x) {
		return nil, invalidCode, nil
	}
	if uri, _ := c.redirect(fields.Strings(client, "redirect_uris")); uri != fields.String(code, "redirect_uri") {
		return nil, invalidCode, nil
	}
	challenge := fields.String(code, "challenge")
	if challenge != "" || in.needsProof(client) {
		if p := prove(c, challenge); (p != problem{}) {
			return nil, p, nil
		}
	}
	if won, err := in.consume(c.x.Context(), codes, code); !won || err != nil {
		return nil, invalidCode, err
	}
	t, err := in.newToken(c.x, client, fields.String(code, "authenticated_userid"), fields.String(code, "scope"), true)
	return t, problem{}, err
}

// prove checks that the caller is who asked for the code (RFC 7636 section 4.6).
func prove(c *call, challenge string) problem {
	verifier, given := c.values["code_verifier"]
	switch {
	case !given:
		return problem{"invalid_request", "code_verifier is required for PKCE authorization requests"}
	case len(verifier) < 43 || len(verifier) > 128:
		return problem{"invalid_request", "code_verifier must be between 43 and 128 characters"}
	}
	sum := sha256.Sum256([]byte(verifier))
	if challenge == "" || subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) != 1 {
		return problem{"invalid_grant", "Invalid code"}
	}
	return problem{}
}

func (in *instance) byClient(c *call, client schema.Record) (*token, problem, error) {
	user := c.values["authenticated_userid"]
	if user != "" && !in.provisioned(c) {
		return nil, invalidKey, nil
	}
	scope, p := in.scope(c)
	if (p != problem{}) {
		return nil, p, nil
	}
	t, err := in.newToken(c.x, client, user, scope, false)
	return t, problem{}, err
}

func (in *instance) byOwner(c *call, client schema.Record) (*token, problem, error) {
	user := c.values["authenticated_userid"]
	switch {
	case !in.provisioned(c):
		return nil, invalidKey, nil
	case strings.TrimSpace(user) == "":
		return nil, missingUser, nil
	}
	scope, p := in.scope(c)
	if (p != problem{}) {
		return nil, p, nil
	}
	t, err := in.newToken(c.x, client, user, scope, true)
	return t, problem{}, err
}

func (in *instance) byRefresh(c *call, client schema.Record) (*token, problem, error) {
	old, ok := in.env.Directory.ByUnique(tokens, "refresh_token", c.values["refresh_token"])
	if of := refID(old, "service"); !ok || !in.global && of != serviceID(c.x) || of != "" && of != serviceID(c.x) {
		return nil, invalidRefresh, nil
	}
	if refID(old, "credential") != client["id"] {
		return nil, invalidClient, nil
	}
	if in.reuse {
		id, _ := old["id"].(string)
		patch := schema.Record{"access_token": name.Secret(32), "expires_in": float64(in.expiration), "created_at": float64(in.env.Clock.Now().Unix())}
		in.setTTL(patch)
		kept, err := in.env.Records.Update(c.x.Context(), tokens, id, patch)
		if err != nil {
			return nil, problem{}, err
		}
		return told(kept), problem{}, nil
	}
	if won, err := in.consume(c.x.Context(), tokens, old); !won || err != nil {
		return nil, invalidRefresh, err
	}
	t, err := in.newToken(c.x, client, fields.String(old, "authenticated_userid"), fields.String(old, "scope"), true)
	return t, problem{}, err
}

// consume deletes what can be used once; of several callers at once one is told true.
func (in *instance) consume(ctx context.Context, collection string, r schema.Record) (won bool, err error) {
	id, _ := r["id"].(string)
	return in.env.Records.Delete(ctx, collection, id)
}

// newToken keeps a token for a client.
func (in *instance) newToken(x *gateway.Exchange, client schema.Record, user, scope string, refresh bool) (*token, error) {
	r := schema.Record{"credential": schema.Record{"id": client["id"]}, "expires_in": float64(in.expiration)}
	if !in.global {
		r["service"] = ref(serviceID(x))
	}
	if refresh && in.expiration > 0 {
		r["refresh_token"] = name.Secret(32)
	}
	setText(r, "authenticated_userid", user)
	setText(r, "scope", scope)
	in.setTTL(r)
	kept, err := in.env.Records.Create(x.Context(), tokens, r)
	if err != nil {
		return nil, err
	}
	return told(kept), nil
}

// setTTL lets a token go when nothing of it can be used any more.
func (in *instance) setTTL(r schema.Record) {
	if in.expiration > 0 && in.refreshTTL > 0 {
		r["ttl"] = float64(in.refreshTTL)
	}
}

func told(r schema.Record) *token {
	return &token{Access: fields.String(r, "access_token"), Type: "bearer", Expires: fields.Int(r, "expires_in"), Refresh: fields.String(r, "refresh_token")}
}

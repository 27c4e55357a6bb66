package openidconnect

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/websession"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// state is what an exchange keeps of its sessions until the answer's head.
type state struct{ session, login *websession.Session }

// Access implements gateway.Accessor.
func (in *instance) Access(x *gateway.Exchange) {
	for _, name := range in.headers {
		x.Request.Header.Del(name) // no claim is the client's to tell
	}
	if in.idHeader != "" {
		x.Request.Header.Del(in.idHeader)
	}
	if len(in.groups) > 0 {
		x.Request.Header.Del("X-Authenticated-Groups")
	}
	in.Gate.Access(x)
}

// HeaderFilter implements gateway.HeaderFilter.
func (in *instance) HeaderFilter(x *gateway.Exchange) {
	st, _ := x.Value(in).(*state)
	if st == nil {
		return
	}
	write := func(k *websession.Keeper, s *websession.Session) {
		if s == nil {
			return
		}
		if err := k.Write(x, s); err != nil {
			in.env.Log.Error("a session cannot be kept", "err", err, "request_id", x.ID())
		}
	}
	write(in.sessions.of(x), st.session)
	write(in.logins.of(x), st.login)
}

// Authenticate implements auth.Method.
func (in *instance) Authenticate(x *gateway.Exchange) *auth.Failure {
	st := &state{}
	x.Put(in, st)
	if in.takes("session") {
		if st.session = in.sessions.of(x).Open(x); st.session != nil {
			if in.logout.Asked(x) {
				in.leaveSession(x, st.session)
				return nil
			}
			if g := in.resume(x, st.session); g != nil {
				return in.admit(x, g)
			}
			in.sessions.of(x).Forget(st.session)
		}
	}
	if token := in.bearer(x); token != "" && (in.takes("bearer") || in.takes("introspection")) {
		g, err := in.check(x.Context(), token)
		if err != nil {
			return in.refuse(x, err, "invalid_token")
		}
		return in.admit(x, g)
	}
	if user, password, ok := basic(x); ok && (in.takes("password") || in.takes("client_credentials")) {
		g, err := in.exchange(x.Context(), user, password)
		if err != nil {
			return in.refuse(x, err, "invalid_token")
		}
		if in.hide {
			x.Request.Header.Del("Authorization")
		}
		return in.admit(x, g)
	}
	if in.takes("authorization_code") && (x.Request.Method == "GET" || x.Request.Method == "HEAD") && in.Anonymous == "" || in.comesBack(x) {
		return in.login(x, st)
	}
	return in.refuse(x, nil, "")
}

// refuse logs why a client is not let in, and says that it is not.
func (in *instance) refuse(x *gateway.Exchange, err error, code string) *auth.Failure {
	if _, ok := errors.AsType[unreachable](err); ok {
		in.env.Log.Error("the OpenID provider cannot be asked", "err", err, "request_id", x.ID())
		x.Fail(500, "An unexpected error occurred")
		return nil
	}
	if err != nil {
		in.env.Log.Info("a client is not let in", "err", err, "request_id", x.ID())
	}
	f := &auth.Failure{Message: in.unauthorized, Challenge: `Bearer realm="` + in.realm + `"`}
	if code != "" {
		f.Challenge += `, error="` + code + `"`
	}
	return f
}

// admit authenticates the exchange as who a grant is of.
func (in *instance) admit(x *gateway.Exchange, g *grant) *auth.Failure {
	c := g.claims()
	lacks := &auth.Failure{Status: 403, Message: in.forbidden, Challenge: `Bearer realm="` + in.realm + `", error="insufficient_scope"`}
	for _, r := range in.required {
		if !c.has(r.claim, r.of) {
			return lacks
		}
	}
	var who *gateway.Consumer
	if len(in.consumer) > 0 {
		if who = in.consumerOf(text(c.at(in.consumer))); who == nil && !in.optional {
			return lacks
		}
	}
	identifier := text(c.at(in.credential))
	cred := &gateway.Credential{ID: identifier, Identifier: identifier}
	if who != nil {
		cred.ConsumerID = who.ID
	}
	h := &x.Request.Header
	if len(in.groups) > 0 {
		if groups := c.list(in.groups); len(groups) > 0 {
			x.SetGroups(groups)
		}
	}
	for i, name := range in.headers {
		if v := text(c.at(strings.Split(in.headerClaims[i], "."))); v != "" {
			h.Set(name, v)
		}
	}
	if name, scheme, _ := strings.Cut(in.accessHeader, ":"); name != "" && g.Access != "" {
		v := g.Access
		if strings.EqualFold(scheme, "bearer") {
			v = "Bearer " + v
		}
		h.Set(name, v)
	}
	if in.idHeader != "" && g.ID != "" {
		h.Set(in.idHeader, g.ID)
	}
	x.Authenticate(who, cred)
	return nil
}

func (in *instance) consumerOf(value string) *gateway.Consumer {
	if value == "" {
		return nil
	}
	for _, by := range in.by {
		var r schema.Record
		if by == "id" {
			r, _ = in.env.Directory.ByID("consumers", value)
		} else {
			r, _ = in.env.Directory.ByUnique("consumers", by, value)
		}
		if id, ok := r["id"].(string); ok {
			if c, ok := in.env.Directory.Consumer(id); ok {
				return c
			}
		}
	}
	return nil
}

// bearer finds a token, and takes it out of the request where it is to be hidden.
func (in *instance) bearer(x *gateway.Exchange) string {
	const name = "access_token"
	for _, place := range in.places {
		v := ""
		switch place {
		case "header":
			if scheme, rest, ok := strings.Cut(strings.TrimSpace(x.Request.Header.Get("Authorization")), " "); ok && strings.EqualFold(scheme, "bearer") {
				if v = strings.Clone(strings.TrimSpace(rest)); v != "" && in.hide {
					x.Request.Header.Del("Authorization")
				}
			}
		case "query":
			if x.Request.HasQuery {
				q, _ := gateway.QueryValue(x.Request.RawQuery, name)
				if v = strings.Clone(q); v != "" && in.hide {
					x.Request.RawQuery, _ = gateway.WithoutArg(x.Request.RawQuery, name)
					x.Request.HasQuery = x.Request.RawQuery != ""
				}
			}
		case "body":
			if x.Request.Method != "GET" && x.Request.Method != "HEAD" {
				b, _ := auth.BodyValue(x, name)
				if v = strings.Clone(b); v != "" && in.hide {
					auth.RemoveFromBody(x, name)
				}
			}
		case "cookie":
			c, _ := gateway.Cookie(&x.Request.Header, in.tokenCookie)
			v = strings.Clone(c)
		}
		if v != "" {
			return v
		}
	}
	return ""
}

// check finds out what a bearer token says: by itself, or by the provider.
func (in *instance) check(ctx context.Context, token string) (*grant, error) {
	if len(token) > maxToken {
		return nil, errors.New("the token is too long")
	}
	// What has three parts is a JWT, whatever it claims to be signed by.
	isJWT := strings.Count(token, ".") == 2
	if isJWT && in.takes("bearer") {
		c, err := in.provider.verify(ctx, token)
		if err != nil || !in.introspectAll || !in.takes("introspection") {
			return &grant{Access: token, says: c}, err
		}
	}
	if !in.takes("introspection") {
		return nil, errors.New("the token cannot be verified")
	}
	ask := func() (*grant, time.Duration, error) { return in.introspect(context.WithoutCancel(ctx), token) }
	g, err := in.memory.get(in.env.Clock.Now(), ask, "introspection", token)
	if err != nil {
		return nil, err
	}
	return g, g.says.timely(in.env.Clock.Now(), in.provider.leeway, false)
}

// introspect asks the provider about a token (RFC 7662), and says for how long the answer
// may be believed.
func (in *instance) introspect(ctx context.Context, token string) (*grant, time.Duration, error) {
	m, _, err := in.provider.discover(ctx)
	if err != nil {
		return nil, 0, unreachable{err}
	}
	form := url.Values{"token": {token}}
	if in.hint != "" {
		form.Set("token_type_hint", in.hint)
	}
	var raw json.RawMessage
	if err := in.provider.call(ctx, m.Introspection, form, in.provider.id, in.provider.secret, &raw); err != nil {
		return nil, 0, unreachable{err}
	}
	c, err := parseClaims(raw)
	if err != nil {
		return nil, 0, unreachable{err}
	}
	if active, _ := c["active"].(bool); !active {
		return nil, 0, errors.New("the provider says that the token is not active")
	}
	if iss, given := c["iss"].(string); given && iss != m.Issuer {
		return nil, 0, errors.New("another issuer's token")
	}
	life := in.cacheTTL
	if exp, ok := c.moment("exp"); ok {
		life = min(life, exp.Sub(in.env.Clock.Now()))
	}
	if !in.keepAnswers {
		life = 0
	}
	return &grant{Access: token, says: c}, life, nil
}

// basic returns the credentials of a Basic Authorization.
func basic(x *gateway.Exchange) (user, password string, ok bool) {
	return auth.Parse("basic", x.Request.Header.Get("Authorization"))
}

// exchange gets tokens for Basic credentials: as a user's, then as a client's.
func (in *instance) exchange(ctx context.Context, user, password string) (*grant, error) {
	ask := func() (*grant, time.Duration, error) {
		g, err := in.trade(context.WithoutCancel(ctx), user, password)
		if err != nil || !in.keepBasic || g.Expires == 0 {
			return g, 0, err
		}
		return g, time.Unix(g.Expires, 0).Sub(in.env.Clock.Now()), nil
	}
	return in.memory.get(in.env.Clock.Now(), ask, "basic", user, password)
}

func (in *instance) trade(ctx context.Context, user, password string) (g *grant, err error) {
	p := in.provider
	err = errors.New("the provider takes no such credentials")
	if in.takes("password") {
		g, err = p.obtain(ctx, in.wishes(url.Values{"grant_type": {"password"}, "username": {user}, "password": {password}}), p.id, p.secret)
	}
	if err != nil && in.takes("client_credentials") {
		g, err = p.obtain(ctx, in.wishes(url.Values{"grant_type": {"client_credentials"}}), user, password)
	}
	if err != nil {
		return nil, err
	}
	// The access token comes from the provider itself, but it must be one that would do.
	if c, bad := p.verify(ctx, g.Access); bad == nil {
		g.says = c
	} else if _, parsed := jose.ParseSigned(g.Access, algorithms); parsed == nil {
		return nil, bad
	}
	return g, p.verifyID(ctx, g, "")
}

// wishes adds to a form what is asked for.
func (in *instance) wishes(form url.Values) url.Values {
	if len(in.scopes) > 0 {
		form.Set("scope", strings.Join(in.scopes, " "))
	}
	for _, a := range in.audience {
		form.Add("audience", a)
	}
	return form
}

package openidconnect

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/auth"
	"sluice.dev/sluice/internal/service/gateway/plugin/websession"
)

// login is what is remembered of a browser that was sent to the provider.
type login struct {
	State    string `json:"s"`
	Nonce    string `json:"n"`
	Verifier string `json:"v"`
	Redirect string `json:"r"` // where the provider sends it back
	Target   string `json:"t"` // path and query that it wanted
}

// origin is where the client reached the gateway. Without the port, the provider would send
// the browser to the default one.
func origin(x *gateway.Exchange) string { return x.ForwardedProto() + "://" + x.ForwardedAuthority() }

// comesBack reports whether the request is one by which the provider sends a browser back.
func (in *instance) comesBack(x *gateway.Exchange) bool {
	if !in.takes("authorization_code") || !x.Request.HasQuery || x.Request.Method != "GET" {
		return false
	}
	if u, err := url.Parse(in.redirect); in.redirect != "" && (err != nil || u.Path != x.Request.Path) {
		return false
	}
	_, state := gateway.QueryValue(x.Request.RawQuery, "state")
	_, code := gateway.QueryValue(x.Request.RawQuery, "code")
	_, failed := gateway.QueryValue(x.Request.RawQuery, "error")
	return state == 1 && code+failed == 1
}

// login sends a browser to the provider, or takes in one that comes back.
func (in *instance) login(x *gateway.Exchange, st *state) *auth.Failure {
	if in.comesBack(x) {
		return in.arrive(x, st)
	}
	m, _, err := in.provider.discover(x.Context())
	if err != nil {
		return in.refuse(x, unreachable{err}, "")
	}
	to, err := url.Parse(m.Authorization)
	if err != nil || to.Host == "" {
		return in.refuse(x, unreachable{errors.New("the provider has no authorization endpoint")}, "")
	}
	l := login{State: rand.Text(), Nonce: rand.Text(), Verifier: rand.Text() + rand.Text(), Redirect: in.redirect,
		Target: string(gateway.AppendTarget(nil, x.Request.Path, x.Request.RawQuery, x.Request.HasQuery))}
	if l.Redirect == "" {
		l.Redirect = origin(x) + string(gateway.AppendTarget(nil, x.Request.Path, "", false))
	}
	data, _ := json.Marshal(l) // strings always marshal
	st.login = in.logins.of(x).Start("", data)
	sum := sha256.Sum256([]byte(l.Verifier))
	q := to.Query()
	for k, v := range in.wishes(url.Values{"response_type": {"code"}, "client_id": {in.provider.id}, "redirect_uri": {l.Redirect}, "state": {l.State},
		"nonce": {l.Nonce}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"}}) {
		q[k] = v
	}
	to.RawQuery = q.Encode()
	redirect(x, to.String())
	return nil
}

func redirect(x *gateway.Exchange, to string) {
	x.Respond(302, nil, gateway.Field{Name: "Location", Value: to}, gateway.Field{Name: "Cache-Control", Value: "no-store"})
}

// arrive takes in a browser that the provider has sent back.
func (in *instance) arrive(x *gateway.Exchange, st *state) *auth.Failure {
	keeper := in.logins.of(x)
	var l login
	if st.login = keeper.Open(x); st.login == nil || json.Unmarshal(st.login.Data(), &l) != nil {
		return in.refuse(x, errors.New("a browser comes back that was not sent"), "")
	}
	keeper.Forget(st.login) // one try for each login
	given, _ := gateway.QueryValue(x.Request.RawQuery, "state")
	if subtle.ConstantTimeCompare([]byte(given), []byte(l.State)) != 1 {
		return in.refuse(x, errors.New("the state is of another login"), "")
	}
	code, n := gateway.QueryValue(x.Request.RawQuery, "code")
	if n == 0 {
		return in.refuse(x, errors.New("the provider did not let the user in"), "")
	}
	p := in.provider
	g, err := p.obtain(x.Context(), url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {l.Redirect},
		"code_verifier": {l.Verifier}}, p.id, p.secret)
	if err == nil {
		err = p.verifyID(x.Context(), g, l.Nonce)
	}
	if err != nil {
		return in.refuse(x, err, "")
	}
	if st.session != nil { // of somebody else, perhaps
		in.sessions.of(x).Forget(st.session)
	}
	data, _ := json.Marshal(g) // strings and numbers always marshal
	st.session = in.sessions.of(x).Start(text(g.claims()["sub"]), data)
	back := origin(x)
	if u, err := url.Parse(l.Redirect); err == nil {
		back = u.Scheme + "://" + u.Host
	}
	redirect(x, back+l.Target)
	return nil
}

// resume returns the grant of a session, refreshed where it has to be; nil where it counts
// no more.
func (in *instance) resume(x *gateway.Exchange, s *websession.Session) *grant {
	var g grant
	if json.Unmarshal(s.Data(), &g) != nil {
		return nil
	}
	now := in.env.Clock.Now()
	if g.Expires == 0 || now.Before(time.Unix(g.Expires, 0)) {
		return &g
	}
	if g.Refresh == "" || !in.refresh {
		return nil
	}
	// Requests at the same time refresh once; what they get is remembered for those that
	// still bring the old cookie.
	fresh, err := in.memory.get(now, func() (*grant, time.Duration, error) {
		n, err := in.renew(context.WithoutCancel(x.Context()), &g)
		return n, time.Minute, err
	}, "refresh", g.Refresh)
	if err != nil {
		in.env.Log.Info("the tokens of a session cannot be refreshed", "err", err, "request_id", x.ID())
		return nil
	}
	data, _ := json.Marshal(fresh) // strings and numbers always marshal
	s.Replace(s.Subject(), data)
	return fresh
}

func (in *instance) renew(ctx context.Context, old *grant) (*grant, error) {
	p := in.provider
	g, err := p.obtain(ctx, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {old.Refresh}}, p.id, p.secret)
	if err != nil {
		return nil, err
	}
	if err := p.verifyID(ctx, g, ""); err != nil {
		return nil, err
	}
	if g.ID != "" && g.claims()["sub"] != old.claims()["sub"] {
		return nil, errors.New("the refreshed tokens are of another user")
	}
	for _, e := range []struct{ now, was *string }{{&g.Refresh, &old.Refresh}, {&g.ID, &old.ID}, {&g.Scope, &old.Scope}} {
		if *e.now == "" {
			*e.now = *e.was
		}
	}
	return g, nil
}

// leaveSession ends a session, here and, where the provider has a place for that, there.
func (in *instance) leaveSession(x *gateway.Exchange, s *websession.Session) {
	var g grant
	_ = json.Unmarshal(s.Data(), &g) // then there is no hint
	if err := in.sessions.of(x).Destroy(x.Context(), s); err != nil {
		in.env.Log.Error("a session cannot be ended", "err", err, "request_id", x.ID())
		x.Fail(500, "An unexpected error occurred")
		return
	}
	m, _, err := in.provider.discover(x.Context())
	to, bad := url.Parse(m.EndSession)
	switch {
	case err == nil && bad == nil && to.Host != "":
		q := to.Query()
		q.Set("client_id", in.provider.id)
		if g.ID != "" {
			q.Set("id_token_hint", g.ID)
		}
		if in.leave != "" {
			q.Set("post_logout_redirect_uri", in.leave)
		}
		to.RawQuery = q.Encode()
		redirect(x, to.String())
	case in.leave != "":
		redirect(x, in.leave)
	default:
		x.Respond(200, nil)
	}
}

package oauth2_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/oauth2"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const callback = "https://app.example/cb?keep=1"

type world struct {
	t     *testing.T
	g     *gateway.Gateway
	clock *gatewaytest.Clock
}

// setup makes two services, /a and /b, with the plugin on each, and three clients of alice.
func setup(t *testing.T, config schema.Record) *world {
	t.Helper()
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	g := gatewaytest.New(t, []gateway.Plugin{oauth2.New()}, func(d *gateway.Deps) { d.Clock = clock })
	c := schema.Record{"provision_key": "provision", "enable_authorization_code": true, "scopes": []any{"read", "write"}}
	maps.Copy(c, config)
	for _, name := range []string{"a", "b"} {
		gatewaytest.Create(t, g, "services", schema.Record{"name": name, "host": "h"})
		gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/" + name}, "service": schema.Record{"name": name}})
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "oauth2", "config": c, "service": schema.Record{"name": name}})
	}
	alice := gatewaytest.Consumer(t, g, "alice")
	gatewaytest.Consumer(t, g, "nobody")
	for id, more := range map[string]schema.Record{
		"app":    {"client_secret": "secret", "redirect_uris": []any{callback, "https://app.example/other"}},
		"hashed": {"client_secret": "secret", "hash_secret": true, "redirect_uris": []any{callback}},
		"public": {"client_type": "public", "redirect_uris": []any{callback}},
	} {
		r := schema.Record{"name": id, "client_id": id, "consumer": alice}
		maps.Copy(r, more)
		gatewaytest.Create(t, g, "oauth2_credentials", r)
	}
	return &world{t, g, clock}
}

var form = []string{"Content-Type", "application/x-www-form-urlencoded"}

// post calls an endpoint over HTTPS.
func (w *world) post(target, body string, header ...string) (status int, answer map[string]any, r gatewaytest.Result) {
	w.t.Helper()
	r = gatewaytest.Do(w.g, gatewaytest.Request{Method: "POST", Target: target, Body: body, TLS: &tls.ConnectionState{}, Header: append(header, form...)})
	if err := json.Unmarshal([]byte(r.Body), &answer); err != nil {
		w.t.Fatalf("%s %s: %v: %q", target, body, err, r.Body)
	}
	if cc := r.Header.Get("Cache-Control"); cc != "no-store" || r.Header.Get("Pragma") != "no-cache" {
		w.t.Errorf("%s: may be cached: %q", target, cc)
	}
	if strings.Contains(r.Body, `\u0026`) {
		w.t.Errorf("%s: %s", target, r.Body)
	}
	return r.Status, answer, r
}

const agreed = "provision_key=provision&authenticated_userid=u1&client_id=app"

// code gets a code for a client.
func (w *world) code(body string) string {
	w.t.Helper()
	status, a, _ := w.post("/a/oauth2/authorize", body+"&response_type=code")
	uri, _ := a["redirect_uri"].(string)
	u, err := url.Parse(uri)
	if status != 200 || err != nil || u.Query().Get("code") == "" {
		w.t.Fatalf("%d %v", status, a)
	}
	return u.Query().Get("code")
}

func (w *world) use(path, token string) gatewaytest.Result {
	return gatewaytest.Do(w.g, gatewaytest.Request{Target: path, Header: []string{"Authorization", "Bearer " + token,
		"X-Authenticated-Scope", "forged", "X-Authenticated-Userid", "forged"}})
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestAuthorizationCode(t *testing.T) {
	w := setup(t, schema.Record{})
	status, a, _ := w.post("/a/oauth2/authorize/", agreed+"&response_type=code&scope=read&state=a%26b")
	u, _ := url.Parse(a["redirect_uri"].(string))
	if status != 200 || u.Host != "app.example" || u.Query().Get("keep") != "1" || u.Query().Get("state") != "a&b" {
		t.Fatalf("%d %v", status, a)
	}
	exchange := "grant_type=authorization_code&client_id=app&client_secret=secret&code=" + u.Query().Get("code")
	status, a, _ = w.post("/a/oauth2/token", exchange+"&state=s")
	token, _ := a["access_token"].(string)
	refresh, _ := a["refresh_token"].(string)
	if status != 200 || len(token) != 32 || len(refresh) != 32 || a["token_type"] != "bearer" || a["expires_in"] != 7200.0 || a["state"] != "s" {
		t.Fatalf("%d %v", status, a)
	}
	r := w.use("/a", token)
	if up := r.Upstream; r.Status != 0 || r.Consumer != "alice" || up.Get("X-Credential-Identifier") != "app" ||
		up.Get("X-Authenticated-Scope") != "read" || up.Get("X-Authenticated-UserId") != "u1" || up.Count("X-Authenticated-Scope") != 1 {
		t.Errorf("%+v %v", r, r.Upstream.Fields())
	}
	if status, a, _ := w.post("/a/oauth2/token", exchange); status != 400 || a["error_description"] != "Invalid code" {
		t.Errorf("the code is good twice: %v", a)
	}
	if r := w.use("/b", token); r.Status != 401 || !strings.Contains(r.Body, `"error":"invalid_token"`) {
		t.Errorf("the token is good for another service: %+v", r)
	}
	e, _ := w.g.Entity("oauth2_tokens")
	if all, _ := w.g.List(e, gateway.ListQuery{Size: 10}); len(all) != 1 || all[0]["ttl"] != 1209599.0 || all[0]["access_token"] != token {
		t.Errorf("%v", all)
	}
}

func TestCodesAreBound(t *testing.T) {
	w := setup(t, schema.Record{})
	other := url.QueryEscape("https://app.example/other")
	for name, c := range map[string]struct {
		ask, exchange, path string
		wait                time.Duration
	}{
		"another client":   {agreed, "client_id=hashed&client_secret=secret", "/a", 0},
		"another service":  {agreed, "client_id=app&client_secret=secret", "/b", 0},
		"another redirect": {agreed, "client_id=app&client_secret=secret&redirect_uri=" + other, "/a", 0},
		"default redirect": {agreed + "&redirect_uri=" + other, "client_id=app&client_secret=secret", "/a", 0},
		"late":             {agreed, "client_id=app&client_secret=secret", "/a", 300 * time.Second},
	} {
		code := w.code(c.ask)
		w.clock.Pass(c.wait)
		status, a, _ := w.post(c.path+"/oauth2/token", "grant_type=authorization_code&code="+code+"&"+c.exchange)
		if status != 400 || a["error"] != "invalid_request" || a["error_description"] != "Invalid code" {
			t.Errorf("%s: %d %v", name, status, a)
		}
	}
	code := w.code(agreed + "&redirect_uri=" + other)
	if status, a, _ := w.post("/a/oauth2/token", "grant_type=authorization_code&client_id=app&client_secret=secret&code="+code+"&redirect_uri="+other); status != 200 {
		t.Errorf("%v", a)
	}
	// Of many who bring one code at once, one gets a token.
	code = w.code(agreed)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 20 {
		wg.Go(func() {
			r := gatewaytest.Do(w.g, gatewaytest.Request{Method: "POST", Target: "/a/oauth2/token", TLS: &tls.ConnectionState{}, Header: form,
				Body: "grant_type=authorization_code&client_id=app&client_secret=secret&code=" + code})
			if r.Status == 200 {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	if wg.Wait(); won != 1 {
		t.Errorf("%d tokens for one code", won)
	}
}

func TestRefusals(t *testing.T) {
	w := setup(t, schema.Record{"mandatory_scope": true, "enable_password_grant": true, "enable_client_credentials": true})
	basic := func(s string) []string {
		return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(s))}
	}
	own := "client_id=app&client_secret=secret&"
	for name, c := range map[string]struct {
		path, body  string
		header      []string
		status      int
		code, about string
	}{
		"provision key":     {"authorize", "authenticated_userid=u&client_id=app&provision_key=x", nil, 400, "invalid_provision_key", "Invalid provision_key"},
		"no user":           {"authorize", "provision_key=provision&client_id=app&authenticated_userid=+", nil, 400, "invalid_authenticated_userid", "Missing authenticated_userid parameter"},
		"unknown client":    {"authorize", "provision_key=provision&authenticated_userid=u&client_id=x", nil, 400, "invalid_client", "Invalid client authentication"},
		"repeated":          {"authorize", agreed + "&redirect_uri=https://evil.example&redirect_uri=x", nil, 400, "invalid_request", "The parameter redirect_uri is repeated"},
		"grant":             {"token", own + "grant_type=x", nil, 400, "unsupported_grant_type", "Invalid grant_type"},
		"wrong secret":      {"token", "client_id=app&client_secret=x&grant_type=client_credentials&scope=read", nil, 400, "invalid_client", "Invalid client authentication"},
		"no secret":         {"token", "client_id=app&grant_type=client_credentials&scope=read", nil, 400, "invalid_client", "Invalid client authentication"},
		"wrong in header":   {"token", "grant_type=client_credentials&scope=read", basic("app:x"), 401, "invalid_client", "Invalid client authentication"},
		"stored hash":       {"token", "client_id=hashed&client_secret=$pbkdf2-sha512$&grant_type=client_credentials&scope=read", nil, 400, "invalid_client", "Invalid client authentication"},
		"public by secret":  {"token", "client_id=public&client_secret=x&grant_type=client_credentials&scope=read", nil, 400, "invalid_request", "client_secret is disallowed for public clients"},
		"no scope":          {"token", own + "grant_type=client_credentials", nil, 400, "invalid_scope", "You must specify a scope"},
		"empty scope":       {"token", own + "grant_type=client_credentials&scope=+", nil, 400, "invalid_scope", "You must specify a scope"},
		"unknown scope":     {"token", own + "grant_type=client_credentials&scope=read+admin", nil, 400, "invalid_scope", `"admin" is an invalid scope`},
		"user without key":  {"token", own + "grant_type=client_credentials&scope=read&authenticated_userid=root", nil, 400, "invalid_provision_key", "Invalid provision_key"},
		"owner without key": {"token", own + "grant_type=password&scope=read&authenticated_userid=root", nil, 400, "invalid_provision_key", "Invalid provision_key"},
		"refresh token":     {"token", own + "grant_type=refresh_token&refresh_token=x", nil, 400, "invalid_request", "Invalid refresh_token"},
		"no code":           {"token", own + "grant_type=authorization_code", nil, 400, "invalid_request", "Invalid code"},
		"foreign redirect":  {"token", own + "grant_type=authorization_code&redirect_uri=https://evil.example", nil, 400, "invalid_request", "Invalid redirect_uri that does not match with any redirect_uri created with the application"},
	} {
		status, a, r := w.post("/a/oauth2/"+c.path, c.body, c.header...)
		if status != c.status || a["error"] != c.code || a["error_description"] != c.about || len(a) != 2 {
			t.Errorf("%s: %d %v", name, status, a)
		}
		if challenge := r.Header.Get("WWW-Authenticate"); (status == 401) != (challenge == `Basic realm="OAuth2.0"`) {
			t.Errorf("%s: %q", name, challenge)
		}
	}
	// A redirect URI that is not the client's gets nothing; the client's own is told why.
	for name, c := range map[string]struct{ more, code string }{
		"foreign redirect": {"&response_type=code&scope=read&redirect_uri=https://evil.example/cb", "invalid_request"},
		"longer redirect":  {"&response_type=code&scope=read&redirect_uri=" + url.QueryEscape(callback+"@evil.example"), "invalid_request"},
		"response type":    {"&response_type=token&scope=read", "unsupported_response_type"},
		"scope":            {"&response_type=code&scope=admin", "invalid_scope"},
	} {
		status, a, _ := w.post("/a/oauth2/authorize", agreed+c.more)
		uri, _ := a["redirect_uri"].(string)
		u, err := url.Parse(uri)
		if status != 400 || err != nil || !strings.HasPrefix(uri, callback+"&") || u.Query().Get("error") != c.code || u.Query().Get("code") != "" {
			t.Errorf("%s: %d %v", name, status, a)
		}
	}
	for _, r := range []gatewaytest.Request{
		{Method: "POST", Target: "/a/oauth2/token", Header: form, Body: own + "grant_type=client_credentials&scope=read"},
		{Method: "POST", Target: "/a/oauth2/authorize", Header: append([]string{"X-Forwarded-Proto", "https"}, form...), Body: agreed + "&response_type=code&scope=read"},
	} {
		if got := gatewaytest.Do(w.g, r); got.Status != 400 || got.Body != `{"error":"access_denied","error_description":"You must use HTTPS"}` {
			t.Errorf("%s in clear text: %+v", r.Target, got)
		}
	}
	got := gatewaytest.Do(w.g, gatewaytest.Request{Target: "/a/oauth2/token?" + own, TLS: &tls.ConnectionState{}})
	if got.Status != 405 || got.Body != `{"error":"invalid_method","error_description":"The HTTP method GET is invalid for the token endpoint"}` {
		t.Errorf("%+v", got)
	}
}

func TestOtherGrants(t *testing.T) {
	w := setup(t, schema.Record{"enable_implicit_grant": true, "enable_client_credentials": true, "enable_password_grant": true, "global_credentials": true})
	status, a, _ := w.post("/a/oauth2/authorize", agreed+"&response_type=token&state=s")
	uri, _ := a["redirect_uri"].(string)
	before, fragment, _ := strings.Cut(uri, "#")
	values, _ := url.ParseQuery(fragment)
	if status != 200 || before != callback || values.Get("access_token") == "" || values.Get("refresh_token") != "" || values.Get("state") != "s" {
		t.Errorf("%d %v", status, a)
	}
	if r := w.use("/b", values.Get("access_token")); r.Status != 0 || r.Upstream.Get("X-Authenticated-Scope") != "" {
		t.Errorf("a global token: %+v", r)
	}
	header := []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte("hashed:secret"))}
	status, a, _ = w.post("/a/oauth2/token", "grant_type=client_credentials&scope=read+write", header...)
	if token, _ := a["access_token"].(string); status != 200 || a["refresh_token"] != nil || w.use("/a", token).Upstream.Get("X-Authenticated-Scope") != "read write" {
		t.Errorf("%d %v", status, a)
	}
	status, a, _ = w.post("/a/oauth2/token?scope=read", "grant_type=password&client_id=app&client_secret=secret&provision_key=provision&authenticated_userid=u2")
	if token, _ := a["access_token"].(string); status != 200 || a["refresh_token"] == nil || w.use("/a", token).Upstream.Get("X-Authenticated-Userid") != "u2" {
		t.Errorf("%d %v", status, a)
	}
	// What is kept of a secret does not tell it.
	hashed, _ := w.g.ByUnique("oauth2_credentials", "client_id", "hashed")
	if s := hashed["client_secret"].(string); !strings.HasPrefix(s, "$pbkdf2-sha512$i=10000,l=32$") {
		t.Error(s)
	}
}

func TestProofs(t *testing.T) {
	verifier := strings.Repeat("v", 43)
	for _, c := range []struct {
		pkce, client string
		needed       bool
	}{{"none", "public", false}, {"lax", "public", true}, {"lax", "app", false}, {"strict", "app", true}} {
		w := setup(t, schema.Record{"pkce": c.pkce})
		ask := "provision_key=provision&authenticated_userid=u&client_id=" + c.client
		id := "grant_type=authorization_code&client_id=" + c.client
		if c.client != "public" {
			id += "&client_secret=secret"
		}
		status, a, _ := w.post("/a/oauth2/authorize", ask+"&response_type=code")
		if uri, _ := a["redirect_uri"].(string); (status == 400) != c.needed || c.needed && !strings.Contains(uri, "code_challenge+is+required") {
			t.Errorf("%v: %d %v", c, status, a)
		}
		for name, p := range map[string]struct {
			verifier string
			code     string
		}{
			"right": {"&code_verifier=" + verifier, ""}, "wrong": {"&code_verifier=x" + verifier, "invalid_grant"}, "none": {"", "invalid_request"},
			"short": {"&code_verifier=" + verifier[1:], "invalid_request"}, "the challenge": {"&code_verifier=" + challenge(verifier), "invalid_grant"},
		} {
			code := w.code(ask + "&code_challenge_method=S256&code_challenge=" + challenge(verifier))
			_, a, _ := w.post("/a/oauth2/token", id+"&code="+code+p.verifier)
			if got, _ := a["error"].(string); got != p.code {
				t.Errorf("%v, %s: %v", c, name, a)
			}
		}
		for _, bad := range []string{"&code_challenge_method=S256", "&code_challenge_method=plain&code_challenge=" + challenge(verifier), "&code_challenge=short"} {
			if status, a, _ := w.post("/a/oauth2/authorize", ask+"&response_type=code"+bad); status != 400 {
				t.Errorf("%s: %v", bad, a)
			}
		}
	}
}

func TestRefresh(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		w := setup(t, schema.Record{"reuse_refresh_token": reuse, "token_expiration": 100.0, "refresh_token_ttl": 1000.0})
		_, first, _ := w.post("/a/oauth2/token", "grant_type=authorization_code&client_id=app&client_secret=secret&code="+w.code(agreed+"&scope=read"))
		refresh := func(token any, id string) (int, map[string]any) {
			s, a, _ := w.post("/a/oauth2/token", "grant_type=refresh_token&client_secret=secret&client_id="+id+"&refresh_token="+token.(string))
			return s, a
		}
		if w.clock.Pass(101 * time.Second); w.use("/a", first["access_token"].(string)).Status != 401 {
			t.Error("an old token is good")
		}
		if status, a := refresh(first["refresh_token"], "hashed"); status != 400 || a["error"] != "invalid_client" {
			t.Errorf("by another client: %v", a)
		}
		status, second := refresh(first["refresh_token"], "app")
		if status != 200 || (second["refresh_token"] == first["refresh_token"]) != reuse || second["access_token"] == first["access_token"] {
			t.Fatalf("%d %v", status, second)
		}
		r := w.use("/a", second["access_token"].(string))
		if r.Status != 0 || r.Upstream.Get("X-Authenticated-Scope") != "read" || r.Upstream.Get("X-Authenticated-Userid") != "u1" {
			t.Errorf("%+v", r)
		}
		if w.use("/a", first["access_token"].(string)).Status != 401 {
			t.Error("the first token is back")
		}
		if status, _ := refresh(first["refresh_token"], "app"); (status == 200) != reuse {
			t.Errorf("the refresh token again: %d", status)
		}
		w.clock.Pass(1001 * time.Second)
		if status, _ := refresh(second["refresh_token"], "app"); status != 400 {
			t.Error("a refresh token is good for ever")
		}
	}
}

func TestWhereTokensAreFound(t *testing.T) {
	w := setup(t, schema.Record{"enable_client_credentials": true, "hide_credentials": true, "auth_header_name": "X-Auth", "anonymous": "nobody"})
	_, a, _ := w.post("/a/oauth2/token", "grant_type=client_credentials&client_id=app&client_secret=secret")
	token, _ := a["access_token"].(string)
	for name, c := range map[string]struct {
		r    gatewaytest.Request
		who  string
		left string
	}{
		"header":       {gatewaytest.Request{Target: "/a", Header: []string{"X-Auth", "bearer " + token}}, "alice", ""},
		"token scheme": {gatewaytest.Request{Target: "/a", Header: []string{"X-Auth", "token " + token}}, "alice", ""},
		"query":        {gatewaytest.Request{Target: "/a?x=1&access_token=" + token}, "alice", "x=1"},
		"form":         {gatewaytest.Request{Target: "/a", Method: "POST", Header: form, Body: "x=1&access_token=" + token}, "alice", "x=1"},
		"JSON":         {gatewaytest.Request{Target: "/a", Method: "POST", Header: []string{"Content-Type", "application/json"}, Body: `{"access_token":"` + token + `"}`}, "alice", "{}"},
		"wrong":        {gatewaytest.Request{Target: "/a", Header: []string{"X-Auth", "bearer x" + token}}, "nobody", ""},
		"none":         {gatewaytest.Request{Target: "/a"}, "nobody", ""},
		"other header": {gatewaytest.Request{Target: "/a", Header: []string{"Authorization", "bearer " + token}}, "nobody", ""},
		"repeated":     {gatewaytest.Request{Target: "/a?access_token=" + token + "&access_token=x"}, "nobody", ""},
	} {
		got := gatewaytest.Do(w.g, c.r)
		if got.Status != 0 || got.Consumer != c.who {
			t.Errorf("%s: %+v", name, got)
		}
		if left := got.Query + got.Sent; c.who == "alice" && (left != c.left || got.Upstream.Get("X-Auth") != "") {
			t.Errorf("%s: the upstream gets %q", name, left)
		}
	}
	w = setup(t, schema.Record{"realm": "r"})
	for header, want := range map[string]string{"": `Bearer realm="r"`,
		"Bearer x": `Bearer realm="r" error="invalid_token" error_description="The access token is invalid or has expired"`} {
		got := gatewaytest.Do(w.g, gatewaytest.Request{Target: "/a", Header: []string{"Authorization", header}})
		if got.Status != 401 || got.Header.Get("WWW-Authenticate") != want {
			t.Errorf("%q: %+v %v", header, got, got.Header.Fields())
		}
	}
}

func TestConfig(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{oauth2.New()})
	e, _ := g.Entity("plugins")
	for name, c := range map[string]schema.Record{"no grant": {}, "no scopes": {"enable_implicit_grant": true, "mandatory_scope": true},
		"pkce": {"enable_implicit_grant": true, "pkce": "no"}} {
		if err := g.Validate(e, schema.Record{"name": "oauth2", "config": c}); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	p := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "oauth2", "config": schema.Record{"enable_implicit_grant": true}})
	if key, _ := p["config"].(schema.Record)["provision_key"].(string); len(key) != 32 {
		t.Errorf("provision key %q", key)
	}
	clients, _ := g.Entity("oauth2_credentials")
	bob := gatewaytest.Consumer(t, g, "bob")
	for _, uri := range []string{"nowhere", "https://x/#f", "https://x/#", "/cb", "https://"} {
		if err := g.Validate(clients, schema.Record{"name": "n", "consumer": bob, "redirect_uris": []any{uri}}); err == nil {
			t.Errorf("%q is accepted", uri)
		}
	}
}

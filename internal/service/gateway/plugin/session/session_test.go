package session_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/session"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// browser keeps cookies as a browser does.
type browser struct {
	t       *testing.T
	g       *gateway.Gateway
	clock   *gatewaytest.Clock
	cookies map[string]string
	last    gatewaytest.Result
}

func (b *browser) copy() *browser {
	c := *b
	c.cookies = map[string]string{}
	for k, v := range b.cookies {
		c.cookies[k] = v
	}
	return &c
}

// do sends a request with the cookies, and returns the consumer.
func (b *browser) do(r gatewaytest.Request) string {
	b.t.Helper()
	var all []string
	for k, v := range b.cookies {
		all = append(all, k+"="+v)
	}
	if len(all) > 0 {
		r.Header = append(r.Header, "Cookie", "other=1; "+strings.Join(all, "; "))
	}
	b.last = gatewaytest.Do(b.g, r)
	for _, f := range b.last.Header.Fields() {
		if f.Name != "Set-Cookie" {
			continue
		}
		name, rest, _ := strings.Cut(f.Value, "=")
		value, attributes, _ := strings.Cut(rest, ";")
		if strings.Contains(attributes, "Max-Age=0") {
			delete(b.cookies, name)
		} else {
			b.cookies[name] = value
		}
	}
	return b.last.Consumer
}

func (b *browser) get() string { b.t.Helper(); return b.do(gatewaytest.Request{}) }
func (b *browser) login() string {
	b.t.Helper()
	return b.do(gatewaytest.Request{Header: []string{"apikey", "right"}})
}

func (b *browser) pass(d time.Duration) { b.clock.Pass(d) }

func setup(t *testing.T, config schema.Record) *browser {
	t.Helper()
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	g := gatewaytest.New(t, []gateway.Plugin{keyauth.New(), session.New()}, func(d *gateway.Deps) { d.Clock = clock })
	gatewaytest.Route(t, g)
	alice := gatewaytest.Consumer(t, g, "alice")
	gatewaytest.Consumer(t, g, "nobody")
	gatewaytest.Create(t, g, "keyauth_credentials", schema.Record{"key": "right", "consumer": alice})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "key-auth", "config": schema.Record{"anonymous": "nobody"}})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "session", "config": config})
	return &browser{t: t, g: g, clock: clock, cookies: map[string]string{}}
}

func both(t *testing.T, f func(t *testing.T, storage string)) {
	for _, storage := range []string{"cookie", "kong"} {
		t.Run(storage, func(t *testing.T) { f(t, storage) })
	}
}

func TestSession(t *testing.T) {
	both(t, func(t *testing.T, storage string) {
		b := setup(t, schema.Record{"storage": storage, "request_headers": []any{"id", "subject", "timeout"},
			"response_headers": []any{"rolling-timeout", "audience"}})
		if b.get() != "nobody" || len(b.cookies) != 0 {
			t.Fatalf("the anonymous have a session: %v", b.cookies)
		}
		if b.login() != "alice" || len(b.cookies) != 1 {
			t.Fatalf("%+v %v", b.last, b.cookies)
		}
		set := b.last.Header.Get("Set-Cookie")
		if !strings.HasSuffix(set, "; Path=/; SameSite=Strict; Secure; HttpOnly") || !strings.HasPrefix(set, "session=") {
			t.Error(set)
		}
		if b.last.Header.Get("Session-Rolling-Timeout") != "3600" || b.last.Header.Get("Session-Audience") != "default" {
			t.Errorf("%v", b.last.Header.Fields())
		}
		b.pass(30 * time.Second)
		if b.do(gatewaytest.Request{Header: []string{"Session-Subject", "root", "session-id", "x"}}) != "alice" {
			t.Fatalf("the session does not count: %+v", b.last)
		}
		up := b.last.Upstream
		if up.Get("X-Credential-Identifier") == "" || up.Get("X-Anonymous-Consumer") != "" || up.Get("X-Consumer-Username") != "alice" ||
			up.Get("Session-Subject") != "alice" || up.Get("Session-Timeout") != "870" || len(up.Get("Session-Id")) < 20 || up.Count("Session-Id") != 1 {
			t.Errorf("%v", up.Fields())
		}
		if up.Get("Cookie") != "other=1" {
			t.Errorf("the upstream gets %q", up.Get("Cookie"))
		}
		if b.last.Header.Get("Set-Cookie") != "" {
			t.Error("a cookie is told again without need")
		}
		if storage == "kong" {
			e, _ := b.g.Entity("sessions")
			all, _ := b.g.List(e, gateway.ListQuery{Size: 10})
			if len(all) != 1 || all[0]["session_id"] != up.Get("Session-Id") || strings.Contains(all[0]["data"].(string), "consumer") || all[0]["ttl"] == nil {
				t.Errorf("%v", all)
			}
		}
		anonymous := &browser{t: t, g: b.g, clock: b.clock, cookies: map[string]string{}}
		if anonymous.do(gatewaytest.Request{Header: []string{"Session-Subject", "root"}}); anonymous.last.Upstream.Get("Session-Subject") != "" {
			t.Error("the upstream is told a subject by the client")
		}
	})
}

func TestTampering(t *testing.T) {
	both(t, func(t *testing.T, storage string) {
		b := setup(t, schema.Record{"storage": storage})
		b.login()
		good := b.cookies["session"]
		for i := 0; i < len(good); i += 7 {
			c := []byte(good)
			c[i] ^= 1
			b.cookies["session"] = string(c)
			if who := b.get(); who == "alice" {
				t.Fatalf("byte %d changed", i)
			}
		}
		for _, bad := range []string{"", "1", "9" + good[1:], "2" + good[1:], good + "AAAA", good[:len(good)-4], "1" + strings.Repeat("A", 5000), "1" + url.QueryEscape("\xff\xff")} {
			b.cookies["session"] = bad
			if who := b.get(); who == "alice" {
				t.Errorf("%q opens", bad)
			}
		}
		b.cookies = map[string]string{"session": good}
		if b.get() != "alice" {
			t.Fatal("the good one is lost")
		}
		// The same secret, but another audience or another cookie.
		e, _ := b.g.Entity("plugins")
		all, _ := b.g.List(e, gateway.ListQuery{Size: 10})
		for _, p := range all {
			if p["name"] != "session" {
				continue
			}
			for _, change := range []schema.Record{{"audience": "another"}, {"audience": "default", "cookie_name": "other_session"}, {"cookie_name": "session", "secret": "another"}} {
				if _, err := b.g.Patch(t.Context(), e, p["id"].(string), schema.Record{"config": change}); err != nil {
					t.Fatal(err)
				}
				b.cookies = map[string]string{"session": good, "other_session": good}
				if who := b.get(); who == "alice" {
					t.Errorf("%v: the cookie opens", change)
				}
			}
		}
	})
}

func TestLogout(t *testing.T) {
	both(t, func(t *testing.T, storage string) {
		for name, r := range map[string]gatewaytest.Request{
			"query":     {Method: "DELETE", Target: "/?session_logout=1"},
			"valueless": {Method: "POST", Target: "/x?session_logout"},
			"form":      {Method: "POST", Body: "session_logout=1", Header: []string{"Content-Type", "application/x-www-form-urlencoded"}},
		} {
			b := setup(t, schema.Record{"storage": storage, "remember": true, "read_body_for_logout": true})
			b.login()
			b.pass(800 * time.Second) // within idling, so that it was touched
			if b.get() != "alice" || len(b.cookies) != 2 {
				t.Fatalf("%s: %v", name, b.cookies)
			}
			for _, no := range []gatewaytest.Request{{Target: "/?session_logout=1"}, {Method: "POST", Target: "/?other=1"}} {
				if b.do(no) != "alice" {
					t.Errorf("%s: %v ends the session", name, no)
				}
			}
			before := b.copy()
			if b.do(r); b.last.Status != 200 || b.last.Body != "" || len(b.cookies) != 0 {
				t.Errorf("%s: %+v %v", name, b.last, b.cookies)
			}
			if b.get() != "nobody" {
				t.Errorf("%s: the session is still there", name)
			}
			if before.get() != "nobody" {
				t.Errorf("%s: the old cookie can be replayed", name)
			}
		}
	})
}

func TestTimeouts(t *testing.T) {
	both(t, func(t *testing.T, storage string) {
		t.Run("idling", func(t *testing.T) {
			b := setup(t, schema.Record{"storage": storage, "rolling_timeout": 0.0, "absolute_timeout": 0.0, "idling_timeout": 100.0})
			b.login()
			for range 5 {
				if b.pass(99 * time.Second); b.get() != "alice" {
					t.Fatal("a used session ends")
				}
			}
			old := b.copy()
			if b.pass(100 * time.Second); b.get() != "nobody" || old.get() != "nobody" {
				t.Error("an idle session does not end")
			}
		})
		t.Run("rolling", func(t *testing.T) {
			b := setup(t, schema.Record{"storage": storage, "rolling_timeout": 1000.0, "absolute_timeout": 0.0, "idling_timeout": 0.0, "stale_ttl": 10.0})
			b.login()
			if b.pass(700 * time.Second); b.get() != "alice" || b.last.Header.Get("Set-Cookie") != "" {
				t.Errorf("renewed too early: %v", b.last.Header.Fields())
			}
			b.pass(60 * time.Second)
			old := b.copy()
			if b.get() != "alice" || b.last.Header.Get("Set-Cookie") == "" {
				t.Errorf("not renewed: %v", b.last.Header.Fields())
			}
			if b.pass(9 * time.Second); old.copy().get() != "alice" {
				t.Error("the old cookie has no time to go")
			}
			if b.pass(300 * time.Second); old.get() != "nobody" {
				t.Error("the old cookie does not end")
			}
			if b.get() != "alice" {
				t.Error("the new one ends with the old")
			}
		})
		t.Run("absolute", func(t *testing.T) {
			b := setup(t, schema.Record{"storage": storage, "rolling_timeout": 100.0, "absolute_timeout": 500.0})
			b.login()
			for i := range 5 {
				if b.pass(99 * time.Second); b.get() != "alice" {
					t.Fatalf("ended after %d", i)
				}
			}
			if b.pass(5 * time.Second); b.get() != "nobody" {
				t.Error("the session has no end")
			}
		})
		t.Run("remembered", func(t *testing.T) {
			b := setup(t, schema.Record{"storage": storage, "remember": true, "remember_rolling_timeout": 10000.0, "remember_absolute_timeout": 15000.0})
			b.login()
			lasting := ""
			for _, f := range b.last.Header.Fields() {
				if strings.HasPrefix(f.Value, "remember=") {
					lasting = f.Value
				}
			}
			if !strings.Contains(lasting, "; Max-Age=10000;") {
				t.Error(lasting)
			}
			delete(b.cookies, "session")
			if b.pass(9000 * time.Second); b.get() != "alice" || b.cookies["session"] == "" {
				t.Fatalf("not remembered: %v", b.cookies)
			}
			delete(b.cookies, "session")
			if b.pass(6000 * time.Second); b.get() != "nobody" {
				t.Error("remembered for too long")
			}
		})
	})
}

// TestConsumerGone holds that a session does not outlive its consumer, and that one who
// logs in as another gets another session.
func TestConsumerGone(t *testing.T) {
	both(t, func(t *testing.T, storage string) {
		b := setup(t, schema.Record{"storage": storage})
		bob := gatewaytest.Consumer(t, b.g, "bob")
		gatewaytest.Create(t, b.g, "keyauth_credentials", schema.Record{"key": "bobs", "consumer": bob})
		b.login()
		first := b.cookies["session"]
		delete(b.cookies, "session")
		b.do(gatewaytest.Request{Header: []string{"apikey", "bobs"}})
		if b.cookies["session"] == first || b.get() != "bob" {
			t.Errorf("%+v", b.last)
		}
		e, _ := b.g.Entity("consumers")
		if _, err := b.g.Delete(t.Context(), e, "bob"); err != nil {
			t.Fatal(err)
		}
		if b.get() != "nobody" || len(b.cookies) != 0 {
			t.Errorf("%+v %v", b.last, b.cookies)
		}
	})
}

func TestCookieAttributes(t *testing.T) {
	b := setup(t, schema.Record{"cookie_same_site": "None", "cookie_domain": "example.org", "cookie_http_only": false, "cookie_path": "/x"})
	b.login()
	if set := b.last.Header.Get("Set-Cookie"); !strings.HasSuffix(set, "; Path=/x; Domain=example.org; SameSite=None; Secure") {
		t.Error(set)
	}
}

func TestConfig(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{session.New()})
	p := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "session", "config": schema.Record{"cookie_lifetime": 7.0, "cookie_samesite": "Lax"}})
	c := p["config"].(schema.Record)
	if s, _ := c["secret"].(string); len(s) < 32 || c["rolling_timeout"] != 7.0 || c["cookie_same_site"] != "Lax" || c["idling_timeout"] != 900.0 {
		t.Errorf("%v", c)
	}
	e, _ := g.Entity("plugins")
	for field, v := range map[string]any{"storage": "redis", "cookie_name": "a b", "logout_methods": []any{"PUT"}, "idling_timeout": -1.0} {
		if err := g.Validate(e, schema.Record{"name": "session", "config": schema.Record{field: v}}); err == nil {
			t.Errorf("%s: %v is accepted", field, v)
		}
	}
}

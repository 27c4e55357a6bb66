// Package openid_test puts the plugin openid-connect against a provider that others wrote.
package openid_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/openidconnect"
	"sluice.dev/sluice/internal/service/gateway/plugin/session"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// aheadClock is the machine's clock, put forward.
type aheadClock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *aheadClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *aheadClock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += d
}

type world struct {
	t        *testing.T
	provider *httptest.Server
	front    *httptest.Server
	clock    *aheadClock
	mu       sync.Mutex
	last     gatewaytest.Result
}

// setup starts a provider, and a gateway in front of which HTTP is spoken.
func setup(t *testing.T, config schema.Record) *world {
	t.Helper()
	w := &world{t: t, clock: &aheadClock{}}
	g := gatewaytest.New(t, []gateway.Plugin{openidconnect.New(), session.New()}, func(d *gateway.Deps) { d.Clock = w.clock })
	gatewaytest.Route(t, g)
	gatewaytest.Consumer(t, g, "id1")
	w.front = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var header []string
		for name, values := range r.Header {
			for _, v := range values {
				header = append(header, name, v)
			}
		}
		got := gatewaytest.Do(g, gatewaytest.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host, Header: header, Body: string(body), AnswerBody: "upstream"})
		w.mu.Lock()
		w.last = got
		w.mu.Unlock()
		for _, f := range got.Header.Fields() {
			rw.Header().Add(f.Name, f.Value)
		}
		rw.WriteHeader(max(got.Status, got.Answered))
		io.WriteString(rw, got.Body)
	}))
	t.Cleanup(w.front.Close)

	w.provider = httptest.NewUnstartedServer(nil)
	issuer := "http://" + w.provider.Listener.Addr().String()
	storage.RegisterClients(storage.WebClient("me", "hush", w.front.URL+"/cb"))
	w.provider.Config.Handler = exampleop.SetupServer(issuer, storage.NewStorage(storage.NewUserStore(issuer)), slog.New(slog.DiscardHandler), false)
	w.provider.Start()
	t.Cleanup(w.provider.Close)

	c := schema.Record{"issuer": issuer, "client_id": []any{"me"}, "client_secret": []any{"hush"}, "redirect_uri": []any{w.front.URL + "/cb"},
		"scopes": []any{"openid", "offline_access"}, "logout_uri_suffix": "/logout", "consumer_claim": []any{"sub"}, "consumer_optional": true}
	for k, v := range config {
		c[k] = v
	}
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "openid-connect", "config": c})
	return w
}

func (w *world) browser(follow bool) *http.Client {
	jar, _ := cookiejar.New(nil)
	b := &http.Client{Jar: jar, Timeout: 10 * time.Second}
	if !follow {
		b.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return b
}

func (w *world) do(b *http.Client, r *http.Request) (*http.Response, string) {
	w.t.Helper()
	a, err := b.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer a.Body.Close()
	body, err := io.ReadAll(a.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return a, string(body)
}

func (w *world) get(b *http.Client, target string, header ...string) (*http.Response, string) {
	w.t.Helper()
	r, err := http.NewRequest("GET", target, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.do(b, r)
}

var hidden = regexp.MustCompile(`name="id" value="([^"]+)"`)

// login wants a page and goes through the provider's login.
func (w *world) login(b *http.Client, path string) (*http.Response, string) {
	w.t.Helper()
	a, page := w.get(b, w.front.URL+path)
	m := hidden.FindStringSubmatch(page)
	if m == nil || a.Request.URL.Path != "/login/username" {
		w.t.Fatalf("no login page at %s: %d %s", a.Request.URL, a.StatusCode, page)
	}
	form := url.Values{"id": {m[1]}, "username": {"test-user@127.0.0.1"}, "password": {"verysecure"}}
	r, _ := http.NewRequest("POST", w.provider.URL+"/login/username", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return w.do(b, r)
}

func (w *world) upstream() *gateway.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Upstream
}

func TestLogin(t *testing.T) {
	w := setup(t, nil)
	b := w.browser(true)
	a, body := w.login(b, "/private?x=1")
	if a.StatusCode != 200 || body != "upstream" || a.Request.URL.String() != w.front.URL+"/private?x=1" {
		t.Fatalf("%s: %d %s", a.Request.URL, a.StatusCode, body)
	}
	up := w.upstream()
	token := up.Get("Authorization")
	if up.Get("X-Consumer-Username") != "id1" || !strings.HasPrefix(token, "Bearer ") || up.Get("Cookie") != "" {
		t.Errorf("%v", up.Fields())
	}
	if a, body := w.get(b, w.front.URL+"/again"); a.StatusCode != 200 || body != "upstream" || a.Request.URL.Path != "/again" {
		t.Errorf("the session does not count: %d %s", a.StatusCode, body)
	}

	t.Run("refresh", func(t *testing.T) {
		w.clock.pass(6 * time.Minute) // the access token is good for five
		if a, body := w.get(b, w.front.URL+"/later"); a.StatusCode != 200 || body != "upstream" {
			t.Fatalf("%d %s", a.StatusCode, body)
		}
		fresh := w.upstream().Get("Authorization")
		if fresh == token || fresh == "" {
			t.Error("the token is not refreshed")
		}
		if w.get(b, w.front.URL+"/later"); w.upstream().Get("Authorization") != fresh {
			t.Error("it is refreshed each time")
		}
	})
	t.Run("logout", func(t *testing.T) {
		front, _ := url.Parse(w.front.URL)
		before := b.Jar.Cookies(front)
		r, _ := http.NewRequest("POST", w.front.URL+"/logout", nil)
		if a, body := w.do(b, r); a.StatusCode != 200 || !strings.Contains(body, "signed out") || a.Request.URL.Host == front.Host {
			t.Errorf("%s: %d %s", a.Request.URL, a.StatusCode, body)
		}
		if left := b.Jar.Cookies(front); len(left) != 0 {
			t.Errorf("%v are left", left)
		}
		thief := w.browser(false)
		thief.Jar.SetCookies(front, before)
		if a, _ := w.get(thief, w.front.URL+"/private"); a.StatusCode != 302 {
			t.Errorf("a copy of the session is good: %d", a.StatusCode)
		}
	})
}

func TestOpenRedirect(t *testing.T) {
	for _, path := range []string{"//evil.example/x", "/%5cevil.example", "/@evil.example", "/.evil.example:80/"} {
		w := setup(t, nil)
		a, body := w.login(w.browser(true), path)
		if front, _ := url.Parse(w.front.URL); a.StatusCode != 200 || body != "upstream" || a.Request.URL.Host != front.Host {
			t.Errorf("%s leads to %s: %d", path, a.Request.URL, a.StatusCode)
		}
	}
}

// TestForgedReturn holds that a browser that comes back is let in only with what it was
// sent with.
func TestForgedReturn(t *testing.T) {
	w := setup(t, nil)
	b := w.browser(true)
	var back string // where the provider sends the browser
	b.CheckRedirect = func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == "/cb" {
			back = r.URL.String()
			return http.ErrUseLastResponse
		}
		return nil
	}
	w.login(b, "/private")
	u, _ := url.Parse(back)
	if u.Query().Get("code") == "" || u.Query().Get("state") == "" {
		t.Fatal(back)
	}
	if a, _ := w.get(w.browser(false), back); a.StatusCode != 401 {
		t.Errorf("another browser: %d", a.StatusCode)
	}
	q := u.Query()
	q.Set("state", "x"+q.Get("state"))
	if a, _ := w.get(b, w.front.URL+"/cb?"+q.Encode()); a.StatusCode != 401 {
		t.Errorf("another state: %d", a.StatusCode)
	}
	if a, _ := w.get(b, back); a.StatusCode != 401 {
		t.Errorf("a second try: %d", a.StatusCode)
	}
	r, _ := http.NewRequest("POST", w.front.URL+"/private", nil)
	if a, _ := w.do(w.browser(false), r); a.StatusCode != 401 {
		t.Errorf("a POST is sent away: %d", a.StatusCode)
	}
}

func TestTokens(t *testing.T) {
	w := setup(t, nil)
	b := w.browser(true)
	w.login(b, "/private")
	token := w.upstream().Get("Authorization")
	plain := w.browser(false)
	if a, _ := w.get(plain, w.front.URL+"/", "Authorization", token); a.StatusCode != 200 || w.upstream().Get("X-Consumer-Username") != "id1" {
		t.Errorf("introspection: %d", a.StatusCode)
	}
	if a, _ := w.get(plain, w.front.URL+"/", "Authorization", token+"x"); a.StatusCode != 401 ||
		!strings.HasSuffix(a.Header.Get("WWW-Authenticate"), `error="invalid_token"`) {
		t.Errorf("a changed token: %d %v", a.StatusCode, a.Header)
	}
	robot := setup(t, schema.Record{"auth_methods": []any{"client_credentials"}, "scopes": []any{"openid"}})
	for credentials, status := range map[string]int{"sid1:verysecret": 200, "sid1:wrong": 401} {
		r, _ := http.NewRequest("GET", robot.front.URL+"/", nil)
		id, secret, _ := strings.Cut(credentials, ":")
		r.SetBasicAuth(id, secret)
		if a, body := robot.do(robot.browser(false), r); a.StatusCode != status {
			t.Errorf("%s: %d %s", credentials, a.StatusCode, body)
		}
	}
}

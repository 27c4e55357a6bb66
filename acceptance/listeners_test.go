package acceptance_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
)

// Every listener of an API bounds its connections, and every one that speaks HTTP refuses what a browser sends
// on behalf of a web page.
func TestListenersAreBoundedAndNoBrowsersTool(t *testing.T) {
	const bound = 20
	n := plat.Start(t, plat.Options{Env: []string{"SLUICE_HTTP_MAX_CONNECTIONS=20", "SLUICE_HTTP_ALLOWED_ORIGINS=https://console.example.com"}})
	for _, l := range []struct{ name, url, path string }{
		{"Kong Admin API", n.Endpoints.KongAdmin, "/services"}, {"AWS", n.Endpoints.AWS, "/bucket/key"}, {"SQL", n.Endpoints.SQL, ""},
		{"console", n.Endpoints.Console, "/api/v1/cluster"}, {"status", n.Endpoints.Status, "/metrics"},
	} {
		t.Run(l.name, func(t *testing.T) {
			u, err := url.Parse(l.url)
			if err != nil {
				t.Fatal(err)
			}
			if l.path != "" {
				browsers(t, l.url+l.path)
				http.DefaultClient.CloseIdleConnections()
			}
			// Clients that say nothing hold their places; those beyond the bound are closed at once.
			closed := 0
			for range bound + 5 {
				c, err := net.Dial("tcp", u.Host)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = c.Close() }() // the test is over
				if err := c.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
					t.Fatal(err)
				}
				if _, err := c.Read(make([]byte, 1)); err == io.EOF || err != nil && strings.Contains(err.Error(), "reset") {
					closed++
				}
			}
			if closed != 5 {
				t.Errorf("%d of %d connections were closed, want 5", closed, bound+5)
			}
		})
	}
}

// browsers sends what a browser does for a page of another site, and for one whose name was pointed at the node.
func browsers(t *testing.T, target string) {
	t.Helper()
	for _, tc := range []struct {
		name, method, host, origin string
		want                       int // 0: anything but what follows
	}{
		{"DNS rebinding, read", "GET", "evil.example", "", http.StatusMisdirectedRequest},
		{"DNS rebinding, write", "POST", "evil.example", "http://evil.example", http.StatusMisdirectedRequest},
		{"a simple form of another page", "POST", "", "http://evil.example", http.StatusForbidden},
		{"reading by another page", "GET", "", "http://evil.example", 0},
	} {
		r, err := http.NewRequest(tc.method, target, strings.NewReader(strings.Repeat("x", map[string]int{"POST": 1}[tc.method])))
		if err != nil {
			t.Fatal(err)
		}
		if tc.host != "" {
			r.Host = tc.host
		}
		if tc.origin != "" {
			r.Header.Set("Origin", tc.origin)
		}
		r.Header.Set("Content-Type", "text/plain")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body) // it is shown only
		_ = res.Body.Close()            // read already
		if tc.want != 0 && res.StatusCode != tc.want || res.StatusCode == http.StatusOK && tc.method == "POST" || res.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: status %d, CORS %q, want %d: %s", tc.name, res.StatusCode, res.Header.Get("Access-Control-Allow-Origin"), tc.want, body)
		}
	}
}

package webserver_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"sluice.dev/sluice/internal/api/webserver"
)

func TestHosts(t *testing.T) {
	b := webserver.Browser{Hosts: []string{"api.example.com", "*.nodes.example.com"}}
	for host, want := range map[string]bool{
		"127.0.0.1:8001": true, "[::1]:8001": true, "10.0.0.7": true, "localhost:8001": true, "LOCALHOST": true, "lake.localhost:4566": true,
		"node-1": true, "sluice.default.svc.cluster.local": true, "api.example.com:443": true, "API.example.com.": true, "a.nodes.example.com": true,
		"evil.example": false, "evil.example:8001": false, "example.com": false, "xapi.example.com": false, "nodes.example.com": false,
		"127.0.0.1.evil.example": false, "localhost.evil.example": false,
	} {
		if got := b.KnowsHost(host); got != want {
			t.Errorf("%s: %v, want %v", host, got, want)
		}
	}
}

func TestPagesMayChangeNothing(t *testing.T) {
	b := webserver.Browser{Origins: []string{"https://console.example.com/"}}
	served := false
	h := b.Protect(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served = true }),
		func(w http.ResponseWriter, status int, why string) { http.Error(w, why, status) })
	for _, tc := range []struct {
		name, method, host, origin, site string
		status                           int
		cors                             string
	}{
		{"a program reads", "GET", "127.0.0.1:8001", "", "", 200, ""},
		{"a program writes", "POST", "127.0.0.1:8001", "", "", 200, ""},
		{"a page reads", "GET", "127.0.0.1:8001", "http://evil.example", "cross-site", 200, ""},
		{"a page writes", "POST", "127.0.0.1:8001", "http://evil.example", "", 403, ""},
		{"a page of another port writes", "DELETE", "localhost:8001", "http://localhost:3000", "same-site", 403, ""},
		{"a page without an origin writes", "POST", "localhost:8001", "null", "", 403, ""},
		{"an old browser writes", "PUT", "localhost:8001", "", "cross-site", 403, ""},
		{"the API's own page writes", "POST", "localhost:8001", "http://localhost:8001", "same-origin", 200, ""},
		{"a known page reads", "GET", "localhost:8001", "https://console.example.com", "cross-site", 200, "https://console.example.com"},
		{"a known page writes", "PATCH", "localhost:8001", "https://console.example.com", "cross-site", 200, "https://console.example.com"},
		{"a name that was pointed here reads", "GET", "evil.example:8001", "", "", 421, ""},
		{"a name that was pointed here writes", "POST", "evil.example:8001", "http://evil.example:8001", "same-origin", 421, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := httptest.NewRequest(tc.method, "/services", nil)
			r.Host = tc.host
			for k, v := range map[string]string{"Origin": tc.origin, "Sec-Fetch-Site": tc.site} {
				if v != "" {
					r.Header.Set(k, v)
				}
			}
			w := httptest.NewRecorder()
			served = false
			h.ServeHTTP(w, r)
			if w.Code != tc.status || served != (tc.status == 200) || w.Header().Get("Access-Control-Allow-Origin") != tc.cors {
				t.Errorf("status %d, served %v, CORS %q; want %d and %q", w.Code, served, w.Header().Get("Access-Control-Allow-Origin"), tc.status, tc.cors)
			}
		})
	}
}

func TestPreflight(t *testing.T) {
	b := webserver.Browser{Origins: []string{"https://console.example.com"}}
	h := b.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }), nil)
	for origin, want := range map[string]int{"https://console.example.com": http.StatusNoContent, "https://evil.example": http.StatusTeapot} {
		r := httptest.NewRequest("OPTIONS", "/services", nil)
		r.Host = "localhost"
		r.Header.Set("Origin", origin)
		r.Header.Set("Access-Control-Request-Method", "POST")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want || (w.Header().Get("Access-Control-Allow-Origin") == origin) != (want == http.StatusNoContent) {
			t.Errorf("%s: %d %v", origin, w.Code, w.Header())
		}
	}
}

package webserver

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Browser protects an API from the web pages that its users visit: it is open to programs on the machine, and
// a browser is one that runs whatever a page says.
type Browser struct {
	// Hosts are names of the node beside addresses, localhost and names that public DNS cannot have. One that
	// begins with *. stands for every name below.
	Hosts []string
	// Origins are the web pages' origins that may use the API: https://console.example.com.
	Origins []string
}

// reserved are the last labels of names that public DNS does not give out (RFC 6761, RFC 6762, RFC 8375,
// ICANN's resolution on .internal), so that no page on the internet can have one.
var reserved = []string{".localhost", ".local", ".internal", ".test", ".home.arpa"}

// KnowsHost reports whether a Host header names this node.
func (b Browser) KnowsHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "" || !strings.Contains(host, ".") {
		return true // a name without a dot is one of the machine's own network
	}
	for _, suffix := range reserved {
		if strings.HasSuffix(host, suffix) {
			return true
		}
	}
	return slices.ContainsFunc(b.Hosts, func(name string) bool {
		name = strings.ToLower(name)
		if suffix, ok := strings.CutPrefix(name, "*"); ok {
			return strings.HasSuffix(host, suffix)
		}
		return host == name
	})
}

// KnowsOrigin reports whether pages of the origin may use the API.
func (b Browser) KnowsOrigin(origin string) bool {
	return slices.ContainsFunc(b.Origins, func(o string) bool { return strings.EqualFold(strings.TrimSuffix(o, "/"), origin) })
}

// Texts of what is refused.
const (
	unknownHost   = "the Host header names no host of this node: use its address, or add the name to http.allowed_hosts"
	unknownOrigin = "web pages of this origin may not change anything here: add the origin to http.allowed_origins"
)

// Refusal returns why a request is refused and with which status; the status is 0 where it is not.
func (b Browser) Refusal(r *http.Request) (status int, why string) {
	if !b.KnowsHost(r.Host) {
		return http.StatusMisdirectedRequest, unknownHost
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return 0, ""
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		// Old browsers send no Origin, and new ones say where a request comes from. Other programs send neither.
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
			return http.StatusForbidden, unknownOrigin
		}
		return 0, ""
	}
	if _, host, ok := strings.Cut(origin, "://"); ok && strings.EqualFold(host, r.Host) || b.KnowsOrigin(origin) {
		return 0, ""
	}
	return http.StatusForbidden, unknownOrigin
}

// Protect returns next behind b. refuse answers in the API's own shape.
func (b Browser) Protect(next http.Handler, refuse func(w http.ResponseWriter, status int, why string)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Add("Vary", "Origin")
		origin := r.Header.Get("Origin")
		if origin != "" && b.KnowsOrigin(origin) {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
		}
		if status, why := b.Refusal(r); status != 0 {
			refuse(w, status, why)
			return
		}
		if asked := r.Header.Get("Access-Control-Request-Method"); r.Method == http.MethodOptions && asked != "" && b.KnowsOrigin(origin) {
			h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Kong-Admin-Token")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

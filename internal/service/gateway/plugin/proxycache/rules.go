package proxycache

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// directives are those of Cache-Control, by lower-case name (RFC 9111 section 5.2).
type directives map[string]string

func parseDirectives(h *gateway.Header) directives {
	var d directives
	for _, f := range h.Fields() {
		if !gateway.EqualFold(f.Name, "Cache-Control") {
			continue
		}
		for part := range strings.SplitSeq(f.Value, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if d == nil {
				d = directives{}
			}
			d[strings.ToLower(strings.Clone(name))] = strings.Trim(value, `"`)
		}
	}
	return d
}

func (d directives) any(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := d[name]; return ok })
}

// seconds reads a directive that holds a number; ok is false where it is not there. A value
// that is no number is 0, the least that can be meant.
func (d directives) seconds(name string) (_ time.Duration, ok bool) {
	v, ok := d[name]
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		n = 0
	}
	return time.Duration(min(n, 1<<31)) * time.Second, ok
}

// lifetime is how long an answer is fresh by what it says itself.
func lifetime(d directives, h *gateway.Header, now time.Time) time.Duration {
	for _, name := range []string{"s-maxage", "max-age"} {
		if ttl, ok := d.seconds(name); ok {
			return ttl
		}
	}
	if at, err := http.ParseTime(h.Get("Expires")); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// mediaType is a Content-Type as configured: type and subtype may be "*".
type mediaType struct {
	kind, sub string
	params    map[string]string
}

func parseMediaType(s string) (m mediaType, ok bool) {
	full, params, err := mime.ParseMediaType(s)
	if err != nil {
		return m, false
	}
	m.kind, m.sub, ok = strings.Cut(full, "/")
	m.params = params
	return m, ok
}

// takes reports whether the configured type m takes one of an answer.
func (m mediaType) takes(got mediaType) bool {
	return (m.kind == "*" || m.kind == got.kind) && (m.sub == "*" || m.sub == got.sub) && maps.Equal(m.params, got.params)
}

// key is what tells the request from others.
func (in *instance) key(x *gateway.Exchange) string {
	r := &x.Request
	path := r.RawPath
	if in.ignoreCase {
		path = strings.ToLower(path)
	}
	args, _ := url.ParseQuery(r.RawQuery) // what cannot be parsed is left out of args, and goes in as it is below
	names := in.varyArgs
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(args))
	}
	h := sha256.New()
	// Every part goes in behind its length, so that no two requests can run into one key.
	add := func(parts ...string) {
		for _, p := range parts {
			h.Write(strconv.AppendInt(nil, int64(len(p)), 10))
			h.Write([]byte{':'})
			h.Write([]byte(p))
		}
	}
	consumer, route := "", "default"
	if c := x.Consumer(); c != nil {
		consumer = c.ID
	}
	if m := x.Route(); m != nil {
		route = m.ID
	}
	add(consumer, route, r.Method, r.Scheme, r.Host, path)
	for _, name := range names {
		if values, ok := args[name]; ok {
			add(name, strconv.Itoa(len(values)))
			add(slices.Sorted(slices.Values(values))...)
		}
	}
	if len(in.varyArgs) == 0 && strings.ContainsAny(r.RawQuery, ";%") {
		add(r.RawQuery)
	}
	add("headers")
	for _, name := range in.varyHeaders {
		values := headerValues(&r.Header, name)
		add(name, strconv.Itoa(len(values)))
		add(values...)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func headerValues(h *gateway.Header, name string) (out []string) {
	for _, f := range h.Fields() {
		if gateway.EqualFold(f.Name, name) {
			out = append(out, f.Value)
		}
	}
	return out
}

// varies collects the request's values of the headers that an answer's Vary names. ok is
// false where it says that every request is another.
func varies(x *gateway.Exchange) (out []gateway.Field, ok bool) {
	for _, list := range headerValues(&x.Response.Header, "Vary") {
		for name := range strings.SplitSeq(list, ",") {
			switch name = strings.TrimSpace(name); name {
			case "":
			case "*":
				return nil, false
			default:
				out = append(out, gateway.Field{Name: strings.Clone(name), Value: joined(&x.Request.Header, name)})
			}
		}
	}
	return out, true
}

func joined(h *gateway.Header, name string) string {
	return strings.Join(headerValues(h, name), "\x00")
}

// fits reports whether a request is one that the answer was given to.
func (a *answer) fits(h *gateway.Header) bool {
	for _, f := range a.vary {
		if joined(h, f.Name) != f.Value {
			return false
		}
	}
	return true
}

// keeps reports whether a header of an answer is kept. How many requests a client has left
// is counted anew for each.
func keeps(name string) bool {
	name = strings.ToLower(name)
	switch name {
	case "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer", "trailers",
		"transfer-encoding", "upgrade", "content-length", "age", "x-cache-status", "x-cache-key":
		return false
	}
	return !strings.Contains(name, "ratelimit-remaining")
}

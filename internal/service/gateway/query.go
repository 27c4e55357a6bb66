package gateway

import (
	"net/url"
	"strings"
)

// QueryValue returns the first value of a parameter in a query or a form, and how often
// the parameter occurs.
func QueryValue(query, name string) (value string, n int) {
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		if unescape(k) == name {
			if n++; n == 1 {
				value = unescape(v)
			}
		}
	}
	return value, n
}

// QueryValues returns every value of a parameter.
func QueryValues(query, name string) []string {
	var out []string
	for part := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(part, "=")
		if unescape(k) == name {
			out = append(out, unescape(v))
		}
	}
	return out
}

// WithoutArg returns the query without a parameter, the others as they were.
func WithoutArg(query, name string) (rest string, removed bool) {
	kept := make([]string, 0, strings.Count(query, "&")+1)
	for part := range strings.SplitSeq(query, "&") {
		k, _, _ := strings.Cut(part, "=")
		if unescape(k) == name {
			removed = true
			continue
		}
		kept = append(kept, part)
	}
	return strings.Join(kept, "&"), removed
}

func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	u, err := url.QueryUnescape(s)
	if err != nil {
		return s
	}
	return u
}

// Cookie returns the value of a cookie among a request's headers.
func Cookie(h *Header, name string) (value string, ok bool) {
	for _, f := range h.Fields() {
		if !EqualFold(f.Name, "Cookie") {
			continue
		}
		for part := range strings.SplitSeq(f.Value, ";") {
			k, v, found := strings.Cut(strings.TrimSpace(part), "=")
			if found && k == name {
				return strings.Trim(v, `"`), true
			}
		}
	}
	return "", false
}

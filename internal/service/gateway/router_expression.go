package gateway

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/expression"
)

// maxIndexed bounds in how many places one expression is put; one that names more hosts and
// paths than that is found by its hosts alone, or tried for every request.
const maxIndexed = 256

// addExpression puts a split where every request that its expression may hold for comes by.
func (r *router) addExpression(s *split) {
	hosts, paths := s.route.expression.Literals(expression.Host), s.route.expression.Literals(expression.Path)
	if slices.ContainsFunc(paths, func(l expression.Literal) bool { return l.Ends || l.Text == "" }) || len(paths) > maxIndexed {
		paths = nil
	}
	buckets := make([]*bucket, 0, len(hosts))
	for _, h := range hosts {
		rule := hostRule{text: h.Text}
		switch {
		case h.Ends && strings.HasPrefix(h.Text, "."):
			rule.kind = hostSuffix
		case h.Begins && strings.HasSuffix(h.Text, "."):
			rule.kind = hostPrefix
		case h.Ends || h.Begins: // not at a dot: it is not looked for
			hosts = nil
		}
		if len(hosts) == 0 || len(hosts) > maxIndexed {
			buckets = nil
			break
		}
		if b := r.bucketOf(rule); !slices.Contains(buckets, b) {
			buckets = append(buckets, b)
		}
	}
	if len(buckets) == 0 {
		buckets = append(buckets, r.any)
	}
	if len(buckets)*len(paths) > maxIndexed {
		paths = nil
	}
	for _, b := range buckets {
		if len(paths) == 0 {
			b.pathless = append(b.pathless, candidate{s, 0, nil})
		}
		for _, p := range paths {
			b.tree.insert(p.Text, candidate{s, 0, nil})
		}
	}
}

// Query is the subject of expressions.
var _ expression.Subject = (*Query)(nil)

// Text implements expression.Subject.
func (q *Query) Text(f expression.Field) (string, bool) {
	switch f {
	case expression.Protocol:
		switch {
		case q.Protocol != "":
			return q.Protocol, true
		case q.TLS:
			return "https", true
		}
		return "http", true
	case expression.SNI:
		return q.SNI, q.SNI != ""
	case expression.Method:
		return q.Method, true
	case expression.Host:
		return q.Host, q.Host != ""
	}
	return q.Path, true
}

// Next implements expression.Subject.
func (q *Query) Next(f expression.Field, name string, at int) (value string, next int, ok bool) {
	if f == expression.Query {
		return q.nextArg(name, at)
	}
	if q.Headers == nil {
		return "", 0, false
	}
	fields := q.Headers.Fields()
	for i := at; i < len(fields); i++ {
		if equalUnderscored(fields[i].Name, name) {
			return fields[i].Value, i + 1, true
		}
	}
	return "", 0, false
}

// equalUnderscored compares a header's name with one in lower case that has underscores for
// dashes.
func equalUnderscored(header, name string) bool {
	if len(header) != len(name) {
		return false
	}
	for i := range len(header) {
		c := header[i]
		switch {
		case c == '-':
			c = '_'
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}

// nextArg finds the next argument of a name; at counts the bytes of the query string that
// have been read.
func (q *Query) nextArg(name string, at int) (value string, next int, ok bool) {
	for at < len(q.RawQuery) {
		pair, _, more := strings.Cut(q.RawQuery[at:], "&")
		if at += len(pair); more {
			at++
		}
		k, v, _ := strings.Cut(pair, "=")
		if pair != "" && unescapeArg(k) == name {
			return unescapeArg(v), at, true
		}
	}
	return "", 0, false
}

// unescapeArg decodes what can be decoded of an argument.
func unescapeArg(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

// Source implements expression.Subject.
func (q *Query) Source() netip.AddrPort { return q.Src }

// Destination implements expression.Subject.
func (q *Query) Destination() netip.AddrPort { return q.Dst }

package record

import (
	"crypto/tls"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/modeluse"
)

// Append appends the record of an exchange, without a newline.
func Append(dst []byte, x *gateway.Exchange) []byte {
	if x.IsStream() {
		return appendStream(dst, x)
	}
	dst = append(dst, `{"request":`...)
	dst = appendRequest(dst, x)
	dst = append(dst, `,"upstream_uri":"`...)
	if x.Upstream.Service != nil {
		dst = gateway.AppendTarget(dst, x.Upstream.Path, "", x.Request.HasQuery) // escaped: ASCII, no quotes
		dst = appendEscaped(dst, x.Request.RawQuery)
	}
	dst = append(dst, `","upstream_status":"`...)
	dst = x.AppendUpstreamStatus(dst)
	dst = append(dst, `","response":{"status":`...)
	dst = strconv.AppendInt(dst, int64(x.Response.Status), 10)
	dst = append(dst, `,"headers":`...)
	dst = appendHeaders(dst, &x.Response.Header, gateway.Field{})
	dst = append(dst, `,"size":`...)
	dst = strconv.AppendInt(dst, x.ResponseSize(), 10)
	l := x.Latencies()
	dst = append(dst, `},"latencies":{"kong":`...)
	dst = strconv.AppendInt(dst, l.Kong, 10)
	dst = append(dst, `,"proxy":`...)
	dst = strconv.AppendInt(dst, l.Proxy, 10)
	dst = append(dst, `,"request":`...)
	dst = strconv.AppendInt(dst, l.Request, 10)
	dst = append(dst, `,"receive":`...)
	dst = strconv.AppendInt(dst, l.Receive, 10)
	dst = append(dst, '}')
	dst = appendContext(dst, x)
	dst = append(dst, `,"source":"`...)
	if x.FromUpstream() {
		dst = append(dst, "upstream"...)
	} else {
		dst = append(dst, "kong"...)
	}
	dst = append(dst, `","workspace":"`+gateway.WorkspaceID+`","workspace_name":"`+gateway.Workspace+`"`...)
	return append(modeluse.AppendLog(dst, x), '}')
}

// appendStream appends the record of a connection, or of a UDP session.
func appendStream(dst []byte, x *gateway.Exchange) []byte {
	t := &x.Times
	number := func(name string, n int64) {
		dst = append(dst, name...)
		dst = strconv.AppendInt(dst, n, 10)
	}
	number(`{"session":{"received":`, t.BytesIn)
	number(`,"sent":`, t.BytesOut)
	number(`,"status":`, int64(x.Response.Status))
	number(`,"server_port":`, int64(x.Conn.ServerPort))
	if x.Conn.TLS != nil {
		dst = appendTLS(dst, x.Conn.TLS)
	}
	number(`},"upstream":{"received":`, t.BytesOut)
	number(`,"sent":`, t.BytesIn)
	l := x.Latencies()
	number(`},"latencies":{"kong":`, l.Kong)
	number(`,"session":`, l.Request)
	dst = append(dst, '}')
	return append(appendContext(dst, x), '}')
}

// appendContext appends what records of all kinds have.
func appendContext(dst []byte, x *gateway.Exchange) []byte {
	dst = append(dst, `,"tries":[`...)
	for i := range x.Tries() {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendTry(dst, &x.Tries()[i])
	}
	dst = append(dst, ']')
	dst = appendIdentity(dst, x)
	if r := x.Route(); r != nil {
		dst = append(dst, `,"route":`...)
		dst = append(dst, r.JSON()...)
		if r.Service != nil {
			dst = append(dst, `,"service":`...)
			dst = append(dst, r.Service.JSON()...)
		}
	}
	dst = append(dst, `,"client_ip":`...)
	if x.Conn != nil {
		dst = appendString(dst, x.ClientIP())
	} else {
		dst = append(dst, `""`...)
	}
	dst = append(dst, `,"started_at":`...)
	return strconv.AppendInt(dst, x.Times.Start.UnixMilli(), 10)
}

func appendRequest(dst []byte, x *gateway.Exchange) []byte {
	r := &x.Request
	dst = append(dst, `{"id":"`...)
	dst = append(dst, x.ID()...)
	dst = append(dst, `","uri":"`...)
	dst = appendURI(dst, r)
	dst = append(dst, `","url":"`...)
	dst = appendEscaped(dst, r.Scheme)
	dst = append(dst, "://"...)
	dst = appendEscaped(dst, r.Host)
	dst = append(dst, ':')
	dst = strconv.AppendInt(dst, int64(r.Port), 10)
	dst = appendURI(dst, r)
	dst = append(dst, `","querystring":`...)
	dst = appendQuery(dst, r.RawQuery)
	dst = append(dst, `,"method":`...)
	dst = appendString(dst, r.Method)
	dst = append(dst, `,"headers":`...)
	dst = appendHeaders(dst, &r.Header, gateway.Field{Name: "host", Value: r.Authority})
	dst = append(dst, `,"size":`...)
	dst = strconv.AppendInt(dst, x.RequestSize(), 10)
	if x.Conn != nil && x.Conn.TLS != nil {
		dst = appendTLS(dst, x.Conn.TLS)
	}
	return append(dst, '}')
}

func appendURI(dst []byte, r *gateway.Request) []byte {
	dst = appendEscaped(dst, r.RawPath)
	if r.HasQuery {
		dst = append(dst, '?')
		dst = appendEscaped(dst, r.RawQuery)
	}
	return dst
}

// cipherNames spares crypto/tls the search, which allocates.
var cipherNames = func() map[uint16]string {
	names := map[uint16]string{}
	for _, c := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		names[c.ID] = c.Name
	}
	return names
}()

func appendTLS(dst []byte, s *tls.ConnectionState) []byte {
	dst = append(dst, `,"tls":{"version":"`...)
	switch s.Version {
	case tls.VersionTLS12:
		dst = append(dst, "TLSv1.2"...)
	case tls.VersionTLS13:
		dst = append(dst, "TLSv1.3"...)
	default:
		dst = append(dst, tls.VersionName(s.Version)...)
	}
	dst = append(dst, `","cipher":"`...)
	if name, known := cipherNames[s.CipherSuite]; known {
		dst = append(dst, name...)
	}
	dst = append(dst, `","client_verify":"`...)
	switch {
	case len(s.PeerCertificates) == 0:
		dst = append(dst, "NONE"...)
	case len(s.VerifiedChains) == 0:
		dst = append(dst, "FAILED:unverified"...)
	default:
		dst = append(dst, "SUCCESS"...)
	}
	return append(dst, `"}`...)
}

func appendTry(dst []byte, t *gateway.Try) []byte {
	dst = append(dst, `{"balancer_start":`...)
	dst = strconv.AppendInt(dst, t.Start.UnixMilli(), 10)
	dst = append(dst, `,"balancer_latency":`...)
	dst = strconv.AppendInt(dst, t.Latency.Milliseconds(), 10)
	if t.Address.IsValid() {
		dst = append(dst, `,"ip":"`...)
		dst = t.Address.Addr().AppendTo(dst)
		dst = append(dst, `","port":`...)
		dst = strconv.AppendUint(dst, uint64(t.Address.Port()), 10)
	}
	if t.Failed {
		dst = append(dst, `,"state":`...)
		dst = appendString(dst, t.State)
		dst = append(dst, `,"code":`...)
		dst = strconv.AppendInt(dst, int64(t.Code), 10)
	}
	return append(dst, '}')
}

func appendIdentity(dst []byte, x *gateway.Exchange) []byte {
	if c := x.Credential(); c != nil {
		dst = append(dst, `,"authenticated_entity":{"id":`...)
		dst = appendString(dst, c.ID)
		if c.ConsumerID != "" {
			dst = append(dst, `,"consumer_id":`...)
			dst = appendString(dst, c.ConsumerID)
		}
		dst = append(dst, '}')
	}
	c := x.Consumer()
	if c == nil {
		return dst
	}
	dst = append(dst, `,"consumer":{"id":`...)
	dst = appendString(dst, c.ID)
	if c.Username != "" {
		dst = append(dst, `,"username":`...)
		dst = appendString(dst, c.Username)
	}
	if c.CustomID != "" {
		dst = append(dst, `,"custom_id":`...)
		dst = appendString(dst, c.CustomID)
	}
	if len(c.Tags) > 0 {
		dst = append(dst, `,"tags":[`...)
		for i, tag := range c.Tags {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, tag)
		}
		dst = append(dst, ']')
	}
	dst = append(dst, `,"created_at":`...)
	dst = strconv.AppendInt(dst, c.CreatedAt, 10)
	dst = append(dst, `,"updated_at":`...)
	dst = strconv.AppendInt(dst, c.UpdatedAt, 10)
	return append(dst, `,"ws_id":"`+gateway.WorkspaceID+`"}`...)
}

// appendHeaders appends an object of the header lines, names in lower case, a list where a
// name comes more than once. first is a line that comes before those of h.
func appendHeaders(dst []byte, h *gateway.Header, first gateway.Field) []byte {
	dst = append(dst, '{')
	begin := len(dst)
	if first.Value != "" {
		dst = append(dst, '"')
		dst = append(dst, first.Name...)
		dst = append(dst, `":`...)
		dst = appendString(dst, first.Value)
	}
	fields := h.Fields()
	for i := range fields {
		name := fields[i].Name
		if first.Value != "" && gateway.EqualFold(name, first.Name) || nextNamed(fields[:i], name) >= 0 {
			continue // written already
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = append(dst, '"')
		dst = appendLower(dst, name)
		dst = append(dst, `":`...)
		if redacted(name) {
			dst = append(dst, `"REDACTED"`...)
			continue
		}
		next := nextNamed(fields[i+1:], name)
		if next < 0 {
			dst = appendString(dst, fields[i].Value)
			continue
		}
		dst = append(dst, '[')
		dst = appendString(dst, fields[i].Value)
		for at := i + 1; next >= 0; next = nextNamed(fields[at:], name) {
			at += next
			dst = append(dst, ',')
			dst = appendString(dst, fields[at].Value)
			at++
		}
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// nextNamed returns the index of the first line of a name, -1 where there is none.
func nextNamed(fields []gateway.Field, name string) int {
	for i := range fields {
		if len(fields[i].Name) == len(name) && gateway.EqualFold(fields[i].Name, name) {
			return i
		}
	}
	return -1
}

func redacted(name string) bool {
	switch len(name) {
	case len("authorization"):
		return gateway.EqualFold(name, "authorization")
	case len("proxy-authorization"):
		return gateway.EqualFold(name, "proxy-authorization")
	}
	return false
}

// maxArgs is how many arguments of a query are taken apart, as in Kong.
const maxArgs = 100

// appendQuery appends the query's arguments as an object: a string, true where an argument
// has no value, or a list where it comes more than once.
func appendQuery(dst []byte, query string) []byte {
	dst = append(dst, '{')
	begin := len(dst)
	for i, rest := 0, query; rest != "" && i < maxArgs; i++ {
		var arg string
		at := len(query) - len(rest)
		arg, rest, _ = strings.Cut(rest, "&")
		name, value, valued := cutArg(arg)
		if name == "" || comesBefore(query[:at], name) {
			continue
		}
		if len(dst) > begin {
			dst = append(dst, ',')
		}
		dst = appendString(dst, name)
		dst = append(dst, ':')
		mark := len(dst)
		dst = appendArg(dst, value, valued)
		many := false
		for j, later := i+1, rest; later != "" && j < maxArgs; j++ {
			arg, later, _ = strings.Cut(later, "&")
			if other, value, valued := cutArg(arg); other == name {
				if !many {
					many = true
					dst = append(dst, 0)
					copy(dst[mark+1:], dst[mark:])
					dst[mark] = '['
				}
				dst = append(dst, ',')
				dst = appendArg(dst, value, valued)
			}
		}
		if many {
			dst = append(dst, ']')
		}
	}
	return append(dst, '}')
}

func comesBefore(query, name string) bool {
	for query != "" {
		var arg string
		arg, query, _ = strings.Cut(query, "&")
		if n, _, _ := cutArg(arg); n == name {
			return true
		}
	}
	return false
}

func cutArg(arg string) (name, value string, valued bool) {
	name, value, valued = strings.Cut(arg, "=")
	return unescape(name), unescape(value), valued
}

func unescape(s string) string {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s
	}
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func appendArg(dst []byte, value string, valued bool) []byte {
	if !valued {
		return append(dst, "true"...)
	}
	return appendString(dst, value)
}

package gateway

import (
	"bytes"
	"strings"
)

// NormalizePath returns path in the form routes are matched against: percent-encoded
// bytes that have no meaning in a URI are decoded, the rest keep an upper-case encoding,
// "//" becomes "/", and dot segments are resolved (RFC 3986 section 5.2.4). A path that
// is normal already is returned as it is, without an allocation. ok is false for a path
// with a broken percent encoding, or an encoded NUL.
func NormalizePath(path string) (normal string, ok bool) {
	if isNormalPath(path) {
		return path, true
	}
	b := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		c := path[i]
		if c != '%' {
			b = append(b, c)
			continue
		}
		if i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2]) {
			return "", false
		}
		v := unhex(path[i+1])<<4 | unhex(path[i+2])
		if v == 0 {
			return "", false
		}
		if isReservedByte(v) {
			b = append(b, '%', upperHex[v>>4], upperHex[v&15])
		} else {
			b = append(b, v)
		}
		i += 2
	}
	return string(removeDots(b)), true
}

func isNormalPath(p string) bool {
	if p == "" || p[0] != '/' {
		return false
	}
	for i := range len(p) {
		switch p[i] {
		case '%':
			return false
		case '/':
			if i+1 < len(p) && (p[i+1] == '/' || p[i+1] == '.') {
				return false
			}
		}
	}
	return true
}

// removeDots merges slashes and resolves "." and ".." segments. The result starts with
// a slash, and ends with one where the last segment was empty or a dot segment.
func removeDots(path []byte) []byte {
	out := make([]byte, 1, len(path)+1)
	out[0] = '/'
	for len(path) > 0 {
		seg, rest, slash := bytes.Cut(path, []byte{'/'})
		path = rest
		switch string(seg) {
		case "", ".":
		case "..":
			out = out[:max(bytes.LastIndexByte(out[:len(out)-1], '/'), 0)+1]
		default:
			out = append(out, seg...)
			if slash {
				out = append(out, '/')
			}
		}
	}
	return out
}

// isReservedByte reports whether a byte keeps its percent encoding under
// normalisation: the delimiters of RFC 3986 section 2.2, and the percent sign.
func isReservedByte(c byte) bool {
	return strings.IndexByte("!#$%&'()*+,/:;=?@[]", c) >= 0
}

// appendEscaped appends path with every byte that may not stand in a request target
// percent-encoded. It leaves existing percent signs alone.
func appendEscaped(dst []byte, path string) []byte {
	for i := range len(path) {
		if c := path[i]; targetByte[c] {
			dst = append(dst, c)
		} else {
			dst = append(dst, '%', upperHex[c>>4], upperHex[c&15])
		}
	}
	return dst
}

// AppendTarget appends the request target for the upstream: the escaped path, and the
// query as the client sent it.
func AppendTarget(dst []byte, path, query string, hasQuery bool) []byte {
	dst = appendEscaped(dst, path)
	if hasQuery {
		dst = append(dst, '?')
		dst = append(dst, query...)
	}
	return dst
}

// upstreamPath joins a service's path with the part of the request's path that is to
// be forwarded, by the rules of Kong's path handling v0. matched is the prefix to strip,
// empty where nothing is stripped by the route. servicePath is "" or starts with a slash.
func upstreamPath(servicePath, requestPath, matched string, strip bool) string {
	base := strings.TrimSuffix(servicePath, "/")
	if !strip {
		if requestPath == "/" && servicePath != "" {
			return servicePath
		}
		return base + requestPath
	}
	rest := requestPath[len(matched):]
	switch {
	case rest == "" && base == "":
		return "/"
	case rest == "" && len(requestPath) > 1 && requestPath[len(requestPath)-1] == '/':
		return base + "/"
	case rest == "":
		return base
	case rest[0] == '/':
		return base + rest
	}
	return base + "/" + rest
}

// upstreamPathV1 is upstreamPath by the rules of path handling v1: texts are put one behind
// the other, and only a slash that would be doubled where a prefix was is left out.
func upstreamPathV1(servicePath, requestPath, matched string, strip bool) string {
	base := servicePath
	if base == "" {
		base = "/"
	}
	rest := requestPath[1:]
	if strip && matched != "" {
		rest = requestPath[len(matched):]
		if strings.HasSuffix(base, "/") {
			rest = strings.TrimPrefix(rest, "/")
		}
	}
	return base + rest
}

const upperHex = "0123456789ABCDEF"

// targetByte marks the bytes that pass into a request target unescaped.
var targetByte = func() (t [256]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
			strings.IndexByte("!#$&'()*+,/:;=?@[]-._~%", byte(c)) >= 0
	}
	t['?'], t['#'] = false, false
	return t
}()

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// SetTarget fills the request's path, query, host and port from its authority and its
// target in origin form. serverPort stands in where the authority names no port. It
// reports whether the path can be normalised: one that cannot must be refused, since the
// upstream might see another path in it than the router.
func SetTarget(r *Request, target string, serverPort int) bool {
	if i := strings.IndexByte(target, '#'); i >= 0 {
		target = target[:i]
	}
	path, query, has := strings.Cut(target, "?")
	r.RawPath, r.RawQuery, r.HasQuery = path, query, has
	if path == "" {
		path = "/"
	}
	normal, ok := NormalizePath(path)
	r.Path = normal
	r.Host, r.Port = splitAuthority(r.Authority)
	if r.Port == 0 {
		r.Port = serverPort
	}
	return ok
}

// splitAuthority cuts host:port and returns the host in lower case; port 0 where there is
// none that reads as a number.
func splitAuthority(a string) (host string, port int) {
	host = a
	if i := strings.LastIndexByte(a, ':'); i >= 0 && strings.IndexByte(a[i:], ']') < 0 && (a[0] == '[' || strings.IndexByte(a, ':') == i) {
		host = a[:i]
		for _, c := range []byte(a[i+1:]) {
			if c < '0' || c > '9' || port > 65535 {
				port = 0
				break
			}
			port = port*10 + int(c-'0')
		}
		if port > 65535 {
			port = 0
		}
	}
	return strings.TrimSuffix(lowerASCII(host), "."), port
}

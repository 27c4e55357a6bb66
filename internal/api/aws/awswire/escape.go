package awswire

import (
	"net/url"
	"strings"
)

// uriEscape percent-encodes all but the unreserved characters of RFC 3986, as signatures prescribe; with
// slash set, slashes stay.
func uriEscape(s string, slash bool) string {
	return string(appendEscape(make([]byte, 0, len(s)+16), s, slash))
}

func appendEscape(b []byte, s string, slash bool) []byte {
	for i := range len(s) {
		c := s[i]
		if unreserved(c) || slash && c == '/' {
			b = append(b, c)
		} else {
			b = append(b, '%', hexUpper[c>>4], hexUpper[c&15])
		}
	}
	return b
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.' || c == '~'
}

// canonicalPath returns the path as signatures cover it. S3 signs what the path means, encoded
// once and not otherwise touched; all others sign the path as it is sent, its dots and empty
// segments resolved, encoded once more.
func canonicalPath(escaped string, s3 bool) string {
	if escaped == "" {
		return "/"
	}
	if s3 {
		plain, err := url.PathUnescape(escaped)
		if err != nil {
			plain = escaped
		}
		return uriEscape(plain, true)
	}
	return uriEscape(resolveDots(escaped), true)
}

// resolveDots removes empty, . and .. segments.
func resolveDots(p string) string {
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return p
	}
	var out []string
	for segment := range strings.SplitSeq(p, "/") {
		switch segment {
		case "", ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, segment)
		}
	}
	resolved := "/" + strings.Join(out, "/")
	if resolved != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		resolved += "/"
	}
	return resolved
}

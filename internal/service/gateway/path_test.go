package gateway_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
)

func TestNormalizePath(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "": "/", "/a": "/a", "/a/": "/a/", "//a///b": "/a/b", "/a/./b": "/a/b", "/a/../b": "/b", "/../a": "/a",
		"/a/b/..": "/a/", "/a/.": "/a/", "/.": "/", "/..": "/", "/.a": "/.a", "/a..": "/a..", "/%61": "/a", "/%2f": "/%2F",
		"/a%2Fb": "/a%2Fb", "/%2e%2e/a": "/a", "/a/%2E%2E/b": "/b", "/%20": "/ ", "/%25": "/%25", "/%c3%a4": "/ä", "/a%3fb": "/a%3Fb",
	} {
		got, ok := gateway.NormalizePath(in)
		if !ok || got != want {
			t.Errorf("NormalizePath(%q) = %q, %v; want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"/%", "/%a", "/%zz", "/a%2"} {
		if got, ok := gateway.NormalizePath(in); ok {
			t.Errorf("NormalizePath(%q) = %q; want a refusal", in, got)
		}
	}
}

// normalized is what NormalizePath should return, step by step and slowly: octets that need
// no escape are decoded, the others are escaped in upper case, and then the segments
// are resolved.
func normalized(in string) (string, bool) {
	var decoded strings.Builder
	for i := 0; i < len(in); i++ {
		if in[i] != '%' {
			decoded.WriteByte(in[i])
			continue
		}
		if i+2 >= len(in) {
			return "", false
		}
		n, err := strconv.ParseUint(in[i+1:i+3], 16, 8)
		if err != nil {
			return "", false
		}
		if n == 0 {
			return "", false
		}
		if c := byte(n); strings.IndexByte("!#$%&'()*+,/:;=?@[]", c) >= 0 {
			fmt.Fprintf(&decoded, "%%%02X", c)
		} else {
			decoded.WriteByte(c)
		}
		i += 2
	}
	var out []string
	segments := strings.Split(decoded.String(), "/")
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == ".." && len(out) > 0:
			out = out[:len(out)-1]
		case s != "" && s != "." && s != "..":
			out = append(out, s)
			continue
		}
		if last && len(out) > 0 {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), true
}

func FuzzNormalizePath(f *testing.F) {
	for _, s := range []string{"/a/../b", "//", "/%2e/%2E%2e/x", "/%25", "/a%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if strings.ContainsAny(in, "?#\x00") { // SetTarget cuts a target before either, and no head has a NUL
			return
		}
		got, ok := gateway.NormalizePath(in)
		want, valid := normalized(in)
		if ok != valid || ok && got != want {
			t.Fatalf("NormalizePath(%q) = %q, %v; want %q, %v", in, got, ok, want, valid)
		}
		if !ok {
			return
		}
		if !strings.HasPrefix(got, "/") || strings.Contains(got, "//") || strings.Contains(got, "/../") ||
			strings.Contains(got, "/./") || strings.HasSuffix(got, "/..") || strings.HasSuffix(got, "/.") {
			t.Fatalf("NormalizePath(%q) = %q is not normal", in, got)
		}
		target := string(gateway.AppendTarget(nil, got, "", false))
		for i := range len(target) {
			if c := target[i]; c <= ' ' || c >= 0x7f || c == '?' || c == '#' {
				t.Fatalf("the target %q made of %q has byte %#x", target, in, c)
			}
		}
		again, ok := gateway.NormalizePath(target)
		if !ok || again != got {
			t.Fatalf("%q goes out as %q, which reads as %q", got, target, again)
		}
	})
}

func TestUpstreamPath(t *testing.T) {
	for _, c := range []struct {
		service, request, matched string
		strip                     bool
		want                      string
	}{
		{"", "/a/b", "/a", true, "/b"}, {"", "/a", "/a", true, "/"}, {"", "/a/", "/a", true, "/"}, {"", "/ab", "/a", true, "/b"},
		{"/", "/a", "/a", true, "/"}, {"/s", "/a", "/a", true, "/s"}, {"/s", "/a/", "/a", true, "/s/"}, {"/s", "/a/", "/a/", true, "/s/"},
		{"/s/", "/a", "/a", true, "/s"}, {"/s/", "/a/", "/a/", true, "/s/"}, {"/s", "/a/b", "/a/", true, "/s/b"},
		{"/s", "/a/b", "", false, "/s/a/b"}, {"/s/", "/a/b", "", false, "/s/a/b"}, {"", "/a/b", "", false, "/a/b"},
		{"/s", "/", "", false, "/s"}, {"/s/", "/", "", false, "/s/"}, {"", "/", "/", true, "/"}, {"/s", "/x", "/", true, "/s/x"},
	} {
		if got := gateway.UpstreamPath(c.service, c.request, c.matched, c.strip); got != c.want {
			t.Errorf("service %q, request %q, matched %q, strip %v: %q, want %q", c.service, c.request, c.matched, c.strip, got, c.want)
		}
	}
}

func TestSplitAuthority(t *testing.T) {
	for in, want := range map[string]struct {
		host string
		port int
	}{
		"a.com": {"a.com", 0}, "A.com:80": {"a.com", 80}, "a.com.": {"a.com", 0}, "[::1]:80": {"[::1]", 80}, "[::1]": {"[::1]", 0},
		"": {"", 0}, "a:": {"a", 0}, "a:x": {"a", 0}, "a:99999": {"a", 0}, ":80": {"", 80},
	} {
		if host, port := gateway.SplitAuthority(in); host != want.host || port != want.port {
			t.Errorf("%q: %q %d, want %+v", in, host, port, want)
		}
	}
}

package gateway

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// semanticForm is what Kong takes for a version.
var semanticForm = regexp.MustCompile(`^\d+\.\d+(\.\d+)?([-+][0-9A-Za-z.-]+)?$`)

// Format returns the check of a format of strings by the name that Kong's typedefs have for it, for the schemas of
// plugins that are written in Lua. ok is false where there is none of the name.
func Format(name string) (check func(v any) string, ok bool) {
	check, ok = stringFormats[name]
	return check, ok
}

var stringFormats = map[string]func(any) string{ //nolint:gochecknoglobals // a table
	"host": checkHost, "wildcard_host": checkRouteHost, "path": checkPath, "router_path": checkRoutePath, "sni": checkSNI, "tag": checkTag, "name": checkName,
	"header_name": CheckHeaderName, "http_method": checkMethod, "cookie_name": checkCookieName,
	"url": checkURL, "ip": checkIP, "ip_or_cidr": checkIPOrCIDR, "cidr_v4": checkCIDR,
	"utf8_name": func(v any) string {
		s := v.(string)
		if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f || r == '/' || r == ',' }) {
			return "invalid value '" + s + "': the only accepted ascii characters are printable, without / and ,"
		}
		return ""
	},
	"semantic_version": func(v any) string {
		if s := v.(string); !semanticForm.MatchString(s) {
			return "invalid version number: must be in format of X.Y.Z"
		}
		return ""
	},
	"certificate": func(v any) string {
		if _, err := parseChain(v.(string)); err != nil {
			return "invalid certificate: " + err.Error()
		}
		return ""
	},
	"key": func(v any) string {
		if _, err := parseKey(v.(string)); err != nil {
			return "invalid key: " + err.Error()
		}
		return ""
	},
}

func checkURL(v any) string {
	u, err := url.Parse(v.(string))
	switch {
	case err != nil:
		return "could not parse url"
	case u.Hostname() == "":
		return "missing host in url"
	case u.Scheme == "":
		return "missing scheme in url"
	}
	return ""
}

func checkIP(v any) string {
	if _, err := netip.ParseAddr(v.(string)); err != nil {
		return "not an ip address: " + v.(string)
	}
	return ""
}

func checkIPOrCIDR(v any) string {
	if checkIP(v) == "" {
		return ""
	}
	if _, err := netip.ParsePrefix(v.(string)); err != nil {
		return "invalid ip or cidr range: '" + v.(string) + "'"
	}
	return ""
}

func checkCIDR(v any) string {
	if p, err := netip.ParsePrefix(v.(string)); err != nil || !p.Addr().Is4() {
		return "invalid cidr range: '" + v.(string) + "'"
	}
	return ""
}

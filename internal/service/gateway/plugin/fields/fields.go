package fields

import (
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// URL describes a field that holds an absolute URL of http or https.
func URL(name string, edits ...func(*schema.Field)) *schema.Field {
	return schema.Field{Kind: schema.String, Referenceable: true, Check: checkURL}.With(name, edits...)
}

func checkURL(v any) string {
	u, err := url.Parse(v.(string))
	switch {
	case err != nil:
		return "invalid url"
	case u.Hostname() == "":
		return "missing host in url"
	case u.Scheme != "http" && u.Scheme != "https":
		return "unsupported scheme in url: expected http or https"
	}
	return ""
}

// Host describes a field that holds a name or an address without a port.
func Host(name string, edits ...func(*schema.Field)) *schema.Field {
	return schema.Field{Kind: schema.String, Check: checkHost}.With(name, edits...)
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9\-_.]*[A-Za-z0-9_])?\.?$`)

func checkHost(v any) string {
	s := v.(string)
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return ""
	}
	if name, _, ok := strings.Cut(s, ":"); ok && hostForm.MatchString(name) {
		return "must not have a port"
	}
	if !hostForm.MatchString(s) || len(s) > 253 {
		return "invalid value: " + s
	}
	return ""
}

// Port describes a field that holds a port number.
func Port(name string, edits ...func(*schema.Field)) *schema.Field {
	return schema.Field{Kind: schema.Integer, Between: []float64{0, 65535}}.With(name, edits...)
}

// Timeout describes a time-out in milliseconds.
func Timeout(name string, millis int) *schema.Field {
	return &schema.Field{Name: name, Kind: schema.Integer, Default: millis, Between: []float64{0, 2147483646}}
}

// Millis describes a number of milliseconds without bounds, as older plugins have it.
func Millis(name string, millis int) *schema.Field {
	return &schema.Field{Name: name, Kind: schema.Number, Default: millis, Between: []float64{0, 2147483646}}
}

// HeaderName describes the name of a header.
func HeaderName() *schema.Field {
	return &schema.Field{Kind: schema.String, Check: func(v any) string {
		if s := v.(string); !gateway.ValidName(s) {
			return "bad header name '" + s + "', allowed characters are A-Z, a-z, 0-9, '_', and '-'"
		}
		return ""
	}}
}

// Choice describes a string that is one of some.
func Choice(name string, of []string, edits ...func(*schema.Field)) *schema.Field {
	return schema.Field{Kind: schema.String, OneOf: Any(of...)}.With(name, edits...)
}

// Any turns strings into JSON values.
func Any(values ...string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}

// The values of an accepted configuration; the zero value where a field is unset.

// String returns a string.
func String(c schema.Record, name string) string {
	s, _ := c[name].(string)
	return s
}

// Int returns a number without its fraction.
func Int(c schema.Record, name string) int {
	n, _ := c[name].(float64)
	return int(n)
}

// Bool returns a boolean.
func Bool(c schema.Record, name string) bool {
	b, _ := c[name].(bool)
	return b
}

// Strings returns the strings of an array or set.
func Strings(c schema.Record, name string) []string {
	list, _ := c[name].([]any)
	out := make([]string, 0, len(list))
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Pairs returns a map of strings.
func Pairs(c schema.Record, name string) map[string]string {
	m, _ := c[name].(schema.Record)
	out := make(map[string]string, len(m))
	for k, v := range m {
		out[k], _ = v.(string)
	}
	return out
}

// Duration returns a number of milliseconds as a duration.
func Duration(c schema.Record, name string) time.Duration {
	n, _ := c[name].(float64)
	return span(n, time.Millisecond)
}

// Seconds returns a number of seconds as a duration.
func Seconds(c schema.Record, name string) time.Duration {
	n, _ := c[name].(float64)
	return span(n, time.Second)
}

// span is n units. What no duration can hold is the longest that can still be added to the
// present.
func span(n float64, unit time.Duration) time.Duration {
	const longest = 100 * 365 * 24 * time.Hour
	return time.Duration(max(min(n*float64(unit), float64(longest)), float64(-longest)))
}

package statsd

import (
	"strconv"

	"sluice.dev/sluice/internal/service/gateway"
)

// The types of measurement as the protocol writes them.
var statTypes = map[string]string{
	"gauge": "g", "counter": "c", "timer": "ms", "histogram": "h", "meter": "m", "set": "s", "distribution": "d",
}

// tag is a name with a value.
type tag struct{ name, value string }

// The styles of tags.
const (
	dogstatsd = "dogstatsd" // name:1|c|#tag:v,tag:v
	influxdb  = "influxdb"  // name,tag=v,tag=v:1|c
	librato   = "librato"   // name#tag=v,tag=v:1|c
	signalfx  = "signalfx"  // name[tag=v,tag=v]:1|c
)

// line is one measurement.
type line struct {
	prefix, name, value, kind string
	rate                      float64 // 0 and 1 are not written
	style                     string  // of tags
	tags                      []tag
}

// appendTo appends the line and a newline.
func (l *line) appendTo(dst []byte) []byte {
	dst = appendName(dst, l.prefix)
	dst = append(dst, '.')
	dst = appendName(dst, l.name)
	switch {
	case len(l.tags) == 0:
	case l.style == influxdb:
		dst = appendTags(append(dst, ','), l.tags, '=')
	case l.style == librato:
		dst = appendTags(append(dst, '#'), l.tags, '=')
	case l.style == signalfx:
		dst = append(appendTags(append(dst, '['), l.tags, '='), ']')
	}
	dst = append(dst, ':')
	dst = appendName(dst, l.value)
	dst = append(dst, '|')
	dst = append(dst, statTypes[l.kind]...)
	if l.rate != 0 && l.rate != 1 {
		dst = append(dst, "|@"...)
		dst = strconv.AppendFloat(dst, l.rate, 'g', -1, 64)
	}
	if l.style == dogstatsd && len(l.tags) > 0 {
		dst = appendTags(append(dst, "|#"...), l.tags, ':')
	}
	return append(dst, '\n')
}

func appendTags(dst []byte, tags []tag, equals byte) []byte {
	for i, t := range tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendName(dst, t.name)
		if t.value != "" {
			dst = append(dst, equals)
			dst = appendName(dst, t.value)
		}
	}
	return dst
}

// appendName appends s without what would end a line or a field of it: names of consumers
// and services must not add measurements of their own.
func appendName(dst []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c == '|' || c == '\x7f':
			dst = append(dst, '_')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// measured returns the value of a measurement that is a number, and its name in the
// protocol; ok is false where there is nothing to tell.
func measured(metric string, x *gateway.Exchange) (name string, value int64, ok bool) {
	switch metric {
	case "request_count":
		return "request.count", 1, true
	case "request_size":
		return "request.size", x.RequestSize(), true
	case "response_size":
		return "response.size", x.ResponseSize(), true
	case "latency":
		return "latency", x.Latencies().Request, true
	case "kong_latency":
		return "kong_latency", x.Latencies().Kong, true
	case "upstream_latency":
		v := x.Latencies().Proxy
		return "upstream_latency", v, v >= 0
	}
	return "", 0, false
}

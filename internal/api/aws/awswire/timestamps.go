package awswire

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// timeFormat is one of the wire's three ways to write a time; empty means the usual one of the place.
type timeFormat string

const (
	iso8601  timeFormat = "iso8601" // 2015-01-25T08:00:00Z, with milliseconds where there are any
	httpDate timeFormat = "http"    // Sun, 25 Jan 2015 08:00:00 GMT
	unixTime timeFormat = "unix"    // 1422172800, with milliseconds behind the point where there are any
)

func (f timeFormat) or(usual timeFormat) timeFormat {
	if f == "" {
		return usual
	}
	return f
}

// httpLayout is that of net/http; the layout's GMT is literal.
const httpLayout = "Mon, 02 Jan 2006 15:04:05 GMT"

// appendTime writes t, cut to milliseconds: no AWS client expects more.
func appendTime(b []byte, t time.Time, f timeFormat) []byte {
	t = t.UTC().Truncate(time.Millisecond)
	switch f {
	case httpDate:
		return t.AppendFormat(b, httpLayout)
	case unixTime:
		return strconv.AppendFloat(b, float64(t.UnixMilli())/1000, 'f', -1, 64)
	default:
		return t.AppendFormat(b, "2006-01-02T15:04:05.999Z")
	}
}

// layouts are read wherever a time is text: clients differ, and none is ambiguous.
var layouts = []string{time.RFC3339Nano, httpLayout, time.RFC1123Z, time.RFC850, "20060102T150405Z", "2006-01-02T15:04:05.999999999"}

// parseTime reads a time in any of the wire's formats.
func parseTime(s string) (time.Time, error) {
	s = strings.TrimSpace(s)
	for _, layout := range layouts {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), nil
		}
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		return unixFloat(f)
	}
	return time.Time{}, fmt.Errorf("%q is not a time", clip(s))
}

// unixFloat turns seconds since 1970 into a time, to the millisecond.
func unixFloat(f float64) (time.Time, error) {
	if math.IsNaN(f) || math.Abs(f) > 1<<40 { // beyond the year 36000
		return time.Time{}, fmt.Errorf("%g is not a time", f)
	}
	return time.UnixMilli(int64(math.Round(f * 1000))).UTC(), nil
}

// clip shortens what a client sent to what is worth repeating to it.
func clip(s string) string {
	const most = 256
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

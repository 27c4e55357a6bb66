package collector

import (
	"encoding/binary"
	"math/rand/v2"
	"time"
	"unicode/utf8"
)

// origin is what the request adds to each of its events.
type origin struct {
	received  time.Time
	stamp     []byte // received in text
	clientIP  string
	userAgent string
	requestID string
}

// appendJSON appends the event as a JSON object: the configured fields in their order,
// other members, then what the collector adds.
func (in *instance) appendJSON(b []byte, ev *event, id []byte, o *origin) []byte {
	b = append(b, `{"event_id":`...)
	b = appendString(b, id)
	for i := range in.fields {
		v := &ev.values[i]
		if !v.set || in.fields[i].name == "event_id" {
			continue
		}
		b = append(b, ',', '"')
		b = append(b, in.fields[i].name...)
		b = append(b, '"', ':')
		if v.raw != "" {
			b = append(b, v.raw...)
		} else {
			b = appendString(b, v.text)
		}
	}
	for i := 0; i < len(ev.extra); i += 2 {
		b = append(b, ',')
		if raw := ev.extra[i].Raw; raw != "" {
			b = append(b, raw...)
		} else {
			b = appendString(b, ev.extra[i].Str)
		}
		b = append(b, ':')
		if raw := ev.extra[i+1].Raw; raw != "" {
			b = appendCompact(b, raw)
		} else {
			b = appendString(b, ev.extra[i+1].Str)
		}
	}
	b = append(b, `,"received_at":"`...)
	b = append(b, o.stamp...)
	b = append(b, `","client_ip":`...)
	b = appendString(b, o.clientIP)
	b = append(b, `,"user_agent":`...)
	b = appendString(b, o.userAgent)
	b = append(b, `,"request_id":`...)
	b = appendString(b, o.requestID)
	b = append(b, '}')
	if in.newline {
		b = append(b, '\n')
	}
	return b
}

// appendDelimited appends the event as one line of columns.
func (in *instance) appendDelimited(b []byte, ev *event, id []byte, o *origin) []byte {
	for i, c := range in.columns {
		if i > 0 {
			b = append(b, in.delimiter)
		}
		switch {
		case c.field >= 0:
			b = in.appendColumn(b, ev.values[c.field].text)
		case c.added == "event_id":
			b = in.appendColumn(b, string(id))
		case c.added == "received_at":
			b = in.appendColumn(b, string(o.stamp))
		case c.added == "client_ip":
			b = in.appendColumn(b, o.clientIP)
		case c.added == "user_agent":
			b = in.appendColumn(b, o.userAgent)
		case c.added == "request_id":
			b = in.appendColumn(b, o.requestID)
		}
	}
	if in.newline {
		b = append(b, '\n')
	}
	return b
}

func (in *instance) appendColumn(b []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == in.delimiter || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return b
}

// appendCompact appends a JSON value without the space between its tokens: a line end
// there would end the record for readers of lines.
func appendCompact(b []byte, raw string) []byte {
	inString := false
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			b = append(b, c)
			i++
			c = raw[i]
		case !inString && c <= ' ':
			continue
		}
		b = append(b, c)
	}
	return b
}

// appendString appends s as a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendString[T string | []byte](b []byte, s T) []byte {
	const digits = "0123456789abcdef"
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20 || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}

// appendID appends a UUID of version 7 (RFC 9562): the milliseconds since 1970, so that
// ids sort by time, and 74 random bits.
func appendID(b []byte, now time.Time) []byte {
	var u [16]byte
	binary.BigEndian.PutUint64(u[:8], uint64(now.UnixMilli())<<16|rand.Uint64()&0x0fff|0x7000)
	binary.BigEndian.PutUint64(u[8:], rand.Uint64()>>2|1<<63)
	const digits = "0123456789abcdef"
	for i, c := range u {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			b = append(b, '-')
		}
		b = append(b, digits[c>>4], digits[c&15])
	}
	return b
}

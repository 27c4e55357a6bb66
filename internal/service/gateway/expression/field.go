package expression

import (
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// Field is what a predicate looks at.
type Field uint8

// The fields. Headers and queries go by a name, segments by their numbers.
const (
	Protocol    Field = iota + 1 // net.protocol
	SNI                          // tls.sni
	Method                       // http.method
	Host                         // http.host
	Path                         // http.path
	Header                       // http.headers.<name>, in lower case with underscores
	Query                        // http.queries.<name>
	segments                     // http.path.segments.<from>[_<to>]
	segmentsLen                  // http.path.segments.len
	srcIP                        // net.src.ip
	srcPort                      // net.src.port
	dstIP                        // net.dst.ip
	dstPort                      // net.dst.port
)

// Subject is what an expression is evaluated on.
type Subject interface {
	// Text returns the value of Protocol, SNI, Method, Host or Path; false where there is none.
	Text(f Field) (string, bool)
	// Next returns a value of the Header or Query of a name, and where to go on from; at 0 it
	// begins. ok is false where there are no more.
	Next(f Field, name string, at int) (value string, next int, ok bool)
	// Source and Destination are the connection's ends; the zero value is unknown.
	Source() netip.AddrPort
	Destination() netip.AddrPort
}

// Subsystem says which fields there are.
type Subsystem uint8

// HTTP has all fields, Stream those of connections.
const (
	HTTP Subsystem = iota
	Stream
)

type kind string

const (
	text    kind = "String"
	number  kind = "Int"
	address kind = "IpAddr"
	network kind = "IpCidr" // of literals alone
)

var plainFields = map[string]struct {
	field Field
	kind  kind
	http  bool
}{
	"net.protocol": {Protocol, text, false}, "tls.sni": {SNI, text, false},
	"http.method": {Method, text, true}, "http.host": {Host, text, true}, "http.path": {Path, text, true},
	"http.path.segments.len": {segmentsLen, number, true},
	"net.src.ip":             {srcIP, address, false}, "net.src.port": {srcPort, number, false},
	"net.dst.ip": {dstIP, address, false}, "net.dst.port": {dstPort, number, false},
}

var segmentForm = regexp.MustCompile(`^(0|[1-9]\d{0,8})(?:_([1-9]\d{0,8}))?$`)

// setField resolves a field's name.
func (p *predicate) setField(s string, sub Subsystem) error {
	if f, ok := plainFields[s]; ok && (sub == HTTP || !f.http) {
		p.field, p.kind = f.field, f.kind
		return nil
	}
	if sub == HTTP {
		p.kind = text
		if rest, ok := strings.CutPrefix(s, "http.path.segments."); ok {
			m := segmentForm.FindStringSubmatch(rest)
			if m == nil {
				return fmt.Errorf("illformed http.path.segments.* field")
			}
			p.field = segments
			p.from, _ = strconv.Atoi(m[1])
			if p.to = p.from; m[2] != "" {
				if p.to, _ = strconv.Atoi(m[2]); p.to <= p.from {
					return fmt.Errorf("illformed http.path.segments.* field")
				}
			}
			return nil
		}
		if rest, ok := strings.CutPrefix(s, "http.headers."); ok && rest != "" {
			p.field, p.name = Header, strings.ToLower(rest)
			return nil
		}
		if rest, ok := strings.CutPrefix(s, "http.queries."); ok && rest != "" {
			p.field, p.name = Query, rest
			return nil
		}
	}
	//lint:ignore ST1005 these are the words of Kong's router
	return fmt.Errorf("Unknown LHS field: %s", s)
}

// segment returns the segments from..to of a path, joined as they stand there.
func segment(path string, from, to int) (string, bool) {
	path = strings.Trim(path, "/")
	start := 0
	for i := 0; ; i++ {
		end := strings.IndexByte(path[start:], '/')
		if i == from {
			rest := path[start:]
			for n, at := from, 0; ; n++ {
				next := strings.IndexByte(rest[at:], '/')
				switch {
				case n == to && next < 0:
					return rest, rest != ""
				case n == to:
					return rest[:at+next], true
				case next < 0:
					return "", false
				}
				at += next + 1
			}
		}
		if end < 0 {
			return "", false
		}
		start += end + 1
	}
}

func segmentCount(path string) int {
	if path = strings.Trim(path, "/"); path == "" {
		return 0
	}
	return strings.Count(path, "/") + 1
}

package wasm

import (
	"encoding/binary"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
)

// Maps, by Proxy-Wasm's numbers. Trailers are empty and cannot be written.
const (
	requestMap       = 0
	requestTrailers  = 1
	responseMap      = 2
	responseTrailers = 3
	lastMap          = 7
)

// What a message's head may grow to under a filter.
const (
	maxPairs = 1000
	maxPair  = 64 << 10
)

// editable is the head of a request or an answer as filters see it: with what is not in the
// header lines as lines whose names begin with a colon.
type editable struct {
	x      *gateway.Exchange
	header *gateway.Header
	answer bool
}

// header returns a map of the exchange; the zero editable where there is none.
func (s *stream) header(id uint32) editable {
	switch {
	case s.x == nil:
	case id == requestMap:
		return editable{s.x, &s.x.Request.Header, false}
	case id == responseMap && s.phase >= onResponseHeaders:
		return editable{s.x, &s.x.Response.Header, true}
	}
	return editable{}
}

func (e editable) valid() bool { return e.x != nil }

// pseudo returns the lines that are none in the message.
func (e editable) pseudo() []gateway.Field {
	if e.answer {
		return []gateway.Field{{Name: ":status", Value: strconv.Itoa(e.x.Response.Status)}}
	}
	r := &e.x.Request
	return []gateway.Field{{Name: ":method", Value: r.Method}, {Name: ":scheme", Value: r.Scheme},
		{Name: ":authority", Value: r.Authority}, {Name: ":path", Value: target(e.x)}}
}

// target is the request's path with its query.
func target(x *gateway.Exchange) string {
	return string(gateway.AppendTarget(nil, x.Request.Path, x.Request.RawQuery, x.Request.HasQuery))
}

func (e editable) count() int {
	if !e.valid() {
		return 0
	}
	return e.header.Len() + len(e.pseudo())
}

func (e editable) fields() []gateway.Field {
	if !e.valid() {
		return nil
	}
	return append(e.pseudo(), e.header.Fields()...)
}

func (e editable) get(name string) (string, bool) {
	if !e.valid() {
		return "", false
	}
	for _, f := range e.pseudo() {
		if gateway.EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	if !e.answer && gateway.EqualFold(name, "host") {
		return e.x.Request.Authority, true
	}
	return e.header.Lookup(name)
}

// framing reports whether a line belongs to the connection, which is not a filter's.
func framing(name string) bool {
	switch strings.ToLower(name) {
	case "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "te", "trailer":
		return true
	}
	return strings.HasPrefix(name, ":")
}

func (e editable) add(name, value string) status {
	switch {
	case strings.HasPrefix(name, ":") || !e.answer && gateway.EqualFold(name, "host"):
		return e.setPseudo(name, value)
	case framing(name):
		return statusOK // it follows from the body
	case !gateway.ValidName(name) || len(name)+len(value) > maxPair || e.header.Len() >= maxPairs:
		return statusBadArgument
	}
	e.header.Add(name, value)
	return statusOK
}

func (e editable) set(name, value string) status {
	if !framing(name) && gateway.ValidName(name) && len(name)+len(value) <= maxPair {
		if _, there := e.header.Lookup(name); there {
			e.header.Set(name, value)
			return statusOK
		}
	}
	return e.add(name, value)
}

func (e editable) setPseudo(name, value string) status {
	if len(value) > maxPair || value == "" || strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return statusBadArgument
	}
	switch lower := strings.ToLower(name); {
	case e.answer && lower == ":status":
		code, err := strconv.Atoi(value)
		now := e.x.Response.Status
		// An answer with a body stays one, and one without stays without.
		if err != nil || code < 200 || code > 599 || code != now && (bodyless(code) || bodyless(now)) {
			return statusBadArgument
		}
		e.x.Response.Status = code
	case e.answer:
		return statusBadArgument
	case lower == ":method":
		if !gateway.ValidName(value) {
			return statusBadArgument
		}
		e.x.Request.Method = value
	case lower == ":authority" || lower == "host":
		e.x.Upstream.HostHeader = value
	case lower == ":path":
		path, query, has := strings.Cut(value, "?")
		normal, ok := gateway.NormalizePath(path)
		if !ok || !strings.HasPrefix(normal, "/") {
			return statusBadArgument
		}
		e.x.Upstream.Path, e.x.Request.RawQuery, e.x.Request.HasQuery = normal, query, has
	case lower != ":scheme": // that of the service counts
		return statusBadArgument
	}
	return statusOK
}

func bodyless(code int) bool { return code == 204 || code == 304 }

// writable returns the map an argument names, where the filter may change it now.
func (c *call) writable() (editable, status) {
	id, s := c.u32(0), c.stream
	switch {
	case id > lastMap:
		return editable{}, statusBadArgument
	case s == nil, id == requestMap && s.phase > onRequestBody, id == responseMap && s.phase != onResponseHeaders,
		id != requestMap && id != responseMap:
		return editable{}, statusBadArgument
	}
	e := s.header(id)
	if !e.valid() {
		return e, statusBadArgument
	}
	return e, statusOK
}

// readable returns the map an argument names; it may be empty.
func (c *call) readable() (editable, status) {
	switch id := c.u32(0); {
	case id > lastMap:
		return editable{}, statusBadArgument
	case c.stream == nil:
		return editable{}, statusOK
	default:
		return c.stream.header(id), statusOK
	}
}

func (c *call) headerSize() status {
	e, st := c.readable()
	if st != statusOK {
		return st
	}
	return c.putU32(1, uint32(len(appendPairs(nil, e.fields()))))
}

func (c *call) headerPairs() status {
	e, st := c.readable()
	if st != statusOK {
		return st
	}
	return c.give(1, 2, appendPairs(nil, e.fields()))
}

func (c *call) headerValue() status {
	e, st := c.readable()
	if st != statusOK {
		return st
	}
	name, ok := c.bytes(1)
	if !ok {
		return statusInvalidMemory
	}
	value, ok := e.get(string(name))
	if !ok {
		return statusNotFound
	}
	return c.give(3, 4, []byte(value))
}

func (c *call) setHeader(do func(e editable, name, value string) status) status {
	e, st := c.writable()
	if st != statusOK {
		return st
	}
	name, ok := c.bytes(1)
	value, ok2 := c.bytes(3)
	if !ok || !ok2 {
		return statusInvalidMemory
	}
	return do(e, string(name), string(value))
}

func (c *call) removeHeader() status {
	e, st := c.writable()
	if st != statusOK {
		return st
	}
	name, ok := c.bytes(1)
	if !ok {
		return statusInvalidMemory
	}
	if n := string(name); !framing(n) {
		e.header.Del(n)
	}
	return statusOK
}

func (c *call) setHeaderPairs() status {
	e, st := c.writable()
	if st != statusOK {
		return st
	}
	raw, ok := c.bytes(1)
	if !ok {
		return statusInvalidMemory
	}
	pairs, ok := parsePairs(raw)
	if !ok {
		return statusParseFailure
	}
	var kept []gateway.Field
	for _, f := range e.header.Fields() {
		if framing(f.Name) {
			kept = append(kept, f)
		}
	}
	e.header.Reset()
	for _, f := range kept {
		e.header.AddValid(f.Name, f.Value)
	}
	for _, f := range pairs {
		if st := e.add(f.Name, f.Value); st != statusOK {
			return st
		}
	}
	return statusOK
}

// appendPairs writes fields as Proxy-Wasm does: their number, the sizes of each name and
// value, and then these, each with a NUL behind.
func appendPairs(dst []byte, fields []gateway.Field) []byte {
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(fields)))
	for _, f := range fields {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.Name)))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(f.Value)))
	}
	for _, f := range fields {
		dst = append(append(dst, f.Name...), 0)
		dst = append(append(dst, f.Value...), 0)
	}
	return dst
}

// parsePairs reads what appendPairs writes. An empty map may be no bytes, or one.
func parsePairs(raw []byte) ([]gateway.Field, bool) {
	if len(raw) <= 1 {
		return nil, len(raw) == 0 || raw[0] == 0
	}
	if len(raw) < 4 {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(raw)
	if n > maxPairs || len(raw) < 4+int(n)*8 {
		return nil, false
	}
	sizes, data := raw[4:4+n*8], raw[4+n*8:]
	take := func(size uint32) (string, bool) {
		if uint64(size)+1 > uint64(len(data)) {
			return "", false
		}
		s := string(data[:size])
		data = data[size+1:]
		return s, true
	}
	out := make([]gateway.Field, n)
	for i := range out {
		name, ok := take(binary.LittleEndian.Uint32(sizes[i*8:]))
		value, ok2 := take(binary.LittleEndian.Uint32(sizes[i*8+4:]))
		if !ok || !ok2 {
			return nil, false
		}
		out[i] = gateway.Field{Name: name, Value: value}
	}
	return out, true
}

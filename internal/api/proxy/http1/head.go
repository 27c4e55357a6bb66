package http1

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"unsafe"

	"sluice.dev/sluice/internal/service/gateway"
)

// ErrIncomplete says that the buffer does not hold the whole head yet.
var ErrIncomplete = errors.New("http1: the head is not complete")

// BadMessage is a message that is refused, with the status that tells why.
type BadMessage struct {
	Status int
	Reason string // for the log
}

// Error returns the reason.
func (e *BadMessage) Error() string { return "http1: " + e.Reason }

// Refuse returns an error that refuses a message.
func Refuse(status int, reason string) *BadMessage { return refuse(status, reason) }

func refuse(status int, reason string) *BadMessage { return &BadMessage{status, reason} }

// Limits of a head.
type Limits struct {
	Line   int // bytes of the request line
	Head   int // bytes of the whole head
	Fields int // header lines
}

// Scanner finds the end of a head in a buffer that grows. It looks at every byte once.
type Scanner struct {
	line  int // start of the current line
	pos   int // everything before was looked at
	lines int
}

// Scan looks for the end of the head in buf, whose earlier part it has seen before, and
// returns where the body begins, or ErrIncomplete. With lenient a bare LF ends a line.
func (s *Scanner) Scan(buf []byte, lim Limits, lenient bool) (int, error) {
	for {
		i := bytes.IndexByte(buf[s.pos:], '\n')
		if i < 0 {
			s.pos = len(buf)
			if s.lines == 0 && len(buf)-s.line > lim.Line {
				return 0, refuse(414, "request line too long")
			}
			if len(buf) > lim.Head {
				return 0, refuse(431, "head too large")
			}
			return 0, ErrIncomplete
		}
		end := s.pos + i
		empty := end == s.line
		if end > s.line && buf[end-1] == '\r' {
			empty = end-1 == s.line
		} else if !lenient {
			return 0, refuse(400, "bare LF")
		}
		switch {
		case s.lines == 0 && empty:
			if end > 3 {
				return 0, refuse(400, "empty lines before the request line")
			}
		case s.lines == 0 && end-s.line > lim.Line:
			return 0, refuse(414, "request line too long")
		case end >= lim.Head || s.lines > lim.Fields:
			return 0, refuse(431, "head too large")
		case empty:
			return end + 1, nil
		default:
			s.lines++
		}
		s.pos, s.line = end+1, end+1
	}
}

// Framing says how a body is delimited.
type Framing struct {
	Chunked    bool
	Length     int64 // -1: unknown
	UntilClose bool  // responses only
}

// Head is a parsed head of either kind.
type Head struct {
	Method string // of a request
	Target string // as sent
	Origin string // of a request: the target's path and query
	Host   string // of a request: the target's authority, or else the Host line, which is not in the header
	Status int    // of a response
	Phrase string
	Minor  int // HTTP/1.Minor

	Framing
	Close         bool // the connection ends with this message
	Expect        bool // the client waits for 100 Continue
	Upgrade       bool // Connection names upgrade
	MoreTokens    bool // Connection names other headers, which then are hop-by-hop
	ContentLength bool // there was a Content-Length line

	keepAlive, closes bool // what Connection says
}

// ParseRequest parses the head in buf, which Scan has delimited, and adds its lines to h,
// all but Host, Content-Length and Transfer-Encoding, whose content is in Head.
func ParseRequest(buf []byte, head *Head, h *gateway.Header) error {
	for bytes.HasPrefix(buf, crlf) { // an empty line or two before the first
		buf = buf[2:]
	}
	*head = Head{}
	eol := bytes.IndexByte(buf, '\n')
	line := buf[:eol-1]
	sp := bytes.IndexByte(line, ' ')
	if sp <= 0 || !ValidMethod(alias(line[:sp])) {
		return refuse(400, "bad method")
	}
	head.Method = alias(line[:sp])
	line = line[sp+1:]
	sp = bytes.IndexByte(line, ' ')
	if sp <= 0 {
		return refuse(400, "bad request line")
	}
	for _, c := range line[:sp] {
		if c <= 0x20 || c == 0x7f {
			return refuse(400, "control byte in the request target")
		}
	}
	head.Target = alias(line[:sp])
	if err := head.version(line[sp+1:]); err != nil {
		return err
	}
	if err := head.fields(buf[eol+1:], h, false); err != nil {
		return err
	}
	if head.Minor == 1 && !head.hostSeen() {
		return refuse(400, "no Host")
	}
	if !head.Chunked && !head.ContentLength {
		head.Length = 0
	}
	if head.Host == noHost {
		head.Host = ""
	}
	return head.target()
}

// ValidMethod reports whether a method is of the form that nginx takes: upper-case letters,
// hyphens and underscores. Others are valid by RFC 9110, and upstreams that fold case would
// take "get" for a GET that no route and no plugin saw as one.
func ValidMethod(m string) bool {
	for _, c := range []byte(m) {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return m != ""
}

// target reads the target's form (RFC 9112 section 3.2).
func (h *Head) target() error {
	t := h.Target
	switch {
	case t[0] == '/', h.Method == "CONNECT": // not "*": as in nginx, no route is for the server itself
		h.Origin = t
		return nil
	}
	scheme, rest, ok := strings.Cut(t, "://")
	if !ok || !gateway.EqualFold(scheme, "http") && !gateway.EqualFold(scheme, "https") {
		return refuse(400, "bad request target")
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	h.Host, h.Origin = rest[:end], rest[end:]
	if h.Host == "" || !ValidHost(h.Host) {
		return refuse(400, "bad authority in the request target")
	}
	return nil
}

// noHost marks in Head.Host, while the fields are read, that a Host line was there and empty.
const noHost = "\x00"

func (h *Head) hostSeen() bool { return h.Host != "" }

// ParseResponse parses a response's head. method is that of the request.
func ParseResponse(buf []byte, method string, head *Head, h *gateway.Header) error {
	*head = Head{}
	for bytes.HasPrefix(buf, crlf) || bytes.HasPrefix(buf, crlf[1:]) {
		buf = bytes.TrimPrefix(buf, crlf[:1])[1:]
	}
	eol := bytes.IndexByte(buf, '\n')
	line := trimCR(buf[:eol])
	if len(line) < 12 || line[8] != ' ' {
		return refuse(502, "bad status line")
	}
	if err := head.version(line[:8]); err != nil {
		return refuse(502, "bad status line")
	}
	status, err := strconv.Atoi(alias(line[9:12]))
	if err != nil || status < 100 || len(line) > 12 && line[12] != ' ' {
		return refuse(502, "bad status")
	}
	head.Status = status
	if len(line) > 13 {
		if !validValue(line[13:]) {
			return refuse(502, "bad reason phrase")
		}
		head.Phrase = alias(line[13:])
	}
	if err := head.fields(buf[eol+1:], h, true); err != nil {
		return err
	}
	switch {
	case method == "HEAD" || status < 200 || status == 204 || status == 304:
		head.Framing.Chunked, head.Framing.UntilClose = false, false
		if !head.ContentLength {
			head.Length = -1
		}
	case head.Chunked:
	case !head.ContentLength:
		head.Length, head.UntilClose, head.Close = -1, true, true
	}
	return nil
}

// NoBody reports whether a response to method has no body whatever its head says.
func (h *Head) NoBody(method string) bool {
	return method == "HEAD" || h.Status < 200 || h.Status == 204 || h.Status == 304
}

func (h *Head) version(b []byte) error {
	if len(b) != 8 || string(b[:5]) != "HTTP/" || b[6] != '.' || !isDigit(b[5]) || !isDigit(b[7]) {
		return refuse(400, "bad protocol version")
	}
	if b[5] != '1' || b[7] > '1' {
		return refuse(505, "unsupported protocol version")
	}
	h.Minor = int(b[7] - '0')
	return nil
}

// fields parses the header lines up to the empty one.
func (h *Head) fields(b []byte, to *gateway.Header, response bool) error {
	badStatus := 400
	if response {
		badStatus = 502
	}
	for {
		eol := bytes.IndexByte(b, '\n')
		line := trimCR(b[:eol])
		b = b[eol+1:]
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) { // also a continued line, which begins with a space
			return refuse(badStatus, "bad header name")
		}
		value := trimSpace(line[colon+1:])
		if !validValue(value) {
			return refuse(badStatus, "bad header value")
		}
		name := alias(line[:colon])
		v := alias(value)
		keep, err := h.special(name, v, response, badStatus)
		if err != nil {
			return err
		}
		if keep {
			to.AddValid(name, v)
		}
	}
	h.Close = h.closes || h.Minor == 0 && !h.keepAlive
	if h.Chunked && h.ContentLength {
		return refuse(badStatus, "Content-Length and Transfer-Encoding together")
	}
	if h.Chunked {
		h.Length = -1
		if h.Minor == 0 {
			return refuse(badStatus, "Transfer-Encoding in HTTP/1.0")
		}
	}
	return nil
}

// special acts on the lines that concern framing and the connection. It reports whether
// the line belongs into the header.
func (h *Head) special(name, v string, response bool, badStatus int) (keep bool, err error) {
	switch len(name) {
	case len("Host"):
		if response || !gateway.EqualFold(name, "Host") {
			return true, nil
		}
		if h.hostSeen() {
			return false, refuse(400, "more than one Host")
		}
		if !ValidHost(v) {
			return false, refuse(400, "bad Host")
		}
		h.Host = v
		if v == "" {
			h.Host = noHost
		}
		return false, nil
	case len("Expect"):
		if !response && gateway.EqualFold(name, "Expect") {
			if !gateway.EqualFold(v, "100-continue") {
				return false, refuse(417, "unknown expectation")
			}
			h.Expect = h.Minor == 1
			return false, nil
		}
	case len("Connection"):
		if gateway.EqualFold(name, "Connection") {
			h.connection(v)
		}
	case len("Content-Length"):
		if gateway.EqualFold(name, "Content-Length") {
			n, ok := parseLength(v)
			if !ok || h.ContentLength && (!response || n != h.Length) {
				return false, refuse(badStatus, "bad or repeated Content-Length")
			}
			h.ContentLength, h.Length = true, n
			return false, nil
		}
	case len("Transfer-Encoding"):
		if gateway.EqualFold(name, "Transfer-Encoding") {
			if h.Chunked {
				return false, refuse(badStatus, "repeated Transfer-Encoding")
			}
			if !gateway.EqualFold(v, "chunked") {
				if response {
					return false, refuse(502, "unknown transfer coding")
				}
				return false, refuse(501, "unknown transfer coding")
			}
			h.Chunked = true
			return false, nil
		}
	}
	return true, nil
}

func (h *Head) connection(v string) {
	switch {
	case gateway.EqualFold(v, "keep-alive"):
		h.keepAlive = true
	case gateway.EqualFold(v, "close"):
		h.closes = true
	default:
		h.keepAlive = h.keepAlive || gateway.HasToken(v, "keep-alive")
		h.closes = h.closes || gateway.HasToken(v, "close")
		h.Upgrade = h.Upgrade || gateway.HasToken(v, "upgrade")
		h.MoreTokens = true
	}
}

// parseLength reads a Content-Length: digits and nothing else.
func parseLength(v string) (int64, bool) {
	if v == "" || len(v) > 18 {
		return 0, false
	}
	var n int64
	for i := range len(v) {
		if !isDigit(v[i]) {
			return 0, false
		}
		n = n*10 + int64(v[i]-'0')
	}
	return n, true
}

// ValidOrigin reports whether t may be a target in origin form: a path and perhaps a query.
func ValidOrigin(t string) bool {
	for i := range len(t) {
		if t[i] <= ' ' || t[i] == 0x7f {
			return false
		}
	}
	return t != "" && t[0] == '/'
}

// ValidHost reports whether v may stand in Host: a host in the characters of RFC 3986,
// optionally a port.
func ValidHost(v string) bool {
	for i := range len(v) {
		if !hostByte[v[i]] {
			return false
		}
	}
	return true
}

func validValue(b []byte) bool {
	for _, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func isToken(b []byte) bool {
	for _, c := range b {
		if !tokenByte[c] {
			return false
		}
	}
	return len(b) > 0
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func trimCR(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\r' {
		return b[:n-1]
	}
	return b
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

func byteSet(extra string) (t [256]bool) {
	for c := range t {
		t[c] = '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
	}
	for i := range len(extra) {
		t[extra[i]] = true
	}
	return t
}

var (
	crlf      = []byte("\r\n")
	tokenByte = byteSet("!#$%&'*+-.^_`|~")
	hostByte  = byteSet("-._~!$&'()*+,;=:[]%")
)

package gateway

import (
	"context"
	"crypto/tls"
	"io"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway/balancer"
)

// Exchange is one request and its answer: the only type plugins see, whatever HTTP
// engine carries it. It is owned by one goroutine at a time and reused afterwards, so a
// plugin must not keep it, and every string and slice it hands out is valid only until
// the exchange ends: they may lie in a connection's read buffer. Clone what must live
// longer (strings.Clone).
//
// Life: the engine fills Conn, Request and the body; Gateway.Access routes and runs the
// rewrite and access plugins; then either a plugin has answered (Answered), or the
// engine forwards the request as Upstream says, hands the answer's head to
// Gateway.HeaderFilter and its body to Gateway.BodyFilter. Gateway.Log ends it.
type Exchange struct {
	Conn     *Conn
	Request  Request
	Response Response
	Upstream Upstream
	Times    Times

	ctx        context.Context
	gw         *Gateway
	snap       *snapshot
	chain      *chain
	query      Query // in here, so that it is not allocated for each request
	match      Match
	consumer   *Consumer
	credential *Credential
	groups     []string
	anonymous  bool
	tries      []Try
	tried      []netip.AddrPort  // of tries whose address was chosen among several
	peer       *balancer.Address // of the attempt in progress
	hash       uint64
	hashed     bool
	buffers    bool           // BufferResponse was called
	setCookie  string         // tells the client what it was hashed by
	client     netip.AddrPort // where it is not the connection's peer
	clientIP   string
	answered   bool
	acted      bool
	forwarded  bool
	idDone     bool
	id         [32]byte
	values     []value
	sent       []byte // lines of the head that the client got
	body       requestBody
}

// Conn is what the exchanges of one client connection share.
type Conn struct {
	Peer       netip.AddrPort // the other end; see Exchange.Client
	PeerIP     string         // Peer's address in text
	Trusted    bool           // what the peer tells of clients is believed
	Local      netip.AddrPort // our end
	ServerPort int
	TLS        *tls.ConnectionState // nil for clear text
}

// Request is the client's request. Plugins may change Method, Header, RawQuery and, by
// SetBody, the body; the change goes to the upstream.
type Request struct {
	Method    string
	Scheme    string // http or https
	Proto     int    // major version of HTTP: 1 or 2
	Minor     int
	Authority string // the Host header or :authority as sent
	Host      string // Authority's host in lower case, without port
	Port      int    // Authority's port, else the port the connection came in on
	RawPath   string // as sent
	Path      string // normalised; see NormalizePath
	RawQuery  string // as sent, without the question mark
	HasQuery  bool   // there was a question mark
	Header    Header // without Host; hop-by-hop lines are still there
	Trailer   *Header
	Length    int64 // of the body; -1 where it is unknown
	Forwarded Forwarded
	Expect    bool // the client waits to be asked for the body (HTTP/1 alone)
}

// Response is the answer on its way to the client. Of an upstream's answer, the Header has
// no Content-Length: that is Length, and a BodyFilter makes it void.
type Response struct {
	Status int
	Header Header
	Body   []byte        // of an answer a plugin gave, and while Responders act; else an upstream's body is streamed
	Stream io.ReadCloser // of an answer a plugin gave by RespondStream; the engine closes it
	Length int64         // of an upstream's body; -1 where it is unknown
	// Trailer is that of an upstream's answer over HTTP/2, from when its body has ended: body
	// filters have it with the last chunk, all of them where the answer is read as a whole.
	Trailer Header
}

// Upstream says where and how the request is forwarded. It is set when a route has
// matched; access plugins may change it.
type Upstream struct {
	Service    *Service // nil where the route has none
	Path       string   // normalised; escaped when it is sent
	HostHeader string
	Address    netip.AddrPort // where the attempt in progress goes

	callsGRPC   bool
	derived     bool   // HostHeader follows from where the request goes
	derivedHost string // what it was last derived as: anything else was set by a plugin
}

// Retarget forwards the request to another service than the route's: a copy of it that
// edit has changed. Authority and HostHeader follow from the copy; the client's Host is
// not preserved where the request goes to another host or port. A Host that names an
// upstream is balanced as a service's is. It does nothing where there is no service.
func (u *Upstream) Retarget(edit func(*Service)) {
	if u.Service == nil {
		return
	}
	s := *u.Service
	edit(&s)
	s.address()
	if s.Host != u.Service.Host || s.Port != u.Service.Port || s.Protocol != u.Service.Protocol {
		u.derive(s.HostHeader)
	}
	u.Service = &s
}

func (u *Upstream) derive(host string) { u.HostHeader, u.derivedHost, u.derived = host, host, true }

// Times are the readings a log needs. The zero time stands for "not reached".
type Times struct {
	Start          time.Time // the request's head was read
	UpstreamStart  time.Time // the first attempt began
	UpstreamHeader time.Time // the upstream's head was read
	End            time.Time // the answer was written
	HeadIn         int       // bytes of the request's head; 0 where the engine cannot tell
	HeadOut        int       // bytes of the answer's head; 0 where the engine cannot tell
	BytesIn        int64     // of the request's body
	BytesOut       int64     // of the answer's body
	UpstreamStatus int
	ClientGone     bool // the client left before the answer was written
}

// CallGRPC turns the request into a call of gRPC, whatever the client speaks: of the method
// at path, with body, which is frames. It is for plugins that translate the answer as well.
func (x *Exchange) CallGRPC(path string, body []byte) {
	r := &x.Request
	r.Method, r.RawQuery, r.HasQuery = "POST", "", false
	r.Header.Set("Content-Type", "application/grpc")
	r.Header.Set("TE", "trailers")
	r.Header.Del("Accept-Encoding")
	r.Header.Del("Grpc-Accept-Encoding") // what is compressed could not be translated
	x.SetBody(body)
	x.Upstream.Path, x.Upstream.callsGRPC = path, true
}

// CallsGRPC reports whether CallGRPC was called.
func (u *Upstream) CallsGRPC() bool { return u.callsGRPC }

type value struct{ key, value any }

func (x *Exchange) reset() {
	req, resp := x.Request.Header, x.Response.Header
	req.Reset()
	resp.Reset()
	values := x.values
	for i := range values {
		if c, ok := values[i].value.(io.Closer); ok {
			_ = c.Close() // it gives something back; nobody is left to hear of an error
		}
	}
	clear(values)
	body := x.body
	body.reset()
	*x = Exchange{gw: x.gw, values: values[:0], tries: x.tries[:0], tried: x.tried[:0], sent: x.sent[:0], body: body}
	x.Request.Header, x.Response.Header = req, resp
}

// Context is done when the client has gone or the node is told to stop.
func (x *Exchange) Context() context.Context {
	if x.ctx == nil {
		return context.Background()
	}
	return x.ctx
}

// SetContext is for the engine.
func (x *Exchange) SetContext(ctx context.Context) { x.ctx = ctx }

// ID returns the request id, 32 hexadecimal digits, under which the request appears in
// every log, at the upstream, and in error bodies.
func (x *Exchange) ID() string { return aliasString(x.idBytes()) }

func (x *Exchange) idBytes() []byte {
	if !x.idDone {
		const digits = "0123456789abcdef"
		for half := range 2 {
			v := rand.Uint64() // unique, not secret
			for i := range 16 {
				x.id[half*16+i] = digits[v&15]
				v >>= 4
			}
		}
		x.idDone = true
	}
	return x.id[:]
}

// Route returns the matched route, nil where none matched.
func (x *Exchange) Route() *Route { return x.match.Route }

// Match returns the matched route with what of the path it matched.
func (x *Exchange) Match() Match { return x.match }

// Consumer returns the authenticated consumer, or nil.
func (x *Exchange) Consumer() *Consumer { return x.consumer }

// Credential returns the credential the request was authenticated by, or nil.
func (x *Exchange) Credential() *Credential { return x.credential }

// Groups returns the groups an authentication plugin found the client to be in without a
// consumer: of a certificate, a directory, a token.
func (x *Exchange) Groups() []string { return x.groups }

// SetGroups records the groups, and tells the upstream.
func (x *Exchange) SetGroups(groups []string) {
	x.groups = groups
	x.Request.Header.Set(headerGroups, strings.Join(groups, ", "))
}

// Headers that tell the upstream who was authenticated.
const (
	headerGroups           = "X-Authenticated-Groups"
	headerConsumerID       = "X-Consumer-ID"
	headerConsumerCustomID = "X-Consumer-Custom-ID"
	headerConsumerUsername = "X-Consumer-Username"
	headerCredential       = "X-Credential-Identifier"
	headerAnonymous        = "X-Anonymous-Consumer"
)

// Authenticate records who the request is from, and tells the upstream in the
// X-Consumer-* headers, after removing any the client sent. A nil credential makes it
// the anonymous consumer; a nil consumer is a client that is known by its credential
// alone. From here on the plugins configured for the consumer apply.
func (x *Exchange) Authenticate(c *Consumer, cred *Credential) {
	x.consumer, x.credential, x.anonymous = c, cred, cred == nil
	h := &x.Request.Header
	setOrDel := func(name, value string) {
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
	}
	if c == nil {
		c = &Consumer{}
	}
	setOrDel(headerConsumerID, c.ID)
	setOrDel(headerConsumerCustomID, c.CustomID)
	setOrDel(headerConsumerUsername, c.Username)
	if cred == nil {
		h.Del(headerCredential)
		h.Set(headerAnonymous, "true")
		return
	}
	setOrDel(headerCredential, cred.Identifier)
	h.Del(headerAnonymous)
}

// Respond ends the exchange with an answer of ours: no further access plugin runs and
// nothing is forwarded. It may be called in the rewrite, access and response phases. body
// must not change until the exchange ends.
func (x *Exchange) Respond(status int, body []byte, headers ...Field) {
	if x.forwarded { // by a Responder: nothing of the upstream's answer stays
		x.Response.Header.Reset()
		x.forwarded = false
	}
	x.answered = true
	x.Response.Status = status
	x.Response.Body = body
	x.Response.Length = int64(len(body))
	for _, f := range headers {
		x.Response.Header.Add(f.Name, f.Value)
	}
}

// RespondStream is Respond with a body that is sent as it can be read, each piece at once.
func (x *Exchange) RespondStream(status int, body io.ReadCloser, headers ...Field) {
	x.Respond(status, nil, headers...)
	x.Response.Stream, x.Response.Length = body, -1
}

// Answered reports whether Respond or Fail was called.
func (x *Exchange) Answered() bool { return x.answered }

// Acted reports whether any plugin has acted on the request, which may have taken time.
func (x *Exchange) Acted() bool { return x.acted }

// FromUpstream reports whether the answer came from an upstream.
func (x *Exchange) FromUpstream() bool { return x.forwarded }

// SetForwarded is for the engine: the answer's head came from the upstream.
func (x *Exchange) SetForwarded() { x.forwarded = true; x.answered = false }

// Put keeps a value for the rest of the exchange under key, which should be a pointer
// or a value of a type private to the plugin. What is an io.Closer is closed when the
// exchange has ended.
func (x *Exchange) Put(key, v any) {
	for i := range x.values {
		if x.values[i].key == key {
			x.values[i].value = v
			return
		}
	}
	x.values = append(x.values, value{key, v})
}

// Value returns what Put kept under key, or nil.
func (x *Exchange) Value(key any) any {
	for i := range x.values {
		if x.values[i].key == key {
			return x.values[i].value
		}
	}
	return nil
}

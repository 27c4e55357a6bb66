package gatewaytest

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/netip"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
)

// Request is a request to put through a gateway's phases without a network.
type Request struct {
	Method string // GET
	Target string // /
	Host   string
	IP     string   // 127.0.0.1
	Header []string // names and values by turns
	Body   string
	Ctx    context.Context
	TLS    *tls.ConnectionState // nil: clear text
	Minor  int                  // of HTTP/1

	// What the upstream answers, with status 200 unless Status says another.
	Status     int
	Answer     []string // header names and values by turns
	AnswerBody string
}

// Result is what became of it.
type Result struct {
	Status   int // 0: it was forwarded
	Answered int // the status of the upstream's answer as the client gets it; 0 where it was not forwarded
	Header   *gateway.Header
	Body     string          // of either
	Broken   error           // why a streamed body did not come to its end
	Upstream *gateway.Header // the request's header as the upstream would get it
	Query    string
	Sent     string // the body the upstream would get, where a plugin has read it
	Consumer string
}

// Do puts a request through all phases.
func Do(g *gateway.Gateway, r Request) Result {
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&r.Method, "GET")
	def(&r.Target, "/")
	def(&r.IP, "127.0.0.1")
	x := g.Begin()
	defer g.End(x)
	x.Conn = &gateway.Conn{Peer: netip.MustParseAddrPort(r.IP + ":1"), PeerIP: r.IP, ServerPort: 80, TLS: r.TLS}
	x.Request.Method, x.Request.Scheme, x.Request.Proto, x.Request.Authority = r.Method, "http", 1, r.Host
	x.Request.Minor = r.Minor
	if r.TLS != nil {
		x.Request.Scheme = "https"
	}
	if r.Ctx != nil {
		x.SetContext(r.Ctx)
	}
	for i := 0; i < len(r.Header); i += 2 {
		x.Request.Header.Add(r.Header[i], r.Header[i+1])
	}
	gateway.SetTarget(&x.Request, r.Target, 80)
	if r.Body != "" {
		x.SetSource(strings.NewReader(r.Body), int64(len(r.Body)))
	}
	g.Access(x)
	out := Result{Header: new(gateway.Header), Upstream: new(gateway.Header), Query: strings.Clone(x.Request.RawQuery)}
	if !x.Answered() {
		answer(g, x, r)
	}
	g.HeaderFilter(x)
	out.Body = string(x.Response.Body)
	if s := x.Response.Stream; s != nil {
		read, err := io.ReadAll(s)
		out.Body, out.Broken = string(read), err
		s.Close()
	}
	if x.FiltersBody() && x.Response.Stream == nil {
		half := len(x.Response.Body) / 2
		first := string(g.BodyFilter(x, []byte(out.Body[:half]), false))
		out.Body = first + string(g.BodyFilter(x, []byte(out.Body[half:]), true))
	}
	if x.FromUpstream() {
		out.Answered = x.Response.Status
	} else {
		out.Status = x.Response.Status
	}
	for _, f := range x.Response.Header.Fields() {
		out.Header.Add(f.Name, strings.Clone(f.Value))
	}
	for _, f := range x.Request.Header.Fields() {
		out.Upstream.Add(f.Name, strings.Clone(f.Value))
	}
	if b, ok := x.Buffered(); ok {
		out.Sent = string(b)
	}
	if c := x.Consumer(); c != nil {
		out.Consumer = c.Username
	}
	return out
}

// answer plays the upstream.
func answer(g *gateway.Gateway, x *gateway.Exchange, r Request) {
	x.SetForwarded()
	x.Response.Status = r.Status
	if r.Status == 0 {
		x.Response.Status = 200
	}
	x.Response.Header.Reset()
	for i := 0; i < len(r.Answer); i += 2 {
		x.Response.Header.Add(r.Answer[i], r.Answer[i+1])
	}
	x.Response.Body, x.Response.Length = []byte(r.AnswerBody), int64(len(r.AnswerBody))
	if x.BuffersResponse() {
		g.Response(x)
	}
}

// Says reports whether a result is an error of the gateway's with the message.
func Says(r Result, message string) bool {
	var body struct {
		Message string `json:"message"`
	}
	return json.Unmarshal([]byte(r.Body), &body) == nil && body.Message == message
}

package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// clientConn is one HTTP/1 connection of a client.
type clientConn struct {
	stream
	meta         gateway.Conn
	told         source // by the PROXY protocol
	head         http1.Head
	body         http1.Body
	out          []byte
	state        atomic.Int32
	now          int64 // a recent reading of the clock, by Proxy.nanos
	closing      bool  // the connection ends with the exchange in progress
	sentContinue bool
	written      bool // something of the answer was written
	tunnel       bool // the connection became a tunnel, which has ended
	cut          bool // the answer broke off: the client must see that it is not whole
	upgrading    bool // the upstream was asked to upgrade
	// spare is an upstream's connection to give back when the exchange has ended: until
	// then its buffer holds the head of the answer.
	spare  *upstreamConn
	cancel context.CancelFunc
	ctx    context.Context
}

const (
	connIdle int32 = iota // waiting for the first byte of a request
	connBusy
	connDone
)

func (c *clientConn) drain() {
	if c.state.CompareAndSwap(connIdle, connDone) {
		c.Conn.SetReadDeadline(time.Unix(1, 0)) // wakes the reader
	}
}

func (c *clientConn) abort() { c.cancel(); c.Conn.Close() }

// serveConn serves one accepted connection until it ends.
func (p *Proxy) serveConn(raw net.Conn, secure *tls.Config) {
	defer raw.Close()
	if tc, ok := raw.(*net.TCPConn); ok {
		tc.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
	raw = direct(raw)
	c := &clientConn{}
	c.stream = stream{Conn: raw, p: p, buf: make([]byte, smallBuffer), readWait: p.cfg.BodyTimeout}
	c.meta.Peer, c.meta.Local = addrPort(raw.RemoteAddr()), addrPort(raw.LocalAddr())
	c.meta.ServerPort = int(c.meta.Local.Port())
	c.meta.PeerIP = c.meta.Peer.Addr().String()
	c.meta.Trusted = p.cfg.Trust.Trusts(c.meta.Peer.Addr())
	c.ctx, c.cancel = context.WithCancel(context.Background())
	defer c.cancel()
	p.track(c)
	defer p.untrack(c)
	if p.cfg.ProxyProtocol {
		raw.SetDeadline(time.Now().Add(p.cfg.HeadTimeout))
		var err error
		if c.told, err = readSource(raw); err != nil {
			p.log.Debug("refused a connection", "peer", c.meta.PeerIP, "err", err)
			return
		}
		raw.SetDeadline(time.Time{})
	}
	if secure != nil {
		tc := tls.Server(raw, secure)
		raw.SetDeadline(time.Now().Add(p.cfg.HeadTimeout))
		if err := tc.HandshakeContext(c.ctx); err != nil {
			return
		}
		raw.SetDeadline(time.Time{})
		state := tc.ConnectionState()
		c.meta.TLS, c.Conn = &state, tc
		if state.NegotiatedProtocol == "h2" {
			p.untrack(c)
			p.serve2(tc, c)
			return
		}
		defer tc.Close()
	}
	p.loop(c)
}

func addrPort(a net.Addr) netip.AddrPort {
	var ap netip.AddrPort
	switch t := a.(type) {
	case *net.TCPAddr:
		ap = t.AddrPort()
	case *net.UDPAddr:
		ap = t.AddrPort()
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// h2Preface begins a connection that speaks HTTP/2 by prior knowledge.
const h2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// loop serves requests until the connection ends.
func (p *Proxy) loop(c *clientConn) {
	c.now = p.nanos()
	for first := true; ; first = false {
		if c.r == c.w {
			if cap(c.out) > maxIdleOut {
				c.out = nil
			}
			c.state.Store(connIdle)
			if p.stopping.Load() {
				return
			}
			c.extendRead(c.now, p.cfg.IdleTimeout)
			if c.fill() != nil || !c.state.CompareAndSwap(connIdle, connBusy) {
				return
			}
		} else {
			c.state.Store(connBusy)
		}
		if first && c.meta.TLS == nil && c.maybeH2() {
			if c.isH2() {
				p.untrack(c)
				p.serve2(&prefixConn{c.Conn, c.buf[c.r:c.w]}, c)
				return
			}
		}
		if !p.request(c) {
			return
		}
		c.next()
	}
}

// maybeH2 reports whether what was read may be the beginning of HTTP/2's preface.
func (c *clientConn) maybeH2() bool {
	w := c.Window()
	n := min(len(w), len(h2Preface))
	return string(w[:n]) == h2Preface[:n]
}

// isH2 waits for the whole preface, or for the first byte that differs.
func (c *clientConn) isH2() bool {
	c.extendRead(c.p.nanos(), c.p.cfg.HeadTimeout)
	for c.maybeH2() {
		if len(c.Window()) >= len(h2Preface) {
			return true
		}
		if c.fill() != nil {
			return false
		}
	}
	return false
}

// prefixConn is a connection of which some bytes have been read already.
type prefixConn struct {
	net.Conn
	prefix []byte
}

func (c *prefixConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends what is sent, where the connection can.
func (c *prefixConn) CloseWrite() error {
	if hc, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return hc.CloseWrite()
	}
	return errors.ErrUnsupported
}

// request serves one request and reports whether the connection goes on.
func (p *Proxy) request(c *clientConn) (keep bool) {
	x := p.gw.Begin()
	x.Conn = &c.meta
	c.head = http1.Head{Minor: 1} // an error before the head is parsed must not find the last one's
	c.closing, c.sentContinue, c.written, c.tunnel, c.cut, c.upgrading = false, false, false, false, false, false
	ended := false
	defer func() {
		if r := recover(); r != nil {
			p.log.Error("panic while serving a request", "panic", r, "request_id", x.ID(), "stack", string(debug.Stack()))
			keep = false
			if !c.written && !ended {
				x.FailPlain(500, "An unexpected error occurred")
				c.closing = true
				c.reply(x)
			}
		}
		if !ended {
			if x.Times.End.IsZero() {
				x.Times.End = time.Now()
			}
			c.now = p.at(x.Times.End)
			p.gw.End(x)
		}
		if c.spare != nil {
			p.upstreams.put(c.spare, c.now)
			c.spare = nil
		}
	}()
	err := c.readHead(x)
	if err == nil {
		err = c.fillExchange(x)
	}
	if err != nil {
		var bad *http1.BadMessage
		status, message := 0, ""
		switch {
		case errors.As(err, &bad):
			status, message = bad.Status, badRequestText(bad.Status)
			p.log.Debug("refused a request", "client", c.meta.PeerIP, "reason", bad.Reason)
		case isTimeout(err) && c.w > c.r:
			status, message = 408, "Request timeout"
		default:
			ended = true
			p.gw.Discard(x)
			return false
		}
		c.closing = true
		x.Times.Start = time.Now()
		x.FailPlain(status, message)
		c.reply(x)
		c.linger()
		return false
	}
	p.stats.Requests.Add(1)
	x.Times.Start = time.Now()
	c.now = p.at(x.Times.Start)
	x.SetContext(c.ctx)
	c.body.Reset(&c.stream, c.head.Framing)
	if !c.body.Done() {
		x.SetSource(&clientBody{c}, c.head.Length)
	} else {
		x.SetSource(nil, 0)
	}
	if isUnserved(c.head.Method) {
		x.FailPlain(405, "Method not allowed")
	} else {
		p.gw.Access(x)
	}
	if x.Answered() {
		c.reply(x)
	} else {
		p.forward(c, x)
	}
	if c.tunnel {
		return false
	}
	x.Times.BytesIn = c.body.Count()
	if c.cut {
		c.reset()
		return false
	}
	return c.settle()
}

// isUnserved reports whether a method is refused whatever the routes say: CONNECT, and TRACE,
// which would show a page the headers that it must not see.
func isUnserved(method string) bool { return method == "CONNECT" || method == "TRACE" }

// reset ends the connection so that the client cannot take a cut answer for a whole one.
func (c *clientConn) reset() {
	conn := c.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	if tc, ok := conn.(interface{ SetLinger(int) error }); ok {
		tc.SetLinger(0)
	}
	conn.Close()
}

// readHead reads and parses a request's head.
func (c *clientConn) readHead(x *gateway.Exchange) error {
	var scan http1.Scanner
	waited := false
	for {
		n, err := scan.Scan(c.buf[c.r:c.w], c.p.limits, false)
		if err == nil {
			if err := http1.ParseRequest(c.buf[c.r:c.r+n], &c.head, &x.Request.Header); err != nil {
				return err
			}
			x.Times.HeadIn = n
			c.r += n
			c.base = c.r
			return nil
		}
		if err != http1.ErrIncomplete {
			return err
		}
		if !waited {
			c.extendRead(c.p.nanos(), c.p.cfg.HeadTimeout) // for all of the head, however it drips in
			waited = true
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// fillExchange turns the parsed head into the exchange's request.
func (c *clientConn) fillExchange(x *gateway.Exchange) error {
	r, h := &x.Request, &c.head
	r.Method, r.Proto, r.Minor, r.Authority = h.Method, 1, h.Minor, h.Host
	r.Expect = h.Expect
	r.Scheme = "http"
	if c.meta.TLS != nil {
		r.Scheme = "https"
	}
	if h.MoreTokens {
		http1.DropNamed(&r.Header)
	}
	c.closing = h.Close
	c.p.cfg.Trust.apply(x, &c.told)
	if !gateway.SetTarget(r, h.Origin, c.meta.ServerPort) {
		return http1.Refuse(400, "the path cannot be normalised")
	}
	return nil
}

// clientBody is the request's body as plugins and upstreams read it. It asks the client
// for it first where the client waits to be asked.
type clientBody struct{ c *clientConn }

func (b *clientBody) Read(p []byte) (int, error) {
	if err := b.c.invite(); err != nil {
		return 0, err
	}
	return b.c.body.Read(p)
}

// invite sends 100 Continue once where the client expects it.
func (c *clientConn) invite() error {
	if !c.head.Expect || c.sentContinue || len(c.Window()) > 0 {
		return nil
	}
	c.sentContinue = true
	c.extendWrite(c.p.nanos(), c.p.cfg.SendTimeout)
	_, err := io.WriteString(c.Conn, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// maxSettle is how much of a body nobody wanted is read to keep the connection.
const maxSettle = 256 << 10

// settle gets what is left of the request's body out of the way, and reports whether the
// connection can take another request.
func (c *clientConn) settle() bool {
	if c.closing {
		if !c.body.Done() {
			c.linger()
		}
		return false
	}
	if c.body.Done() {
		return true
	}
	if c.head.Expect && !c.sentContinue || c.body.Left() > maxSettle {
		c.linger()
		return false
	}
	for total := 0; total <= maxSettle; {
		chunk, err := c.body.Next(largeBuffer)
		if err == io.EOF {
			return true
		}
		if err != nil {
			return false
		}
		total += len(chunk)
		c.body.Advance(len(chunk))
	}
	c.linger()
	return false
}

// maxLinger is how long a connection that ends is read from.
const maxLinger = 5 * time.Second

// linger half-closes the connection and reads what is still coming for a moment, so that
// the client gets to see the answer and not a reset.
func (c *clientConn) linger() {
	type halfCloser interface{ CloseWrite() error }
	if hc, ok := c.Conn.(halfCloser); !ok || hc.CloseWrite() != nil {
		return
	}
	c.Conn.SetReadDeadline(time.Now().Add(maxLinger))
	c.readAt = 0
	sink := c.p.large.Get().(*[]byte)
	defer c.p.large.Put(sink)
	for {
		if _, err := c.Conn.Read(*sink); err != nil {
			return
		}
	}
}

// gone reports whether the client has closed the connection. Bytes it sent before hide
// that; what they are is not looked at until their turn.
func (c *clientConn) gone() bool {
	conn := c.Conn
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	found := peekGone
	err = raw.Control(func(fd uintptr) { found = peek(fd) })
	return err != nil || found == peekGone
}

func badRequestText(status int) string {
	switch status {
	case 414:
		return "URI too long"
	case 417:
		return "Expectation failed"
	case 431:
		return "Request header or cookie too large"
	case 501:
		return "Transfer coding not supported"
	case 505:
		return "HTTP version not supported"
	}
	return "Bad request"
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func isTemporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ECONNABORTED) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

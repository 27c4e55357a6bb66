package proxy

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// forward sends the request to its upstream and the answer to the client.
func (p *Proxy) forward(c *clientConn, x *gateway.Exchange) {
	service := x.Upstream.Service
	if service.GRPC() {
		p.forwardGRPC(c, x)
		return
	}
	body, whole, err := c.payload(x)
	if err != nil {
		c.badBody(x, err)
		return
	}
	x.Times.UpstreamStart = x.Times.Start
	if x.Acted() || c.body.Count() > 0 { // else nothing took any time
		x.Times.UpstreamStart = time.Now()
		c.now = p.at(x.Times.UpstreamStart)
	}
	err = p.attempt(c.ctx, x, isIdempotent(x.Request.Method), func(uc *upstreamConn, now int64) (again bool, err error) {
		c.now = now
		if whole {
			return p.exchange(c, x, uc, body)
		}
		return false, p.exchangeStream(c, x, uc)
	})
	var client *clientError
	switch {
	case err == nil:
	case c.written:
		c.closing = true
	case err == errClientGone:
		c.closing, x.Times.ClientGone = true, true
		x.FailPlain(499, "Client closed request")
		c.reply(x)
	case errors.As(err, &client):
		c.badBody(x, client.err)
	default:
		unreachable(x, err)
		c.reply(x)
	}
}

// attempt has do try one connection after the other until one gives an answer, as the
// service's retries allow. now is a recent reading of the clock. again says that an error
// came before any byte of an answer; only a repeatable request is then sent once more.
// The error is that of the last attempt.
func (p *Proxy) attempt(ctx context.Context, x *gateway.Exchange, repeatable bool, do func(uc *upstreamConn, now int64) (again bool, err error)) error {
	service, start := x.Upstream.Service, x.Times.UpstreamStart
	fresh := false
	for try := 0; ; {
		if !fresh {
			if err := x.NextTry(start); err != nil {
				p.log.Info("no address for the upstream", "service", service.Name, "host", service.Host, "err", err)
				return err
			}
			try++
		}
		now := p.at(start)
		uc, err := p.upstreams.get(ctx, x, fresh, now)
		again := err != nil // nothing was sent: any request may be sent again
		if err == nil {
			if !uc.reused {
				now = p.nanos()
			}
			if again, err = do(uc, now); err == nil {
				return nil
			}
			uc.Conn.Close()
			start = time.Now()
			if fresh = again && repeatable && uc.reused; fresh {
				continue // a connection the upstream had given up is no attempt
			}
			again = again && repeatable
			var client *clientError
			if err == errClientGone || errors.As(err, &client) {
				return err // the upstream is not to blame
			}
		} else {
			fresh, start = false, time.Now()
			if ctx.Err() != nil {
				return errClientGone
			}
		}
		x.FailTry(failureCode(err))
		if !again || try > service.Retries {
			p.log.Info("upstream did not answer", "service", service.Name, "address", x.Upstream.Address, "err", err)
			return err
		}
	}
}

// clientError is an error of the client's side, met while its body was being forwarded.
type clientError struct{ err error }

func (e *clientError) Error() string { return e.err.Error() }

// badBody answers a request whose body cannot be read.
func (c *clientConn) badBody(x *gateway.Exchange, err error) {
	c.closing = true
	var bad *http1.BadMessage
	switch {
	case errors.As(err, &bad):
		x.FailPlain(bad.Status, badRequestText(bad.Status))
	case errors.Is(err, gateway.ErrBodyTooLarge):
		x.Fail(413, gateway.TooLargeMessage)
	case isTimeout(err):
		x.FailPlain(408, "Request timeout")
	default:
		x.Times.ClientGone = true
		x.FailPlain(400, badRequestText(400))
	}
	c.reply(x)
}

// payload returns the request's body where it is at hand as a whole: because there is
// none, a plugin has read it, it came with the head, or it is small and the route buffers
// requests. Otherwise the body has to be streamed.
func (c *clientConn) payload(x *gateway.Exchange) (body []byte, whole bool, err error) {
	if b, ok := x.Buffered(); ok {
		return b, true, nil
	}
	if x.Stream() == nil {
		return nil, true, c.invite() // as nginx: some clients wait before an empty body too
	}
	if n := c.head.Length; n > 0 && n <= int64(len(c.Window())) && c.body.Left() == n {
		body = c.Window()[:n]
		c.body.Advance(int(n))
		return body, true, nil
	}
	limit := c.p.cfg.BufferBody
	if !x.Route().RequestBuffering || x.Request.Length > int64(limit) {
		return nil, false, nil
	}
	body, err = x.Body(limit)
	if errors.Is(err, gateway.ErrBodyTooLarge) {
		return nil, false, nil
	}
	return body, err == nil, err
}

// exchange sends a request whose body is at hand and relays the answer. again says that
// an error came before any byte of an answer.
func (p *Proxy) exchange(c *clientConn, x *gateway.Exchange, uc *upstreamConn, body []byte) (again bool, err error) {
	service := x.Upstream.Service
	out := c.appendHead(uc.out[:0], x)
	if len(body) > 0 || wantsLength(x.Request.Method) {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	uc.extendWrite(c.now, service.WriteTimeout)
	uc.readWait = service.ReadTimeout
	if len(body) <= smallBuffer {
		out = append(out, body...)
		_, err = uc.Conn.Write(out)
	} else if _, err = uc.Conn.Write(out); err == nil {
		if err = uc.writeAll(body, service.WriteTimeout); err != nil {
			// It does not take the body, and may have said why.
			if _, silent := uc.readHead(x); silent == nil {
				uc.head.Close = true
				return false, p.relay(c, x, uc)
			}
		}
	}
	uc.out = out[:0]
	if err != nil {
		return true, err
	}
	now := c.now
	if len(body) > smallBuffer {
		now = p.nanos() // sending it took its time
	}
	if err = uc.await(c, now); err != nil {
		return err != errClientGone, err
	}
	if again, err = uc.readHead(x); err != nil {
		return again, err
	}
	return false, p.relay(c, x, uc)
}

// errClientGone says that the client left while its upstream was thinking.
var errClientGone = errors.New("proxy: the client closed the connection")

// await waits for the first byte of the answer. A client that leaves meanwhile ends the
// wait, so that requests nobody wants an answer to do not pile up on a slow upstream.
func (uc *upstreamConn) await(c *clientConn, now int64) error {
	for left := uc.readWait; ; {
		step := min(left, c.p.cfg.ClientCheck)
		uc.extendRead(now, step)
		err := uc.fill()
		if err == nil || !isTimeout(err) {
			return err
		}
		now = c.p.nanos()
		if left -= step; left <= 0 {
			return err
		}
		if c.gone() {
			return errClientGone
		}
	}
}

// writeAll writes p in pieces, each within wait.
func (uc *upstreamConn) writeAll(p []byte, wait time.Duration) error {
	for len(p) > 0 {
		uc.extendWrite(uc.p.nanos(), wait)
		n, err := uc.Conn.Write(p[:min(len(p), largeBuffer)])
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

// exchangeStream sends a request whose body is still arriving, and reads the answer at
// the same time: an upstream may answer before it has read everything, and some answer
// piece by piece.
func (p *Proxy) exchangeStream(c *clientConn, x *gateway.Exchange, uc *upstreamConn) error {
	service := x.Upstream.Service
	length := x.Request.Length
	out := c.appendHead(uc.out[:0], x)
	if length >= 0 {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, length, 10)
		out = append(out, "\r\n\r\n"...)
	} else {
		out = append(out, "Transfer-Encoding: chunked\r\n\r\n"...)
	}
	uc.extendWrite(c.now, service.WriteTimeout)
	_, err := uc.Conn.Write(out)
	uc.out = out[:0]
	if err != nil {
		return err
	}
	if err := c.invite(); err != nil {
		return &clientError{err}
	}
	uc.Conn.SetReadDeadline(time.Time{}) // until the body is sent the upstream may be silent
	uc.readAt = 0
	uc.readWait = service.ReadTimeout
	s := sender{done: make(chan struct{})}
	go func() {
		s.err = s.send(c, x, uc, service)
		if s.err != nil && s.client {
			uc.Conn.Close() // wakes the reader; the upstream must not take a cut body for a whole one
		} else {
			uc.Conn.SetReadDeadline(time.Now().Add(service.ReadTimeout))
		}
		close(s.done)
	}()
	_, err = uc.readHeadNoWait(x)
	if err != nil {
		uc.Conn.Close()
		if s.stop(c); s.client && !(s.cut && isTimeout(s.err)) {
			return &clientError{s.err}
		}
		return err // the upstream failed first; that the client's body was not read on is our doing
	}
	select {
	case <-s.done:
		if s.err != nil {
			uc.head.Close, c.closing = true, true
		}
	default: // an answer before the end of the request: the connection cannot go on
		uc.head.Close, c.closing = true, true
	}
	uc.readAt = 0
	err = p.relay(c, x, uc)
	select {
	case <-s.done:
	default:
		uc.Conn.Close()
		s.stop(c)
	}
	return err
}

// sender forwards a request's body while another goroutine reads the answer.
type sender struct {
	done   chan struct{}
	err    error
	client bool // err is the client's
	cut    bool // stop ended a read that was still waiting
}

// stop ends the sender, wherever it waits. The upstream's connection is closed already.
func (s *sender) stop(c *clientConn) {
	select {
	case <-s.done:
	default:
		s.cut = true
	}
	c.Conn.SetReadDeadline(time.Unix(1, 0))
	<-s.done
	c.readAt = 0
	if s.err != nil {
		c.closing = true
	}
}

func (s *sender) send(c *clientConn, x *gateway.Exchange, uc *upstreamConn, service *gateway.Service) error {
	src := x.Stream()
	if x.Request.Length < 0 || x.Request.Length > smallBuffer {
		c.enlarge()
	}
	buf := c.p.large.Get().(*[]byte)
	defer c.p.large.Put(buf)
	chunked := x.Request.Length < 0
	const head = 16 // room for a chunk's size before the data
	for {
		n, err := src.Read((*buf)[head : largeBuffer-2])
		if n > 0 {
			piece := (*buf)[head : head+n]
			if chunked {
				piece = frame(*buf, head, n)
			}
			uc.extendWrite(uc.p.nanos(), service.WriteTimeout)
			if _, werr := uc.Conn.Write(piece); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			s.client = true
			return err
		}
	}
	if chunked {
		uc.extendWrite(uc.p.nanos(), service.WriteTimeout)
		// Trailers stay here, as in Kong: a server that merges them into the header would
		// take them for what the gateway says.
		_, err := uc.Conn.Write(http1.AppendLastChunk(nil, nil))
		return err
	}
	return nil
}

// frame puts the size line of a chunk before buf[at:at+n] and its end behind, and returns
// the whole.
func frame(buf []byte, at, n int) []byte {
	var size [18]byte
	line := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
	copy(buf[at-len(line):], line)
	buf[at+n], buf[at+n+1] = '\r', '\n'
	return buf[at-len(line) : at+n+2]
}

// appendHead writes the head of the upstream's request, but for the body's framing and
// the empty line.
func (c *clientConn) appendHead(out []byte, x *gateway.Exchange) []byte {
	out, upgrade := appendHead(out, x, via)
	// Of upgrades only WebSocket's passes, as in Kong. One to HTTP/2 above all would open
	// a way to the upstream that no route and no plugin sees.
	c.upgrading = c.head.Upgrade && gateway.EqualFold(upgrade, websocket) && c.head.Minor == 1 && c.body.Done()
	if c.upgrading {
		return append(out, "Connection: upgrade\r\nUpgrade: websocket\r\n"...)
	}
	return append(out, "Connection: keep-alive\r\n"...)
}

// appendHead writes the head of the upstream's request, but for Connection, the body's
// framing and the empty line, and returns what the client wants to upgrade to. via is how
// the request came.
func appendHead(out []byte, x *gateway.Exchange, via string) (_ []byte, upgrade string) {
	r := &x.Request
	out = append(out, r.Method...)
	out = append(out, ' ')
	out = gateway.AppendTarget(out, x.Upstream.Path, r.RawQuery, r.HasQuery)
	out = append(out, " HTTP/1.1\r\nHost: "...)
	out = append(out, x.Upstream.HostHeader...)
	out = append(out, "\r\n"...)
	var forwardedFor, priorVia string
	trailers := false
	for i := range r.Header.Fields() {
		f := &r.Header.Fields()[i]
		switch f.Name[0] | 0x20 {
		case 'x':
			if len(f.Name) == len("X-Forwarded-For") && gateway.EqualFold(f.Name, "X-Forwarded-For") {
				if forwardedFor == "" {
					forwardedFor = f.Value
				} else {
					forwardedFor += ", " + f.Value
				}
				continue
			}
			if replacedHeader(f.Name) {
				continue
			}
		case 'v':
			if gateway.EqualFold(f.Name, "Via") {
				priorVia = f.Value
				continue
			}
		case 't', 'u', 'c', 'k', 'p':
			if http1.HopByHop(f.Name) {
				if gateway.EqualFold(f.Name, "Upgrade") {
					upgrade = f.Value
				} else if gateway.EqualFold(f.Name, "TE") && gateway.HasToken(f.Value, "trailers") {
					trailers = true
				}
				continue
			}
		}
		out = http1.AppendField(out, f.Name, f.Value)
	}
	out = append(out, "X-Forwarded-For: "...)
	if forwardedFor != "" {
		out = append(out, forwardedFor...)
		out = append(out, ", "...)
		out = append(out, x.Conn.PeerIP...)
	} else {
		out = append(out, x.ClientIP()...)
	}
	f := forwardedOf(x)
	out = append(out, "\r\nX-Forwarded-Proto: "...)
	out = append(out, f.Proto...)
	out = append(out, "\r\nX-Forwarded-Host: "...)
	out = append(out, f.Host...)
	out = append(out, "\r\nX-Forwarded-Port: "...)
	if f.Port != "" {
		out = append(out, f.Port...)
	} else {
		out = strconv.AppendInt(out, int64(x.Conn.ServerPort), 10)
	}
	out = append(out, "\r\nX-Forwarded-Path: "...)
	out = append(out, f.Path...)
	if f.Prefix != "" {
		out = append(out, "\r\nX-Forwarded-Prefix: "...)
		out = append(out, f.Prefix...)
	} else if prefix := strippedPrefix(x); prefix != "" {
		out = append(out, "\r\nX-Forwarded-Prefix: "...)
		out = gateway.AppendTarget(out, prefix, "", false)
	}
	out = append(out, "\r\nX-Real-IP: "...)
	out = append(out, x.ClientIP()...)
	out = append(out, "\r\nVia: "...)
	if priorVia != "" {
		out = append(out, priorVia...)
		out = append(out, ", "...)
	}
	out = append(out, via...)
	out = append(out, "\r\nX-Kong-Request-Id: "...)
	out = append(out, x.ID()...)
	out = append(out, "\r\n"...)
	if trailers {
		out = append(out, "TE: trailers\r\n"...)
	}
	return out, upgrade
}

// forwardedOf is what the upstream is told of the request: what a trusted peer says, else
// what is seen here. An empty port stands for the one the connection came in on, an empty
// prefix for the one that the route strips.
func forwardedOf(x *gateway.Exchange) gateway.Forwarded {
	f := x.Request.Forwarded
	f.Proto, f.Host = x.ForwardedProto(), x.ForwardedHost()
	if f.Path == "" {
		f.Path = x.Request.RawPath
	}
	return f
}

// strippedPrefix is what the route strips of the path, where that is more than the slash.
func strippedPrefix(x *gateway.Exchange) string {
	if p := x.Match().Prefix; p != "/" {
		return p
	}
	return ""
}

const websocket = "websocket"

// replacedHeader reports whether a header that begins with an X is one that the gateway
// sets itself, whatever the client sent.
func replacedHeader(name string) bool {
	switch len(name) {
	case len("X-Real-IP"):
		return gateway.EqualFold(name, "X-Real-IP")
	case len("X-Forwarded-Proto"): // also X-Kong-Request-Id
		return gateway.EqualFold(name, "X-Forwarded-Proto") || gateway.EqualFold(name, "X-Kong-Request-Id")
	case len("X-Forwarded-Host"): // also -Port, -Path
		return gateway.EqualFold(name, "X-Forwarded-Host") || gateway.EqualFold(name, "X-Forwarded-Port") ||
			gateway.EqualFold(name, "X-Forwarded-Path")
	case len("X-Forwarded-Prefix"):
		return gateway.EqualFold(name, "X-Forwarded-Prefix")
	}
	return false
}

// readHead reads the answer's head. again says that an error came before its first byte.
func (uc *upstreamConn) readHead(x *gateway.Exchange) (again bool, err error) {
	return uc.readHeadWithin(x, uc.readWait)
}

// readHeadNoWait is readHead within the deadline that is set.
func (uc *upstreamConn) readHeadNoWait(x *gateway.Exchange) (again bool, err error) {
	return uc.readHeadWithin(x, 0)
}

// maxInterim is how many answers of 1xx may come before the one that counts.
const maxInterim = 32

// readHeadWithin moves the deadline, where wait is not 0, once more has to be read.
func (uc *upstreamConn) readHeadWithin(x *gateway.Exchange, wait time.Duration) (again bool, err error) {
	limits := http1.Limits{Line: 64 << 10, Head: 64 << 10, Fields: 1000}
	for interim := 0; ; interim++ {
		if interim > maxInterim {
			return false, http1.Refuse(502, "too many answers that are none yet")
		}
		var scan http1.Scanner
		for {
			n, err := scan.Scan(uc.buf[uc.r:uc.w], limits, true)
			if err == nil {
				x.Response.Header.Reset()
				err = http1.ParseResponse(uc.buf[uc.r:uc.r+n], x.Request.Method, &uc.head, &x.Response.Header)
				if err != nil {
					return false, err
				}
				uc.r += n
				break
			}
			if err != http1.ErrIncomplete {
				return false, err
			}
			if wait > 0 {
				uc.extendRead(uc.p.nanos(), wait)
				wait = 0
			}
			empty := uc.w == uc.r
			if err := uc.fill(); err != nil {
				return empty, err
			}
		}
		if s := uc.head.Status; s >= 200 || s == 101 {
			uc.base = uc.r
			x.Times.UpstreamHeader = time.Now()
			x.Times.UpstreamStatus = s
			return false, nil
		}
		// 100 and 103 concern the hop; the final answer follows.
	}
}

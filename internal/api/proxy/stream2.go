package proxy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/api/proxy/http2"
	"sluice.dev/sluice/internal/service/gateway"
)

// serveHTTP2 takes one HTTP/2 request through the gateway's phases.
func (p *Proxy) serveHTTP2(client *clientConn, s *http2.Stream) {
	p.stats.Requests.Add(1)
	x := p.gw.Begin()
	w := &answer2{s: s, x: x}
	defer func() {
		if v := recover(); v != nil {
			p.log.Error("panic while serving a request", "panic", v, "request_id", x.ID(), "stack", string(debug.Stack()))
			if !w.begun {
				x.FailPlain(500, "An unexpected error occurred")
				p.reply2(w, x)
			}
		}
		p.gw.End(x)
	}()
	x.Conn = &client.meta
	x.Times.Start = time.Now()
	x.SetContext(s.Context())
	switch refuse := fillExchange2(x, s, client); {
	case refuse != 0:
		x.FailPlain(refuse, badRequestText(refuse))
	case isUnserved(x.Request.Method):
		x.FailPlain(405, "Method not allowed")
	default:
		p.gw.Access(x)
	}
	if x.Answered() {
		p.reply2(w, x)
		return
	}
	p.forward2(s.Context(), w, x)
}

// fillExchange2 turns the request into the exchange's. It returns the status to refuse it with, 0
// for a good one.
func fillExchange2(x *gateway.Exchange, s *http2.Stream, client *clientConn) (refuse int) {
	r, fields := s.Request()
	q := &x.Request
	q.Method, q.Proto, q.Authority = r.Method, 2, r.Authority
	q.Scheme = "http"
	if x.Conn.TLS != nil {
		q.Scheme = "https"
	}
	cookie, cookies := "", 0
	for _, f := range fields {
		switch f.Name {
		case "host", "content-length": // in the request already
		case "expect":
			if !gateway.EqualFold(f.Value, "100-continue") {
				refuse = 417
			}
		case "cookie": // clients may cut it into pieces (RFC 9113 section 8.2.3)
			if cookies++; cookies > 1 {
				cookie += "; "
			}
			cookie += f.Value
		default:
			q.Header.AddValid(f.Name, f.Value)
		}
	}
	if cookies > 0 {
		q.Header.AddValid("cookie", cookie)
	}
	if r.Refuse != 0 || refuse != 0 {
		gateway.SetTarget(q, "/", x.Conn.ServerPort)
		return cmp.Or(r.Refuse, refuse)
	}
	if n := s.Length(); s.Bodyless() {
		x.SetSource(nil, 0)
	} else {
		x.SetSource(body2{s}, n)
	}
	client.p.cfg.Trust.apply(x, &client.told)
	target := r.Path
	if r.Method == http.MethodConnect {
		target = "/"
	}
	good := http1.ValidMethod(r.Method) && http1.ValidHost(r.Authority) && http1.ValidOrigin(target) // not "*": no route is for the server itself
	if !gateway.SetTarget(q, target, x.Conn.ServerPort) || !good {
		return 400
	}
	return 0
}

// reply2 writes an answer of the gateway's own.
func (p *Proxy) reply2(w answerer, x *gateway.Exchange) {
	p.finishReply(x)
	grpc := strings.HasPrefix(x.Response.Header.Get("Content-Type"), "application/grpc")
	trailing := func(name string) bool { return grpc && strings.HasPrefix(name, "grpc-") }
	fields := func(add func(name, value string)) {
		for _, f := range x.Response.Header.Fields() {
			if !http1.HopByHop(f.Name) && !gateway.EqualFold(f.Name, "Content-Length") && !trailing(f.Name) {
				add(f.Name, f.Value)
			}
		}
	}
	body, length := x.Response.Body, int64(len(x.Response.Body))
	if x.Response.Stream != nil || grpc && length == 0 {
		length = -1
	}
	if w.begin(x.Response.Status, length, fields) != nil {
		x.Times.ClientGone = true
	}
	if x.Response.Stream != nil {
		p.replyStream2(w, x)
		return
	}
	if !w.head() && len(body) > 0 {
		w.Write(body)
		x.Times.BytesOut = int64(len(body))
	}
	w.end(func(yield func(name, value string) bool) {
		for _, f := range x.Response.Header.Fields() {
			if trailing(f.Name) && !yield(f.Name, f.Value) {
				return
			}
		}
	})
	x.Times.End = time.Now()
}

// noTrailer is what an answer without a trailer ends with.
func noTrailer(func(name, value string) bool) {}

// replyStream2 writes the body of a plugin's answer piece by piece as it comes.
func (p *Proxy) replyStream2(w answerer, x *gateway.Exchange) {
	stream := x.Response.Stream
	defer stream.Close()
	if w.head() {
		w.end(noTrailer)
		return
	}
	buf := p.large.Get().(*[]byte)
	defer p.large.Put(buf)
	for {
		w.flush() // what is there goes ahead: the rest may take its time
		n, err := stream.Read(*buf)
		data := (*buf)[:n]
		if x.FiltersBody() {
			data = p.gw.BodyFilter(x, data, err != nil)
		}
		if _, werr := w.Write(data); werr != nil {
			x.Times.ClientGone = true
			return
		}
		x.Times.BytesOut += int64(len(data))
		if err == io.EOF {
			w.end(noTrailer)
			x.Times.End = time.Now()
			return
		}
		if err != nil {
			w.abort()
			return
		}
	}
}

// errQuiet is the cause of a request that was cancelled because nothing moved for the
// service's time-out.
var errQuiet = errors.New("proxy: nothing came for the service's time-out")

// asker is one engine's way to send the request of an exchange.
type asker interface {
	// ask sends the request where the attempt in progress goes, and waits for the head of the
	// answer. Its header becomes the exchange's.
	ask(x *gateway.Exchange) (answer, error)
	// close ends it, whatever of the answer has been read.
	close()
}

// forward2 sends the request to its upstream and the answer to the client.
func (p *Proxy) forward2(client context.Context, w answerer, x *gateway.Exchange) {
	service := x.Upstream.Service
	x.Times.UpstreamStart = time.Now()
	if b, ok := x.Buffered(); !service.GRPC() && (ok || x.Stream() == nil) {
		p.forwardWhole(client, w, x, b)
		return
	}
	ctx, cancel := context.WithCancelCause(client)
	defer cancel(nil)
	wait := max(service.ReadTimeout, service.ConnectTimeout)
	quiet := time.AfterFunc(wait, func() { cancel(errQuiet) })
	defer quiet.Stop()
	var small error
	if limit := p.cfg.BufferBody; service.GRPC() && x.Stream() != nil && x.Request.Length > 0 && x.Request.Length <= int64(limit) && x.Route().RequestBuffering {
		_, small = x.Body(limit)
	}
	var moving *movingBody
	if src := x.Stream(); src != nil {
		moving = &movingBody{src: src, quiet: quiet, wait: wait}
		defer func() { x.Times.BytesIn = moving.count.Load() }()
	}
	var engine asker
	if service.GRPC() {
		engine = p.newCall(ctx, w, moving)
	} else {
		engine = p.newTransfer(ctx, x, moving)
	}
	defer engine.close()
	var a answer
	err := small
	for try, start := 1, x.Times.UpstreamStart; small == nil; try, start = try+1, time.Now() {
		if err = x.NextTry(start); err != nil {
			break
		}
		if a, err = engine.ask(x); err == nil {
			x.AnswerTry(a.status)
			break
		}
		if client.Err() != nil || moving != nil && moving.broke.Load() {
			break // the client has gone or its body is bad: the upstream is not to blame
		}
		if context.Cause(ctx) == errQuiet {
			err = context.DeadlineExceeded
		}
		x.FailTry(failureCode(err))
		if try > service.Retries || ctx.Err() != nil || !mayRepeat(err, x, moving) {
			break
		}
		quiet.Reset(wait)
	}
	if err != nil {
		if client.Err() != nil {
			x.Times.ClientGone = true
		}
		if !x.Times.ClientGone {
			p.log.Info("upstream did not answer", "service", service.Name, "address", x.Upstream.Address, "err", err)
		}
		unreachable(x, err)
		p.reply2(w, x)
		return
	}
	x.Times.UpstreamHeader = time.Now()
	x.Times.UpstreamStatus = a.status
	p.relay2(w, x, a, func() { quiet.Reset(service.ReadTimeout) })
}

// mayRepeat reports whether a request that failed with err may be sent again: nothing of it can have
// had an effect, and all of it is still there.
func mayRepeat(err error, x *gateway.Exchange, moving *movingBody) bool {
	if moving == nil && isIdempotent(x.Request.Method) {
		return true
	}
	var unsent *dialError
	if !errors.As(err, &unsent) && !errors.Is(err, http2.ErrUnprocessed) {
		return false
	}
	return moving == nil || moving.count.Load() == 0 || moving.kept.Load()
}

// upstreamFields gives add the header of the upstream's request, but for Content-Length. What
// add gets may lie in the exchange's memory.
func upstreamFields(x *gateway.Exchange, add func(name, value string)) {
	forwardedFor := ""
	for _, f := range x.Request.Header.Fields() {
		switch {
		case gateway.EqualFold(f.Name, "TE") && gateway.HasToken(f.Value, "trailers"):
			add("Te", "trailers")
		case gateway.EqualFold(f.Name, "X-Forwarded-For"):
			forwardedFor += f.Value + ", "
		case http1.HopByHop(f.Name) || replacedHeader(f.Name) || gateway.EqualFold(f.Name, "Content-Length"):
		default:
			add(f.Name, f.Value)
		}
	}
	if forwardedFor != "" {
		add("X-Forwarded-For", forwardedFor+x.Conn.PeerIP)
	} else {
		add("X-Forwarded-For", x.ClientIP())
	}
	f := forwardedOf(x)
	add("X-Forwarded-Proto", f.Proto)
	add("X-Forwarded-Host", f.Host)
	if f.Port == "" {
		f.Port = strconv.Itoa(x.Conn.ServerPort)
	}
	add("X-Forwarded-Port", f.Port)
	add("X-Forwarded-Path", f.Path)
	if f.Prefix != "" {
		add("X-Forwarded-Prefix", f.Prefix)
	} else if prefix := strippedPrefix(x); prefix != "" {
		add("X-Forwarded-Prefix", string(gateway.AppendTarget(nil, prefix, "", false)))
	}
	add("X-Real-IP", x.ClientIP())
	add("Via", via2)
	add("X-Kong-Request-Id", x.ID())
}

// relay2 brings the upstream's answer to the client, piece by piece as it comes.
func (p *Proxy) relay2(w answerer, x *gateway.Exchange, a answer, moved func()) {
	x.SetForwarded()
	x.Response.Status, x.Response.Length = a.status, a.length
	http1.DropNamed(&x.Response.Header)
	body, length := a.body, a.length
	if x.BuffersResponse() && !w.head() {
		whole, err := p.readWhole(body)
		if err != nil {
			unreachable(x, err)
			p.reply2(w, x)
			return
		}
		x.Response.Body = whole
		takeTrailer(x, a)
		if p.gw.Response(x); x.Answered() {
			p.reply2(w, x)
			return
		}
		body, length, a.ready = bytes.NewReader(x.Response.Body), int64(len(x.Response.Body)), always
	}
	p.gw.HeaderFilter(x)
	filters := x.FiltersBody() && !w.head()
	if x.FiltersBody() || x.BuffersResponse() && w.head() {
		length = -1
	}
	err := w.begin(x.Response.Status, length, func(add func(name, value string)) { answerFields(x, add) })
	buf := p.large.Get().(*[]byte)
	defer p.large.Put(buf)
	for held := true; err == nil; { // something was written that may have to go ahead: the body may take its time
		if held && (a.ready == nil || !a.ready()) {
			w.flush()
			held = false
		}
		n, failed := body.Read(*buf)
		moved()
		data := (*buf)[:n]
		if filters {
			if failed == io.EOF {
				takeTrailer(x, a)
			}
			data = p.gw.BodyFilter(x, data, failed == io.EOF)
		}
		if len(data) > 0 {
			if _, err = w.Write(data); err != nil {
				break
			}
			x.Times.BytesOut += int64(len(data))
			held = true
		}
		if failed == io.EOF {
			err = w.end(a.trailer)
			break
		}
		if failed != nil {
			w.abort()
			return
		}
	}
	if err != nil {
		x.Times.ClientGone = true
		w.abort()
		return
	}
	x.Times.End = time.Now()
}

func always() bool { return true }

// answerFields gives add the header of the client's answer, but for Content-Length. What add gets may
// lie in the exchange's memory.
func answerFields(x *gateway.Exchange, add func(name, value string)) {
	for _, f := range x.Response.Header.Fields() {
		if http1.HopByHop(f.Name) || replacedAnswerHeader(f.Name) || gateway.EqualFold(f.Name, "Content-Length") {
			continue
		}
		add(f.Name, f.Value)
	}
	t := &x.Times
	add("X-Kong-Upstream-Latency", strconv.FormatInt(t.UpstreamHeader.Sub(t.UpstreamStart).Milliseconds(), 10))
	add("X-Kong-Proxy-Latency", strconv.FormatInt(t.UpstreamStart.Sub(t.Start).Milliseconds(), 10))
	add("Via", via2)
	add("X-Kong-Request-Id", x.ID())
}

// takeTrailer shows plugins the trailer of an answer whose body has been read.
func takeTrailer(x *gateway.Exchange, a answer) {
	x.Response.Trailer.Reset()
	for name, value := range a.trailer {
		x.Response.Trailer.AddValid(name, value)
	}
}

// movingBody is a request body that keeps the time-out from firing while it moves.
type movingBody struct {
	src   io.Reader
	quiet *time.Timer
	wait  time.Duration
	count atomic.Int64 // bytes read
	broke atomic.Bool  // it could not be read to its end
	kept  atomic.Bool  // all that was read is at hand still
}

func (b *movingBody) Read(p []byte) (int, error) {
	n, err := b.src.Read(p)
	b.quiet.Reset(b.wait)
	b.count.Add(int64(n))
	if err != nil && err != io.EOF {
		b.broke.Store(true)
	}
	return n, err
}

func (b *movingBody) Close() error { return nil }

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
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
func (p *Proxy) serveHTTP2(w http.ResponseWriter, r *http.Request) {
	client, ok := r.Context().Value(h2ConnKey{}).(*clientConn)
	if !ok || r.ProtoMajor != 2 {
		http.Error(w, "Bad request", http.StatusBadRequest)
		return
	}
	p.stats.Requests.Add(1)
	x := p.gw.Begin()
	wrote := false
	defer func() {
		if v := recover(); v != nil {
			if v == http.ErrAbortHandler {
				p.gw.End(x)
				panic(v)
			}
			p.log.Error("panic while serving a request", "panic", v, "request_id", x.ID(), "stack", string(debug.Stack()))
			if !wrote {
				x.FailPlain(500, "An unexpected error occurred")
				p.reply2(w, r, x)
			}
		}
		p.gw.End(x)
	}()
	x.Conn = &client.meta
	x.Times.Start = time.Now()
	x.SetContext(r.Context())
	switch {
	case !fillExchange2(x, r, client):
		x.FailPlain(400, "Bad request")
	case r.Method == http.MethodConnect:
		x.FailPlain(405, "Method not allowed")
	default:
		p.gw.Access(x)
	}
	if x.Answered() {
		wrote = true
		p.reply2(w, r, x)
		return
	}
	wrote = true
	p.forward2(w, r, x)
}

// fillExchange2 turns the request into the exchange's and reports whether its target is good.
func fillExchange2(x *gateway.Exchange, r *http.Request, client *clientConn) bool {
	q := &x.Request
	q.Method, q.Proto, q.Authority = r.Method, 2, r.Host
	q.Scheme = "http"
	if x.Conn.TLS != nil {
		q.Scheme = "https"
	}
	for name, values := range r.Header {
		for _, v := range values {
			q.Header.AddValid(name, v)
		}
	}
	client.p.cfg.Trust.apply(x, &client.told)
	target := r.RequestURI
	if target == "*" { // as in nginx, no route is for the server itself
		return false
	}
	if target == "" || target[0] != '/' {
		target = r.URL.RequestURI()
	}
	if r.ContentLength == 0 || r.Body == nil {
		x.SetSource(nil, 0)
	} else {
		x.SetSource(r.Body, r.ContentLength)
	}
	return gateway.SetTarget(q, target, x.Conn.ServerPort)
}

// reply2 writes an answer of the gateway's own.
func (p *Proxy) reply2(w http.ResponseWriter, r *http.Request, x *gateway.Exchange) {
	p.finishReply(x)
	h := w.Header()
	trailers := strings.HasPrefix(x.Response.Header.Get("Content-Type"), "application/grpc")
	for _, f := range x.Response.Header.Fields() {
		if http1.HopByHop(f.Name) || gateway.EqualFold(f.Name, "Content-Length") {
			continue
		}
		if trailers && strings.HasPrefix(f.Name, "grpc-") {
			h.Add(http.TrailerPrefix+f.Name, f.Value)
			continue
		}
		h.Add(f.Name, strings.Clone(f.Value))
	}
	if x.Response.Stream != nil {
		p.replyStream2(w, r, x)
		return
	}
	if len(x.Response.Body) > 0 {
		h.Set("Content-Length", strconv.Itoa(len(x.Response.Body)))
	}
	w.WriteHeader(x.Response.Status)
	if r.Method != "HEAD" {
		w.Write(x.Response.Body)
		x.Times.BytesOut = int64(len(x.Response.Body))
	}
	x.Times.End = time.Now()
}

// replyStream2 writes the body of a plugin's answer piece by piece as it comes.
func (p *Proxy) replyStream2(w http.ResponseWriter, r *http.Request, x *gateway.Exchange) {
	stream := x.Response.Stream
	defer stream.Close()
	w.WriteHeader(x.Response.Status)
	if r.Method == "HEAD" {
		return
	}
	flush := http.NewResponseController(w)
	flush.Flush() // the head goes ahead: the body may take its time
	buf := p.large.Get().(*[]byte)
	defer p.large.Put(buf)
	for {
		n, err := stream.Read(*buf)
		data := (*buf)[:n]
		if x.FiltersBody() {
			data = p.gw.BodyFilter(x, data, err != nil)
		}
		if _, werr := w.Write(data); werr != nil {
			x.Times.ClientGone = true
			return
		}
		flush.Flush()
		x.Times.BytesOut += int64(len(data))
		if err == io.EOF {
			x.Times.End = time.Now()
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the client must see that the answer is not whole
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
func (p *Proxy) forward2(w http.ResponseWriter, r *http.Request, x *gateway.Exchange) {
	service := x.Upstream.Service
	x.Times.UpstreamStart = time.Now()
	if b, ok := x.Buffered(); !service.GRPC() && (ok || x.Stream() == nil) {
		p.forwardWhole(w, r, x, b)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
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
		engine = p.newCall(ctx, r, moving)
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
		if r.Context().Err() != nil || moving != nil && moving.broke.Load() {
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
		if r.Context().Err() != nil {
			x.Times.ClientGone = true
		}
		if !x.Times.ClientGone {
			p.log.Info("upstream did not answer", "service", service.Name, "address", x.Upstream.Address, "err", err)
		}
		unreachable(x, err)
		p.reply2(w, r, x)
		return
	}
	x.Times.UpstreamHeader = time.Now()
	x.Times.UpstreamStatus = a.status
	p.relay2(w, r, x, a, func() { quiet.Reset(service.ReadTimeout) })
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
func (p *Proxy) relay2(w http.ResponseWriter, r *http.Request, x *gateway.Exchange, a answer, moved func()) {
	x.SetForwarded()
	x.Response.Status, x.Response.Length = a.status, a.length
	http1.DropNamed(&x.Response.Header)
	body, length := a.body, a.length
	if x.BuffersResponse() && r.Method != "HEAD" {
		whole, err := p.readWhole(body)
		if err != nil {
			unreachable(x, err)
			p.reply2(w, r, x)
			return
		}
		x.Response.Body = whole
		takeTrailer(x, a)
		if p.gw.Response(x); x.Answered() {
			p.reply2(w, r, x)
			return
		}
		body, length, a.ready = bytes.NewReader(x.Response.Body), int64(len(x.Response.Body)), nil
	}
	p.gw.HeaderFilter(x)
	filters := x.FiltersBody() && r.Method != "HEAD"
	h := w.Header()
	for _, f := range x.Response.Header.Fields() {
		if http1.HopByHop(f.Name) || replacedAnswerHeader(f.Name) || gateway.EqualFold(f.Name, "Content-Length") {
			continue
		}
		h.Add(f.Name, strings.Clone(f.Value)) // it is written when the exchange may have ended
	}
	if length >= 0 && !filters && a.status != 204 && a.status != 304 {
		h.Set("Content-Length", strconv.FormatInt(length, 10))
	}
	t := &x.Times
	h.Set("X-Kong-Upstream-Latency", strconv.FormatInt(t.UpstreamHeader.Sub(t.UpstreamStart).Milliseconds(), 10))
	h.Set("X-Kong-Proxy-Latency", strconv.FormatInt(t.UpstreamStart.Sub(t.Start).Milliseconds(), 10))
	h.Add("Via", via2)
	h.Set("X-Kong-Request-Id", strings.Clone(x.ID()))
	w.WriteHeader(x.Response.Status)
	flush := http.NewResponseController(w)
	buf := p.large.Get().(*[]byte)
	defer p.large.Put(buf)
	held := length < 0 // something was written that may have to go ahead: the body may take its time
	for {
		if held && (a.ready == nil || !a.ready()) {
			flush.Flush()
			held = false
		}
		n, err := body.Read(*buf)
		moved()
		data := (*buf)[:n]
		if filters {
			if err == io.EOF {
				takeTrailer(x, a)
			}
			data = p.gw.BodyFilter(x, data, err == io.EOF)
		}
		if len(data) > 0 {
			if _, werr := w.Write(data); werr != nil {
				x.Times.ClientGone = true
				panic(http.ErrAbortHandler)
			}
			x.Times.BytesOut += int64(len(data))
			held = length < 0
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			panic(http.ErrAbortHandler) // the client must see that the answer is not whole
		}
	}
	for name, value := range a.trailer {
		h.Add(http.TrailerPrefix+name, strings.Clone(value))
	}
	x.Times.End = time.Now()
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

// quietLog sends what net/http has to say to the debug log.
func quietLog(l *slog.Logger) *log.Logger { return slog.NewLogLogger(l.Handler(), slog.LevelDebug) }

package proxy

import (
	"context"
	"io"
	"iter"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// via2 is how a request came that came in HTTP/2.
const via2 = "2 " + serverName

// answer is an upstream's answer to a request of HTTP/2, whichever engine brought it. Its
// header is the exchange's.
type answer struct {
	status  int
	length  int64 // of the body; -1 where it is unknown
	body    io.Reader
	ready   func() bool               // nil, or whether a read of the body would not wait
	trailer iter.Seq2[string, string] // once the body has been read
}

// forwardWhole sends a request of HTTP/2 whose body is at hand by HTTP/1, over the
// connections that requests of HTTP/1 use, and relays the answer.
func (p *Proxy) forwardWhole(ctx context.Context, w answerer, x *gateway.Exchange, body []byte) {
	err := p.attempt(ctx, x, isIdempotent(x.Request.Method), func(uc *upstreamConn, now int64) (again bool, err error) {
		return p.exchange2(ctx, w, x, uc, body, now)
	})
	if err == nil {
		return
	}
	if ctx.Err() != nil {
		x.Times.ClientGone = true
	}
	unreachable(x, err)
	p.reply2(w, x)
}

// exchange2 sends a request and relays the answer. An error says that nothing was relayed;
// again, that it came before any byte of an answer.
func (p *Proxy) exchange2(ctx context.Context, w answerer, x *gateway.Exchange, uc *upstreamConn, body []byte, now int64) (again bool, err error) {
	service := x.Upstream.Service
	out, _ := appendHead(uc.out[:0], x, via2)
	out = append(out, "Connection: keep-alive\r\n"...)
	if len(body) > 0 || wantsLength(x.Request.Method) {
		out = append(out, "Content-Length: "...)
		out = strconv.AppendInt(out, int64(len(body)), 10)
		out = append(out, "\r\n"...)
	}
	out = append(out, "\r\n"...)
	uc.extendWrite(now, service.WriteTimeout)
	uc.readWait = service.ReadTimeout
	_, err = uc.Conn.Write(out)
	uc.out = out[:0]
	if err == nil && len(body) > 0 {
		err = uc.writeAll(body, service.WriteTimeout)
	}
	if err != nil {
		return true, err
	}
	// A client that leaves ends the wait for an answer that nobody wants.
	left := context.AfterFunc(ctx, func() { uc.Conn.SetReadDeadline(time.Unix(1, 0)) })
	defer left()
	uc.extendRead(p.nanos(), uc.readWait)
	if again, err = uc.readHeadNoWait(x); err != nil {
		if ctx.Err() != nil {
			return false, errClientGone
		}
		return again, err
	}
	h := &uc.head
	if h.Status == 101 {
		return false, http1.Refuse(502, "101 without the upgrade asked for")
	}
	x.AnswerTry(h.Status)
	if h.NoBody(x.Request.Method) {
		uc.body.Reset(&uc.stream, http1.Framing{})
	} else {
		uc.body.Reset(&uc.stream, h.Framing)
	}
	a := answer{status: h.Status, length: h.Length, body: &uc.body, trailer: uc.trailer,
		ready: func() bool { return uc.body.Done() || !h.Chunked && len(uc.Window()) > 0 }}
	if h.Chunked || h.UntilClose || !h.ContentLength {
		a.length = -1
	}
	used := &spare{p: p, uc: uc}
	x.Put(used, used) // it is given back when the exchange ends: until then its buffer holds the header
	p.relay2(w, x, a, func() {})
	used.good = uc.body.Done() && !h.Close && len(uc.Window()) == 0 && left()
	return false, nil
}

func (uc *upstreamConn) trailer(yield func(name, value string) bool) {
	for _, f := range uc.body.Trailer().Fields() {
		if !yield(f.Name, f.Value) {
			return
		}
	}
}

// spare is an upstream's connection that an exchange of HTTP/2 has used.
type spare struct {
	p    *Proxy
	uc   *upstreamConn
	good bool // for another request
}

// Close gives the connection back, or ends it.
func (s *spare) Close() error {
	if s.good {
		s.p.upstreams.put(s.uc, s.p.nanos())
		return nil
	}
	return s.uc.Conn.Close()
}

package proxy

import (
	"iter"
	"strconv"

	"sluice.dev/sluice/internal/api/proxy/http1"
	"sluice.dev/sluice/internal/service/gateway"
)

// forwardGRPC forwards a request of a client of HTTP/1 to a service of gRPC, which takes a
// plugin that has turned it into gRPC.
func (p *Proxy) forwardGRPC(c *clientConn, x *gateway.Exchange) {
	if !x.Upstream.CallsGRPC() {
		x.Fail(426, "Please use HTTP2 protocol", gateway.Field{Name: "Connection", Value: "Upgrade"},
			gateway.Field{Name: "Upgrade", Value: "HTTP/2"})
		c.reply(x)
		return
	}
	p.forward2(c.ctx, &answer1{c: c, x: x}, x)
}

// answer1 is an answerer over a connection of HTTP/1. Trailers are left out: a plugin that
// speaks gRPC for a client has told it what they say.
type answer1 struct {
	c       *clientConn
	x       *gateway.Exchange
	chunked bool
}

func (w *answer1) head() bool { return w.c.head.Method == "HEAD" }

func (w *answer1) begin(status int, length int64, fields func(add func(name, value string))) error {
	c := w.c
	if c.p.ending() {
		c.closing = true
	}
	bodyless := w.head() || status == 204 || status == 304
	out := http1.AppendStatus(c.out[:0], status, "")
	fields(func(name, value string) { out = http1.AppendField(out, name, value) })
	switch {
	case length >= 0 && status != 204 && status != 304:
		out = http1.AppendField(out, "Content-Length", strconv.FormatInt(length, 10))
	case bodyless:
	case c.head.Minor == 1:
		w.chunked = true
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	default:
		c.closing = true
	}
	out = append(c.appendConnection(out), "\r\n"...)
	keepHead(w.x, out)
	return c.write(w.x, out)
}

// Write implements io.Writer.
func (w *answer1) Write(b []byte) (int, error) {
	if len(b) == 0 || w.head() {
		return len(b), nil
	}
	out := w.c.out[:0]
	if w.chunked {
		out = http1.AppendChunk(out, b)
	} else {
		out = append(out, b...)
	}
	return len(b), w.c.write(w.x, out)
}

func (w *answer1) flush() {} // nothing is held back

func (w *answer1) end(iter.Seq2[string, string]) error {
	if !w.chunked {
		return nil
	}
	return w.c.write(w.x, http1.AppendLastChunk(w.c.out[:0], nil))
}

func (w *answer1) abort() { w.c.cut = !w.x.Times.ClientGone }

func (w *answer1) stopReading() {} // a call's body is at hand

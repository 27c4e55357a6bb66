package proxy

import (
	"net/http"
	"strings"

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
	w := &answer1{c: c, x: x, header: http.Header{}}
	r := (&http.Request{Method: c.head.Method}).WithContext(c.ctx)
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			c.cut = !x.Times.ClientGone // the answer broke off
			return
		}
		w.end()
	}()
	p.forward2(w, r, x)
}

// answer1 is an http.ResponseWriter over a connection of HTTP/1. Trailers are left out: a
// plugin that speaks gRPC for a client has told it what they say.
type answer1 struct {
	c       *clientConn
	x       *gateway.Exchange
	header  http.Header
	begun   bool
	chunked bool
}

// Header implements http.ResponseWriter.
func (w *answer1) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *answer1) WriteHeader(status int) {
	if w.begun {
		return
	}
	w.begun = true
	c := w.c
	if c.p.stopping.Load() {
		c.closing = true
	}
	_, sized := w.header["Content-Length"]
	bodyless := c.head.Method == "HEAD" || status == 204 || status == 304
	w.chunked = !sized && !bodyless && c.head.Minor == 1
	if !sized && !bodyless && !w.chunked {
		c.closing = true
	}
	out := http1.AppendStatus(c.out[:0], status, "")
	for name, values := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) || name == "Trailer" {
			continue
		}
		for _, v := range values {
			out = http1.AppendField(out, name, v)
		}
	}
	if w.chunked {
		out = append(out, "Transfer-Encoding: chunked\r\n"...)
	}
	c.write(w.x, append(c.appendConnection(out), "\r\n"...))
}

// Write implements http.ResponseWriter.
func (w *answer1) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if len(b) == 0 || w.c.head.Method == "HEAD" {
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

// Flush implements http.Flusher: nothing is held back.
func (w *answer1) Flush() {}

// end ends the body.
func (w *answer1) end() {
	w.WriteHeader(http.StatusOK)
	if w.chunked {
		w.c.write(w.x, http1.AppendLastChunk(w.c.out[:0], nil))
	}
}

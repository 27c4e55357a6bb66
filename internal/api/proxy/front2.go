package proxy

import (
	"iter"
	"net"
	"strconv"
	"time"

	"sluice.dev/sluice/internal/api/proxy/http2"
	"sluice.dev/sluice/internal/service/gateway"
)

// maxStreams2 is how many requests a client may have in flight on a connection.
const maxStreams2 = 250

// conn2 is a client's connection of HTTP/2 as the proxy's shutdown sees it.
type conn2 struct{ *http2.Conn }

func (c conn2) drain() { c.Drain() }
func (c conn2) abort() { c.Abort() }

// serve2 serves a connection that speaks HTTP/2 until it ends.
func (p *Proxy) serve2(nc net.Conn, client *clientConn) {
	nc.SetDeadline(time.Time{}) // those that were set are not known to who reads from here
	c := conn2{http2.NewServer(nc, http2.ServerConfig{
		Config:      http2.Config{Streams: maxStreams2, Window: window2, HeaderList: p.cfg.MaxHead, WriteTimeout: p.cfg.SendTimeout},
		Handle:      func(s *http2.Stream) { p.serveHTTP2(client, s) },
		Workers:     p.workers,
		IdleTimeout: p.cfg.IdleTimeout, HeadTimeout: p.cfg.HeadTimeout, PingTimeout: 15 * time.Second,
	})}
	p.track(c)
	defer p.untrack(c)
	c.Serve()
}

// answerer is a client that waits for its answer.
type answerer interface {
	// begin sends the head. A length of -1 is unknown. What fields gives add is read before
	// add returns.
	begin(status int, length int64, fields func(add func(name, value string))) error
	// Write sends a piece of the body, which may be held back until flush or end.
	Write(p []byte) (int, error)
	flush()
	// end ends the answer.
	end(trailer iter.Seq2[string, string]) error
	// abort ends the answer so that the client sees that it is not whole.
	abort()
	// head reports whether the client asked for the head alone.
	head() bool
	// stopReading makes who reads the request's body stop.
	stopReading()
}

// answer2 is the answerer of a stream.
type answer2 struct {
	s     *http2.Stream
	x     *gateway.Exchange
	begun bool
	ended bool
}

func (w *answer2) head() bool {
	r, _ := w.s.Request()
	return r.Method == "HEAD"
}

func (w *answer2) begin(status int, length int64, fields func(add func(name, value string))) error {
	w.begun = true
	w.ended = length == 0 || status == 204 || status == 304 || w.head()
	keep := w.x.Logged()
	if keep {
		w.x.SetSent(nil)
	}
	return w.s.SendHead(status, w.ended, func(h *http2.Head) {
		fields(func(name, value string) {
			if keep {
				w.x.AddSent(name, value)
			}
			writeField(h, name, value)
		})
		if length >= 0 && status != 204 && status != 304 {
			n := strconv.FormatInt(length, 10)
			if keep {
				w.x.AddSent("content-length", n)
			}
			h.Once("content-length", n)
		}
	})
}

// Write implements io.Writer.
func (w *answer2) Write(p []byte) (int, error) {
	if w.ended || len(p) == 0 {
		return len(p), nil
	}
	return w.s.Write(p)
}

func (w *answer2) flush() { w.s.Flush() }

func (w *answer2) end(trailer iter.Seq2[string, string]) error {
	if w.ended {
		return nil
	}
	w.ended = true
	for range trailer { // there is something in it
		return w.s.SendTrailer(func(h *http2.Head) {
			for name, value := range trailer {
				writeField(h, name, value)
			}
		})
	}
	return w.s.Send(nil, true)
}

func (w *answer2) abort() { w.s.Close() }

func (w *answer2) stopReading() { w.s.StopReading() }

// writeField writes a field of a message, as one that will not come again where that is known.
func writeField(h *http2.Head, name, value string) {
	switch name {
	case "X-Kong-Request-Id":
		h.Once("x-kong-request-id", value)
	case "X-Forwarded-For":
		h.Once("x-forwarded-for", value)
	case "X-Real-IP":
		h.Once("x-real-ip", value)
	default:
		h.Field(name, value)
	}
}

// body2 is a request's body as plugins and upstreams read it. It asks the client for it first where
// the client waits to be asked.
type body2 struct{ s *http2.Stream }

// Read implements io.Reader.
func (b body2) Read(p []byte) (int, error) {
	b.s.Invite()
	return b.s.Read(p)
}

package proxy

import (
	"context"
	"io"
	"strconv"
	"sync"

	"sluice.dev/sluice/internal/api/proxy/http2"
	"sluice.dev/sluice/internal/service/gateway"
)

// call2 is an asker by HTTP/2 of our own: of services of gRPC.
type call2 struct {
	p      *Proxy
	ctx    context.Context
	client answerer
	moving *movingBody // nil where the body is at hand
	stream *http2.Stream
	sender *sender2 // of moving, once there was a stream to send it on
}

func (p *Proxy) newCall(ctx context.Context, client answerer, moving *movingBody) *call2 {
	return &call2{p: p, ctx: ctx, client: client, moving: moving}
}

func (c *call2) ask(x *gateway.Exchange) (answer, error) {
	conn, err := c.p.calls.get(c.ctx, x)
	if err != nil {
		return answer{}, err
	}
	if c.stream != nil {
		c.stream.Close() // of the attempt before
	}
	body, _ := x.Buffered()
	end := c.moving == nil && len(body) == 0
	if c.stream, err = conn.Open(c.ctx, x.Request.Method, end, func(h *http2.Head) { callHead(h, x) }); err != nil {
		return answer{}, err
	}
	if c.moving != nil {
		c.send()
	} else if !end {
		_ = c.stream.Send(body, true) // an upstream may answer before it has taken everything
	}
	status, fields, failed := c.stream.Answer()
	if failed != nil {
		if c.sender != nil {
			if broke := c.sender.broke(); broke != nil {
				failed = broke
			}
		}
		return answer{}, failed
	}
	x.Response.Header.Reset()
	for _, f := range fields {
		if f.Name != "content-length" { // it is Response.Length
			x.Response.Header.AddValid(f.Name, f.Value)
		}
	}
	return answer{status: status, length: c.stream.Length(), body: c.stream, ready: c.stream.Ready, trailer: c.trailer}, nil
}

func (c *call2) trailer(yield func(name, value string) bool) {
	for _, f := range c.stream.Trailer() {
		if !yield(f.Name, f.Value) {
			return
		}
	}
}

// callHead writes the head of the upstream's request.
func callHead(h *http2.Head, x *gateway.Exchange) {
	h.Field(":method", x.Request.Method)
	scheme := "http"
	if x.Upstream.Service.TLS() {
		scheme = "https"
	}
	h.Field(":scheme", scheme)
	h.Field(":authority", x.Upstream.HostHeader)
	h.Field(":path", string(gateway.AppendTarget(nil, x.Upstream.Path, x.Request.RawQuery, x.Request.HasQuery)))
	upstreamFields(x, func(name, value string) { writeField(h, name, value) })
	if n := x.Request.Length; n > 0 || n == 0 && wantsLength(x.Request.Method) {
		h.Once("content-length", strconv.FormatInt(n, 10))
	}
}

// close gives up what has not been sent or received.
func (c *call2) close() {
	if c.stream != nil {
		c.stream.Close()
	}
	if c.sender != nil {
		c.client.stopReading()
		c.sender.wg.Wait()
	}
}

// send has the body sent on the stream, from its beginning.
func (c *call2) send() {
	if c.sender == nil {
		c.sender = &sender2{moving: c.moving, stream: c.stream, buf: c.p.large.Get().(*[]byte)}
		c.sender.wg.Go(func() {
			defer c.p.large.Put(c.sender.buf)
			c.sender.run()
		})
		return
	}
	c.sender.again(c.stream)
}

// sender2 sends a request's body as it comes from the client. The first piece is kept until
// there is a second, so that a call can be sent again that its upstream did not begin with.
type sender2 struct {
	moving *movingBody
	buf    *[]byte
	wg     sync.WaitGroup

	mu     sync.Mutex
	stream *http2.Stream
	first  []byte
	ended  bool  // the body has
	lost   bool  // some of it, with the stream it was sent on
	err    error // of the client's side
}

func (s *sender2) run() {
	free := *s.buf
	for {
		n, err := s.moving.Read(free)
		s.mu.Lock()
		s.ended = err == io.EOF
		if err != nil && !s.ended {
			s.err = err
			stream := s.stream
			s.mu.Unlock()
			stream.Close() // the upstream must not take it for the whole
			return
		}
		piece := free[:n]
		if n > 0 {
			if s.first == nil && n <= len(free)/2 {
				s.first, free = piece, free[n:]
				s.moving.kept.Store(true)
			} else {
				s.moving.kept.Store(false)
			}
		}
		s.lost = s.stream.Send(piece, s.ended) != nil && !s.moving.kept.Load()
		stop := s.ended || s.lost
		s.mu.Unlock()
		if stop {
			return
		}
	}
}

// again sends what has been read so far on another stream, and the rest as it comes.
func (s *sender2) again(stream *http2.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stream = stream
	if s.lost {
		stream.Close()
	} else if s.first != nil || s.ended {
		_ = stream.Send(s.first, s.ended) // that it fails the answer says
	}
}

// broke is why the body could not be read, nil where it could.
func (s *sender2) broke() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

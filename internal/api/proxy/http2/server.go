package http2

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// ServerConfig is how a connection is served.
type ServerConfig struct {
	Config
	Handle      func(*Stream)
	Workers     *Workers      // that handle
	IdleTimeout time.Duration // without a stream; with streams, until the client is pinged
	HeadTimeout time.Duration // for the beginning of the connection, and any frame
	PingTimeout time.Duration
}

// Request is the head of a client's request.
type Request struct {
	Method, Scheme, Authority, Path string

	// Refuse is the status to answer with where the head is no good: 400, or 431 where it is
	// too large. Nothing else of the request counts then.
	Refuse  int
	expects bool // the client waits to be asked for the body
}

// serving is what a connection has on the side that answers.
type serving struct {
	ServerConfig
	ended    sync.WaitGroup // handlers
	deadline time.Time      // for reads
	pinged   bool           // by await
	// What follows is guarded by the connection's lock.
	running  int // handlers
	draining bool
	past     ended
	bother   int // what came since botherAt that is work and leads to nothing
	botherAt time.Time
}

// maxBother is how many frames may come in a second that cost something and bring nobody an
// answer: resets above all, pings, settings, empty pieces of bodies.
const maxBother = 1000

var errStalled = errors.New("http2: the peer takes nothing")

// NewServer returns a connection as the side that answers.
func NewServer(nc net.Conn, cfg ServerConfig) *Conn {
	c := newConn(nc, cfg.Config, "", wire.Setting{ID: wire.SettingMaxConcurrentStreams, Val: uint32(cfg.Streams)})
	c.serving = &serving{ServerConfig: cfg}
	return c
}

// Serve serves the connection until it has ended and its streams with it.
func (c *Conn) Serve() {
	defer c.nc.Close()
	var preface [len(wire.ClientPreface)]byte
	c.arm(c.serving.HeadTimeout, c.serving.HeadTimeout)
	c.meter.left = len(preface)
	for n := 0; n < len(preface); {
		m, err := c.meter.Read(preface[n:])
		if err != nil || string(preface[n:n+m]) != wire.ClientPreface[n:n+m] {
			return
		}
		n += m
	}
	go c.write()
	c.mu.Lock()
	c.flush()
	c.mu.Unlock()
	c.read()
	c.serving.ended.Wait()
	c.nc.SetReadDeadline(time.Now().Add(maxLinger))
	io.Copy(io.Discard, c.meter.r)
}

// maxLinger is how long a connection that has ended is read from.
const maxLinger = time.Second

// Drain asks the client to open no more streams, and ends the connection with the last.
func (c *Conn) Drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.serving.draining {
		return
	}
	c.serving.draining = true
	if c.open == 0 && c.serving.running == 0 {
		c.goAway(wire.ErrCodeNo, ErrClosed)
		return
	}
	// Streams that are on their way are still served. The ping's answer says that there are no more.
	c.wf.WriteGoAway(maxID, wire.ErrCodeNo, nil)
	c.wf.WritePing(false, [8]byte{})
	c.flush()
}

// drained is called when a ping was answered.
func (c *Conn) drained() {
	if c.serving == nil || !c.serving.draining || c.leaving {
		return
	}
	c.leaving = true
	if c.open == 0 && c.serving.running == 0 {
		c.goAway(wire.ErrCodeNo, ErrClosed)
		return
	}
	c.wf.WriteGoAway(c.lastID, wire.ErrCodeNo, nil)
	c.flush()
}

// Abort ends the connection now.
func (c *Conn) Abort() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail(ErrClosed)
}

// arm makes reads fail after wait at the earliest and most at the latest. It leaves a deadline that will
// do alone: moving one costs.
func (c *Conn) arm(wait, most time.Duration) {
	now := time.Now()
	if left := c.serving.deadline.Sub(now); left < wait || left > most {
		c.serving.deadline = now.Add(wait + wait/8)
		c.nc.SetReadDeadline(c.serving.deadline)
	}
}

// await waits for the beginning of a frame, on the side that answers: a client that is idle is sent
// away, one that has streams and is silent is asked whether it is there.
func (c *Conn) await() error {
	v := c.serving
	if v == nil || c.meter.r.Buffered() > 0 {
		return nil
	}
	for {
		wait := v.IdleTimeout
		switch {
		case c.reads == 0: // nothing yet beside the preface
			wait = v.HeadTimeout
		case v.pinged:
			wait = v.PingTimeout
		}
		c.arm(wait, wait+wait/4)
		_, err := c.meter.r.Peek(1)
		if err == nil {
			v.pinged = false
			c.arm(v.HeadTimeout, max(v.HeadTimeout, v.IdleTimeout+v.IdleTimeout/4))
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		c.mu.Lock()
		switch {
		case c.err != nil:
		case c.open == 0 && v.running == 0:
			c.goAway(wire.ErrCodeNo, ErrClosed)
		case v.pinged:
			c.fail(errSilent)
		default:
			v.pinged = true
			c.wf.WritePing(false, [8]byte{})
			c.forced()
		}
		ended := c.err != nil
		c.mu.Unlock()
		if ended {
			return ErrClosed
		}
	}
}

// calm counts frames that are a bother and reports whether the peer keeps within bounds.
func (v *serving) calm(f wire.Frame) bool {
	switch f := f.(type) {
	case *wire.MetaHeadersFrame:
		return true
	case *wire.WindowUpdateFrame:
		if f.Increment >= 1<<10 {
			return true
		}
	case *wire.DataFrame:
		if f.Length > 0 || f.StreamEnded() {
			return true
		}
	}
	return v.bothered()
}

// pleased notes that the client was sent something that it asked for, which it may well follow
// with credit for a few bytes, a ping to measure the line, or a reset.
func (v *serving) pleased() { v.bother = max(v.bother-3, 0) }

func (v *serving) bothered() bool {
	if v.bother++; v.bother <= maxBother {
		return true
	}
	now := time.Now()
	calm := now.Sub(v.botherAt) > time.Second
	v.botherAt, v.bother = now, 0
	return calm
}

// refuse counts an error of a stream, and tells the client of it where the stream is not open.
func (c *Conn) refuse(id uint32, code wire.ErrCode) {
	idle := c.idle(id)
	switch {
	case !c.serving.bothered() || idle && id%2 == 0:
		c.goAway(wire.ErrCodeEnhanceYourCalm, errProtocol)
	case idle:
		c.lastID = id
		c.serving.past.add(id, true)
		c.wf.WriteRSTStream(id, code)
		c.forced()
	case c.streams[id] == nil:
		c.wf.WriteRSTStream(id, code)
		c.forced()
	}
}

// asked begins a stream that the client opens.
func (c *Conn) asked(f *wire.MetaHeadersFrame) error {
	if f.StreamID%2 == 0 {
		return wire.ConnectionError(wire.ErrCodeProtocol)
	}
	if dependsOnItself(f.HeadersFrame.Priority, f.StreamID) {
		return wire.StreamError{StreamID: f.StreamID, Code: wire.ErrCodeProtocol}
	}
	if c.leaving {
		return nil // it was told, and asks somebody else
	}
	// A handler may outlive its stream for a moment, or for long where clients open streams and
	// reset them: both are bounded.
	if c.open >= c.cfg.Streams || c.serving.running >= 2*c.cfg.Streams {
		return wire.StreamError{StreamID: f.StreamID, Code: wire.ErrCodeRefusedStream}
	}
	c.lastID = f.StreamID
	s := &Stream{c: c, id: f.StreamID, length: -1, recvWindow: c.cfg.Window, sendWindow: c.peerWindow, request: &Request{},
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
	if f.Truncated {
		s.request.Refuse = 431
	} else if err := s.take(f); err != nil {
		s.request.Refuse = 400
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	c.open++
	c.streams[s.id] = s
	if f.StreamEnded() {
		s.finish()
		if s.err != nil { // a length, and no body
			s.err, s.request.Refuse = nil, 400
		}
	}
	c.serving.running++
	c.serving.ended.Add(1)
	c.serving.Workers.handle(s)
	return nil
}

// dependsOnItself reports whether a stream is said to depend on itself (RFC 7540 section 5.3.1).
// Priorities are without effect otherwise.
func dependsOnItself(p wire.PriorityParam, id uint32) bool { return !p.IsZero() && p.StreamDep == id }

// take takes the request's head.
func (s *Stream) take(f *wire.MetaHeadersFrame) error {
	r := s.request
	r.Method, r.Scheme, r.Authority, r.Path = f.PseudoValue("method"), f.PseudoValue("scheme"), f.PseudoValue("authority"), f.PseudoValue("path")
	s.method = r.Method
	s.fields = f.RegularFields()
	connect := r.Method == "CONNECT"
	if r.Method == "" || connect && r.Authority == "" || !connect && (r.Scheme == "" || r.Path == "") || len(f.PseudoValue("status")) > 0 {
		return errProtocol
	}
	for _, f := range s.fields {
		switch f.Name {
		case "connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade": // RFC 9113 section 8.2.2
			return errProtocol
		case "te":
			if f.Value != "trailers" {
				return errProtocol
			}
		case "host":
			if r.Authority != "" && !strings.EqualFold(f.Value, r.Authority) {
				return errProtocol
			}
			r.Authority = f.Value
		case "expect":
			r.expects = strings.EqualFold(f.Value, "100-continue")
		}
	}
	return s.takeLength()
}

// Request returns the head of the request that opened the stream, and its fields.
func (s *Stream) Request() (*Request, []hpack.HeaderField) { return s.request, s.fields }

// Context ends with the stream: when the client gives it up, or its handler has returned.
func (s *Stream) Context() context.Context { return s.ctx }

// Bodyless reports whether the request has no body.
func (s *Stream) Bodyless() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.recvEnd && len(s.in) == 0
}

// Invite asks the client for the body, once, where it waits for that.
func (s *Stream) Invite() {
	if !s.request.expects {
		return
	}
	s.request.expects = false
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.closed() == nil && len(s.in) == 0 && !s.recvEnd {
		s.c.writeBlock(s.id, false, func(h *Head) { h.Field(":status", "100") })
		s.c.flush()
	}
}

// SendHead sends the head of the answer. The end says that there is no body; otherwise it may wait for
// what is written next, or for Flush.
func (s *Stream) SendHead(status int, end bool, fill func(*Head)) error {
	return s.sendBlock(end, func(h *Head) {
		h.Field(":status", strconv.Itoa(status))
		fill(h)
	})
}

// SendTrailer ends the answer with a trailer.
func (s *Stream) SendTrailer(fill func(*Head)) error { return s.sendBlock(true, fill) }

func (s *Stream) sendBlock(end bool, fill func(*Head)) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := s.closed(); err != nil {
		return err
	}
	c.writeBlock(s.id, end, fill)
	if end {
		s.sendEnd = true
		s.half()
		c.flush()
	}
	return nil
}

// Workers run handlers. Those that have nothing to do are kept for a while: a goroutine that
// has handled a request has the stack that the next one needs.
type Workers struct {
	next chan *Stream
	idle atomic.Int32
}

// maxIdleWorkers is how many workers wait for something to do.
const maxIdleWorkers = 256

// NewWorkers returns workers, which Close sends home.
func NewWorkers() *Workers { return &Workers{next: make(chan *Stream)} }

// Close ends the workers. No connection that uses them may be served any more.
func (w *Workers) Close() { close(w.next) }

func (w *Workers) handle(s *Stream) {
	select {
	case w.next <- s:
	default:
		go w.work(s)
	}
}

func (w *Workers) work(s *Stream) {
	for s != nil {
		s.handle()
		s = nil
		if w.idle.Add(1) <= maxIdleWorkers {
			s = <-w.next
		}
		w.idle.Add(-1)
	}
}

// handle has the stream handled.
func (s *Stream) handle() {
	c := s.c
	defer func() {
		s.Close()
		s.cancel()
		c.mu.Lock()
		if c.serving.running--; c.open == 0 && c.serving.running == 0 && c.leaving {
			c.goAway(wire.ErrCodeNo, ErrClosed)
		}
		c.mu.Unlock()
		c.serving.ended.Done()
	}()
	c.serving.Handle(s)
}

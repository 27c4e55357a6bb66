package http2

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Stream is one exchange. One goroutine at a time may send, and one receive; Close may be
// called by any.
type Stream struct {
	c   *Conn
	ctx context.Context
	id  uint32

	opened             time.Time
	readable, writable chan struct{}
	listed             bool // in the connection's wakes

	// What follows is guarded by the connection's lock.
	method     string
	status     int // 0 until the head has come
	interim    int
	fields     []hpack.HeaderField
	trailer    []hpack.HeaderField
	length     int64 // of the body as the head says; -1 where it does not
	in         []byte
	off        int // of in, read already
	got        int64
	reads      int64 // the connection's when the stream was opened
	recvWindow int
	unpaid     int // read, and no credit given for it yet
	sendWindow int64
	recvEnd    bool // the peer has sent everything
	sendEnd    bool // we have
	waits      bool // to send
	gone       bool // the connection has forgotten it
	peerReset  bool
	err        error

	request *Request           // of a stream that the peer opened
	cancel  context.CancelFunc // of such a stream's context
	unread  bool               // nobody may read any more
}

// maxInterim is how many heads of 1xx may come before the one that counts.
const maxInterim = 32

// Open begins the stream that a place was reserved for, with the head that fill writes. The end says
// that there is no body. The stream's waits end with ctx.
func (c *Conn) Open(ctx context.Context, method string, end bool, fill func(*Head)) (*Stream, error) {
	s := &Stream{c: c, ctx: ctx, method: method, length: -1, recvWindow: c.cfg.Window, sendEnd: end, opened: time.Now(),
		readable: make(chan struct{}, 1), writable: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.usable() {
		c.freed()
		return nil, fmt.Errorf("%w: %w", ErrUnprocessed, ErrClosed)
	}
	s.id, s.sendWindow, s.reads = c.nextID, c.peerWindow, c.reads
	c.nextID += 2
	c.streams[s.id] = s
	c.writeBlock(s.id, end, fill)
	c.flush()
	return s, nil
}

// Answer waits for the answer's head.
func (s *Stream) Answer() (status int, fields []hpack.HeaderField, err error) {
	for {
		s.c.mu.Lock()
		status, fields, err = s.status, s.fields, s.err
		s.c.mu.Unlock()
		if status != 0 {
			return status, fields, nil
		}
		if err == nil {
			err = s.wait(s.readable)
		}
		if err != nil {
			return 0, nil, err
		}
	}
}

// Length is that of the body that the peer sends, -1 where it is unknown.
func (s *Stream) Length() int64 {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.length < 0 && s.recvEnd && s.got == 0 && (s.request != nil || s.method != "HEAD") {
		return 0
	}
	return s.length
}

// Trailer returns the trailer that the peer sent, once the body has been read.
func (s *Stream) Trailer() []hpack.HeaderField {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.trailer
}

// Ready reports whether Read would return at once.
func (s *Stream) Ready() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return len(s.in) > s.off || s.recvEnd || s.err != nil
}

// Read implements io.Reader for the body that the peer sends. The last bytes come with io.EOF.
func (s *Stream) Read(p []byte) (int, error) {
	c := s.c
	for {
		c.mu.Lock()
		if s.unread {
			c.mu.Unlock()
			return 0, ErrClosed
		}
		n := copy(p, s.in[s.off:])
		if s.off += n; s.off == len(s.in) {
			s.in, s.off = s.in[:0], 0
		}
		var err error
		if len(s.in) == 0 {
			if err = s.err; err == nil && s.recvEnd {
				err = io.EOF
			}
		}
		if n > 0 {
			s.pay(n)
		}
		c.mu.Unlock()
		if n > 0 || err != nil || len(p) == 0 {
			return n, err
		}
		if err := s.wait(s.readable); err != nil {
			return 0, err
		}
	}
}

// pay gives the peer credit for what was read, when it has come to something.
func (s *Stream) pay(n int) {
	if s.c.serving != nil {
		s.c.consumed(n)
	}
	s.unpaid += n
	if s.recvEnd || s.gone || s.unpaid < s.c.cfg.Window/2 {
		return
	}
	s.c.wf.WriteWindowUpdate(s.id, uint32(s.unpaid))
	s.recvWindow += s.unpaid
	s.unpaid = 0
	s.c.flush()
}

// Send sends a piece of the body at once, and with end says that it was the last; then it may
// be empty. It waits until all of it is on its way.
func (s *Stream) Send(p []byte, end bool) error { return s.send(p, end, true) }

// Write is Send for a piece that may wait for what is written next, or for Flush.
func (s *Stream) Write(p []byte) (int, error) {
	if err := s.send(p, false, false); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush sends what was written.
func (s *Stream) Flush() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.c.flush()
}

func (s *Stream) send(p []byte, end, now bool) error {
	c := s.c
	for {
		c.mu.Lock()
		s.waitsNot()
		if err := s.closed(); err != nil {
			c.mu.Unlock()
			return err
		}
		for {
			n := int(min(int64(min(len(p), c.peerFrame, maxOut-len(c.out))), s.sendWindow, c.sendWindow))
			if n <= 0 && (len(p) > 0 || !end) {
				break
			}
			n = max(n, 0)
			s.sendEnd = end && n == len(p)
			c.wf.WriteData(s.id, s.sendEnd, p[:n])
			s.sendWindow -= int64(n)
			c.sendWindow -= int64(n)
			if c.serving != nil {
				c.serving.pleased()
			}
			if p = p[n:]; s.sendEnd {
				s.half()
				break
			}
		}
		if now || len(p) > 0 {
			c.flush()
		}
		if len(p) == 0 {
			c.mu.Unlock()
			return nil
		}
		s.waits = true
		c.waiting++
		c.mu.Unlock()
		if err := s.waitToSend(); err != nil {
			return err
		}
	}
}

// waitToSend waits until something has changed for who sends. Clients that take nothing are given up
// after a while; of upstreams, the caller's context decides.
func (s *Stream) waitToSend() error {
	if s.request == nil {
		return s.wait(s.writable)
	}
	t := time.NewTimer(s.c.cfg.WriteTimeout)
	defer t.Stop()
	select {
	case <-s.writable:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	case <-t.C:
		return errStalled
	}
}

// closed is why nothing can be sent any more, nil where it can. The lock is held.
func (s *Stream) closed() error {
	switch {
	case !s.gone && !s.sendEnd:
		return nil
	case s.err != nil:
		return s.err
	}
	return ErrClosed
}

func (s *Stream) waitsNot() {
	if s.waits {
		s.waits = false
		s.c.waiting--
	}
}

// StopReading makes a Read in progress, and all that follow, fail.
func (s *Stream) StopReading() {
	s.c.mu.Lock()
	s.unread = true
	s.c.mu.Unlock()
	s.wake()
}

// Close ends the stream. What it has not sent or received by then, neither side will.
func (s *Stream) Close() {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.gone {
		code := wire.ErrCodeCancel
		if s.request != nil && s.sendEnd {
			code = wire.ErrCodeNo // the answer is whole; what is left of the request is of no use
		}
		if s.malformed() {
			code = wire.ErrCodeProtocol
		}
		s.reset(code, ErrClosed)
		if s.request == nil && c.reads == s.reads && time.Since(s.opened) > suspectAfter {
			c.doubt()
		}
	}
	if s.gone && s.malformed() && s.sendEnd && s.recvEnd && !s.unread && c.err == nil {
		// A malformed request is an error of the stream (RFC 9113 section 8.1.1), which has its
		// answer and has ended by now.
		c.wf.WriteRSTStream(s.id, wire.ErrCodeProtocol)
		c.forced()
	}
	if left := len(s.in) - s.off; left > 0 && c.serving != nil {
		c.consumed(left)
	}
	s.in, s.off, s.unread = nil, 0, true
}

// malformed reports whether the peer's request is.
func (s *Stream) malformed() bool { return s.request != nil && s.request.Refuse == 400 }

// reset gives the stream up and tells the peer.
func (s *Stream) reset(code wire.ErrCode, err error) {
	if c := s.c; c.err == nil {
		c.wf.WriteRSTStream(s.id, code)
		c.forced()
	}
	s.fail(err)
}

// fail ends the stream with an error, unless everything was received.
func (s *Stream) fail(err error) {
	if s.err == nil && !s.recvEnd {
		s.err = err
	}
	s.forget()
	s.wake()
	if s.cancel != nil {
		s.cancel()
	}
}

// half is called when one side has sent everything.
func (s *Stream) half() {
	if s.recvEnd && s.sendEnd {
		s.forget()
	}
}

func (s *Stream) forget() {
	if s.gone {
		return
	}
	s.gone = true
	s.waitsNot()
	delete(s.c.streams, s.id)
	if v := s.c.serving; v != nil {
		v.past.add(s.id, !s.recvEnd && !s.peerReset)
	}
	s.c.freed()
	s.wakeSender()
}

// wait waits for a wake-up or the end of the stream's context.
func (s *Stream) wait(on chan struct{}) error {
	select {
	case <-on:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *Stream) wake() {
	select {
	case s.readable <- struct{}{}:
	default:
	}
}

func (s *Stream) wakeSender() {
	select {
	case s.writable <- struct{}{}:
	default:
	}
}

// begin takes the head of the answer.
func (s *Stream) begin(f *wire.MetaHeadersFrame) error {
	status, err := strconv.Atoi(f.PseudoValue("status"))
	if err != nil || status < 100 || status > 999 {
		return errProtocol
	}
	if status < 200 {
		if s.interim++; s.interim > maxInterim || status == 101 || f.StreamEnded() {
			return errProtocol
		}
		return nil
	}
	s.fields = f.RegularFields()
	s.status = status
	return s.takeLength()
}

// takeLength takes the body's length from the header.
func (s *Stream) takeLength() error {
	for _, f := range s.fields {
		if f.Name != "content-length" {
			continue
		}
		n, err := strconv.ParseUint(f.Value, 10, 63)
		if err != nil || s.length >= 0 && s.length != int64(n) {
			return errProtocol
		}
		s.length = int64(n)
	}
	return nil
}

// bodyless reports whether what is received is an answer that has no body, whatever its Content-Length.
func (s *Stream) bodyless() bool {
	return s.request == nil && (s.method == "HEAD" || s.status == 204 || s.status == 304)
}

// finish is called when the peer has sent everything.
func (s *Stream) finish() {
	s.recvEnd = true
	if s.length >= 0 && s.got < s.length && !s.bodyless() && s.err == nil {
		s.err = errLength
	}
	s.half()
}

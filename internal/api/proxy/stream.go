package proxy

import (
	"io"
	"net"
	"time"
)

// Sizes of a connection's read buffer: small while heads go by, large for a body that
// streams.
const (
	smallBuffer = 4 << 10
	largeBuffer = 64 << 10
)

// stream is one connection with its read buffer and its time-outs. It is an
// http1.Source.
type stream struct {
	net.Conn
	p   *Proxy
	buf []byte
	// buf[:base] holds the head of the message in progress and stays as it is until the
	// message ends; buf[r:w] is the window.
	base, r, w int
	readWait   time.Duration // between two reads
	large      *[]byte       // the pooled buffer in use

	readAt, writeAt int64 // the deadlines in force, by Proxy.nanos; 0 for none
}

// Window implements http1.Source.
func (s *stream) Window() []byte { return s.buf[s.r:s.w] }

// Consume implements http1.Source.
func (s *stream) Consume(n int) { s.r += n }

// Fill implements http1.Source.
func (s *stream) Fill() error {
	if s.readWait > 0 {
		s.extendRead(s.p.nanos(), s.readWait)
	}
	return s.fill()
}

func (s *stream) fill() error {
	if s.r == s.w {
		s.r, s.w = s.base, s.base
	}
	if s.w == len(s.buf) {
		s.room()
	}
	n, err := s.Conn.Read(s.buf[s.w:])
	s.w += n
	if n > 0 {
		return nil
	}
	if err == io.EOF || err == nil {
		return io.ErrUnexpectedEOF
	}
	return err
}

// room makes space behind the window: by moving it down, or into a larger buffer. The
// old buffer is left alone, since a head's strings may lie in it.
func (s *stream) room() {
	if s.r > s.base && len(s.buf)-s.base >= smallBuffer/2 {
		s.w = s.base + copy(s.buf[s.base:], s.buf[s.r:s.w])
		s.r = s.base
		return
	}
	next := make([]byte, max(2*(s.w-s.r), smallBuffer))
	s.w = copy(next, s.buf[s.r:s.w])
	s.buf, s.base, s.r = next, 0, 0
}

// enlarge makes further reads large, for a body that streams.
func (s *stream) enlarge() {
	if s.large != nil || len(s.buf)-s.base >= largeBuffer {
		return
	}
	s.large = s.p.large.Get().(*[]byte)
	n := copy(*s.large, s.buf[s.r:s.w])
	s.buf, s.base, s.r, s.w = *s.large, 0, 0, n
}

// next begins a new message: what was read beyond the last one moves to the front.
func (s *stream) next() {
	if s.large != nil || len(s.buf) > largeBuffer {
		old := s.buf[s.r:s.w]
		s.buf = make([]byte, max(smallBuffer, len(old)))
		s.w = copy(s.buf, old)
		if s.large != nil {
			s.p.large.Put(s.large)
			s.large = nil
		}
	} else if s.r > 0 {
		s.w = copy(s.buf, s.buf[s.r:s.w])
	}
	s.base, s.r = 0, 0
}

// Moving a deadline costs a timer operation, and a connection under load would move its
// deadlines several times per request. So a deadline in force is left alone as long as
// it is at least the wait away and not later than the wait and two slacks.
func slack(wait time.Duration) int64 { return int64(min(wait/8, time.Second)) }

// extendRead makes reads fail after wait from now, or up to an eighth of it, at most a
// second, later. The time is given, by Proxy.nanos: reading the clock for every deadline
// would cost a request more than the deadlines do.
func (s *stream) extendRead(now int64, wait time.Duration) {
	earliest, sl := now+int64(wait), slack(wait)
	if s.readAt < earliest || s.readAt > earliest+2*sl {
		s.readAt = earliest + sl
		s.Conn.SetReadDeadline(s.p.base.Add(time.Duration(s.readAt)))
	}
}

// extendWrite is extendRead for writes.
func (s *stream) extendWrite(now int64, wait time.Duration) {
	earliest, sl := now+int64(wait), slack(wait)
	if s.writeAt < earliest || s.writeAt > earliest+2*sl {
		s.writeAt = earliest + sl
		s.Conn.SetWriteDeadline(s.p.base.Add(time.Duration(s.writeAt)))
	}
}

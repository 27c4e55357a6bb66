package http2

import (
	"bufio"
	"errors"
	"fmt"

	wire "golang.org/x/net/http2"
)

// meter is the connection as its framer reads it. It bounds what one frame, or a head
// with its continuations, may be long: of continuations there may be any number, empty ones too.
type meter struct {
	r    *bufio.Reader
	left int
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if m.left <= 0 {
		return 0, errTooLarge
	}
	n, err := m.r.Read(p[:min(len(p), m.left)])
	m.left -= n
	return n, err
}

// read is the goroutine that reads.
func (c *Conn) read() {
	for first := true; ; first = false {
		var f wire.Frame
		err := c.await()
		if err == nil {
			c.meter.left = maxPerRead
			f, err = c.fr.ReadFrame()
		}
		c.mu.Lock()
		if err == nil {
			c.reads++
			c.suspect = 0
		}
		if err == nil && first {
			if s, ok := f.(*wire.SettingsFrame); !ok || s.IsAck() {
				err = wire.ConnectionError(wire.ErrCodeProtocol)
			}
		}
		if err == nil && c.err == nil { // no stream begins on a connection that has ended
			err = c.handle(f)
		}
		var ofStream wire.StreamError
		var ofConn wire.ConnectionError
		switch {
		case err == nil:
		case errors.As(err, &ofStream):
			if c.serving != nil {
				c.refuse(ofStream.StreamID, ofStream.Code)
			}
			if s := c.streams[ofStream.StreamID]; s != nil {
				s.reset(ofStream.Code, fmt.Errorf("%w: %w", errProtocol, err))
			}
		case errors.Is(err, wire.ErrFrameTooLarge):
			c.goAway(wire.ErrCodeFrameSize, fmt.Errorf("%w: %w", errProtocol, err))
		case errors.As(err, &ofConn):
			c.goAway(wire.ErrCode(ofConn), fmt.Errorf("%w: %w", errProtocol, err))
		case c.err == nil: // else it was closed on this side, and the writer sees to the rest
			c.fail(err)
		}
		ended := c.err != nil
		c.mu.Unlock()
		if first && !ended {
			close(c.settled)
		}
		// What has come already is handled first: a reader that finds all of an answer has
		// less to do than one that is woken for each part.
		if ended || c.meter.r.Buffered() == 0 || len(c.wakes) >= 64 {
			for i, s := range c.wakes {
				s.listed = false
				s.wake()
				c.wakes[i] = nil
			}
			c.wakes = c.wakes[:0]
		}
		if ended {
			return
		}
	}
}

// later wakes the stream's reader when what was read has been handled.
func (c *Conn) later(s *Stream) {
	if !s.listed {
		s.listed = true
		c.wakes = append(c.wakes, s)
	}
}

// handle acts on a frame. An error of the library's types is the peer's doing.
func (c *Conn) handle(f wire.Frame) error {
	if c.serving != nil && !c.serving.calm(f) {
		return wire.ConnectionError(wire.ErrCodeEnhanceYourCalm)
	}
	switch f := f.(type) {
	case *wire.MetaHeadersFrame:
		return c.headers(f)
	case *wire.DataFrame:
		return c.data(f)
	case *wire.SettingsFrame:
		return c.settings(f)
	case *wire.PingFrame:
		if f.IsAck() {
			c.drained()
		} else {
			c.wf.WritePing(true, f.Data)
			c.forced()
		}
	case *wire.WindowUpdateFrame:
		return c.windowUpdate(f)
	case *wire.RSTStreamFrame:
		if c.idle(f.StreamID) {
			return wire.ConnectionError(wire.ErrCodeProtocol)
		}
		if s := c.streams[f.StreamID]; s != nil {
			s.peerReset = true
			s.fail(resetError(f.ErrCode))
		}
	case *wire.PriorityFrame:
		if !dependsOnItself(f.PriorityParam, f.StreamID) {
			return nil
		}
		if c.streams[f.StreamID] == nil { // a stream that is idle cannot be reset
			return wire.ConnectionError(wire.ErrCodeProtocol)
		}
		return wire.StreamError{StreamID: f.StreamID, Code: wire.ErrCodeProtocol}
	case *wire.GoAwayFrame:
		c.leave(f)
	case *wire.PushPromiseFrame:
		return wire.ConnectionError(wire.ErrCodeProtocol) // we said that we do not want any
	}
	return nil
}

func resetError(code wire.ErrCode) error {
	err := error(&ResetError{code})
	if code == wire.ErrCodeRefusedStream {
		return fmt.Errorf("%w: %w", ErrUnprocessed, err)
	}
	return err
}

// idle reports whether a stream has never been.
func (c *Conn) idle(id uint32) bool {
	if c.serving != nil {
		return id%2 == 0 || id > c.lastID
	}
	return id%2 == 0 || id >= c.nextID
}

// stream returns the stream of a frame, nil for one that has ended, and for one that came when
// this side was leaving.
func (c *Conn) stream(id uint32) (*Stream, error) {
	s := c.streams[id]
	if s == nil && c.idle(id) && (c.serving == nil || !c.leaving || id%2 == 0) {
		return nil, wire.ConnectionError(wire.ErrCodeProtocol)
	}
	return s, nil
}

// late is what a frame with a head or a body is where its stream is not open.
func (c *Conn) late(id uint32, head bool) error {
	if c.serving == nil || c.idle(id) {
		return nil
	}
	return c.serving.past.violation(id, head)
}

func (c *Conn) headers(f *wire.MetaHeadersFrame) error {
	if c.serving != nil && c.idle(f.StreamID) {
		return c.asked(f)
	}
	s, err := c.stream(f.StreamID)
	if s == nil {
		if err == nil {
			err = c.late(f.StreamID, true)
		}
		return err
	}
	switch {
	case dependsOnItself(f.HeadersFrame.Priority, f.StreamID):
		return wire.StreamError{StreamID: s.id, Code: wire.ErrCodeProtocol}
	case f.Truncated:
		s.reset(wire.ErrCodeEnhanceYourCalm, errTooLarge)
		return nil
	case s.recvEnd:
		return wire.StreamError{StreamID: s.id, Code: wire.ErrCodeStreamClosed}
	case s.status == 0 && s.request == nil:
		err = s.begin(f)
	case !f.StreamEnded() || len(f.PseudoFields()) > 0:
		err = errProtocol
	default:
		s.trailer = f.Fields
	}
	if err != nil {
		return wire.StreamError{StreamID: s.id, Code: wire.ErrCodeProtocol, Cause: err}
	}
	if f.StreamEnded() {
		s.finish()
	}
	if s.status != 0 || s.request != nil {
		c.later(s)
	}
	return nil
}

func (c *Conn) data(f *wire.DataFrame) error {
	size := int(f.Length) // with the padding
	if c.recvWindow -= size; c.recvWindow < 0 {
		return wire.ConnectionError(wire.ErrCodeFlowControl)
	}
	s, err := c.stream(f.StreamID)
	if s == nil || c.serving == nil {
		c.consumed(size)
	}
	if s == nil {
		if err == nil {
			err = c.late(f.StreamID, false)
		}
		return err
	}
	body := f.Data()
	if code := s.accept(body, size); code != wire.ErrCodeNo {
		if c.serving != nil {
			c.consumed(size)
		}
		return wire.StreamError{StreamID: s.id, Code: code}
	}
	s.in = append(s.in, body...)
	if f.StreamEnded() {
		s.finish()
	}
	if padding := size - len(body); padding > 0 {
		s.pay(padding)
	}
	if len(body) > 0 || s.recvEnd {
		c.later(s)
	}
	return nil
}

// accept says what is wrong with a piece of a body, whose frame is of the size; ErrCodeNo for
// nothing.
func (s *Stream) accept(body []byte, size int) wire.ErrCode {
	if s.recvEnd {
		return wire.ErrCodeStreamClosed
	}
	if s.recvWindow -= size; s.recvWindow < 0 {
		return wire.ErrCodeFlowControl
	}
	s.got += int64(len(body))
	if s.status == 0 && s.request == nil || s.bodyless() && len(body) > 0 || s.length >= 0 && s.got > s.length {
		return wire.ErrCodeProtocol
	}
	return wire.ErrCodeNo
}

// consumed gives the peer credit for what the connection holds no longer, when it has come to
// something.
func (c *Conn) consumed(n int) {
	if c.unpaid += n; c.unpaid < connWindow/2 || c.err != nil {
		return
	}
	c.wf.WriteWindowUpdate(0, uint32(c.unpaid))
	c.recvWindow += c.unpaid
	c.unpaid = 0
	c.forced()
}

func (c *Conn) settings(f *wire.SettingsFrame) error {
	if f.IsAck() {
		return nil
	}
	err := f.ForeachSetting(func(set wire.Setting) error {
		if err := set.Valid(); err != nil {
			return err
		}
		switch set.ID {
		case wire.SettingHeaderTableSize:
			c.head.enc.SetMaxDynamicTableSizeLimit(set.Val)
			c.head.enc.SetMaxDynamicTableSize(min(set.Val, 4096))
		case wire.SettingMaxConcurrentStreams:
			c.peerStreams = int(min(set.Val, maxWindow))
		case wire.SettingMaxFrameSize:
			c.peerFrame = min(int(set.Val), maxFrame)
		case wire.SettingInitialWindowSize:
			more := int64(set.Val) - c.peerWindow
			c.peerWindow = int64(set.Val)
			for _, s := range c.streams {
				if s.sendWindow += more; s.sendWindow > maxWindow {
					return wire.ConnectionError(wire.ErrCodeFlowControl)
				}
			}
			c.wakeSenders()
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.wf.WriteSettingsAck()
	c.forced()
	return nil
}

func (c *Conn) windowUpdate(f *wire.WindowUpdateFrame) error {
	if f.StreamID == 0 {
		if c.sendWindow += int64(f.Increment); c.sendWindow > maxWindow {
			return wire.ConnectionError(wire.ErrCodeFlowControl)
		}
		c.wakeSenders()
		return nil
	}
	s, err := c.stream(f.StreamID)
	if s == nil {
		return err
	}
	if s.sendWindow += int64(f.Increment); s.sendWindow > maxWindow {
		return wire.StreamError{StreamID: s.id, Code: wire.ErrCodeFlowControl}
	}
	s.wakeSender()
	return nil
}

// leave obeys a goodbye: streams that the peer has not begun with fail, the others go on.
func (c *Conn) leave(f *wire.GoAwayFrame) {
	c.leaving = true
	for id, s := range c.streams {
		if id > f.LastStreamID {
			s.fail(fmt.Errorf("%w: %w", ErrUnprocessed, &ResetError{f.ErrCode}))
		}
	}
	if c.open == 0 {
		c.goAway(wire.ErrCodeNo, ErrClosed)
	}
}

package http2

import (
	"bytes"
	"runtime"
	"strings"
	"time"

	wire "golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// sink is the connection as its framer sees it: a buffer.
type sink Conn

// Write implements io.Writer.
func (s *sink) Write(p []byte) (int, error) {
	s.out = append(s.out, p...)
	return len(p), nil
}

// flush has the writer write what is in the buffer.
func (c *Conn) flush() {
	if c.writing {
		return
	}
	c.writing = true
	c.kick <- struct{}{} // it has room: only who sets writing sends
}

// forced is flush after frames that no window bounds.
func (c *Conn) forced() {
	if len(c.out) > maxForcedOut {
		c.fail(errFlood)
		return
	}
	c.flush()
}

// write is the goroutine that writes.
func (c *Conn) write() {
	var deadline time.Time
	for {
		<-c.kick
		// Others that are about to run have something to write as well: what they add leaves
		// with the rest.
		runtime.Gosched()
		for {
			c.mu.Lock()
			buf := c.out
			if len(buf) == 0 {
				c.writing = false
				ended, failed := c.err != nil, c.failed
				c.mu.Unlock()
				if ended {
					c.finish(failed)
					return
				}
				break
			}
			c.out, c.spare = c.spare[:0], nil
			c.mu.Unlock()
			if now := time.Now(); deadline.Sub(now) < c.cfg.WriteTimeout {
				deadline = now.Add(c.cfg.WriteTimeout + c.cfg.WriteTimeout/4)
				c.nc.SetWriteDeadline(deadline)
			}
			_, err := c.nc.Write(buf)
			c.mu.Lock()
			if c.open > 0 && cap(buf) <= 2*maxOut || cap(buf) <= maxIdleOut {
				c.spare = buf[:0]
			}
			if err != nil {
				c.out = c.out[:0]
				c.failed = true
				if c.err == nil {
					c.end(err)
				}
			} else if c.err == nil {
				c.wakeSenders()
			}
			c.mu.Unlock()
		}
	}
}

// finish ends the connection when everything is written. A connection that still has something to
// be read would be reset, and the peer might not see what it was sent last: on the side that
// answers, Serve reads on for a moment.
func (c *Conn) finish(failed bool) {
	if hc, ok := c.nc.(interface{ CloseWrite() error }); ok && c.serving != nil && !failed && hc.CloseWrite() == nil {
		return
	}
	c.nc.Close()
}

// wakeSenders wakes the streams that wait to send.
func (c *Conn) wakeSenders() {
	if c.waiting == 0 {
		return
	}
	for _, s := range c.streams {
		if s.waits {
			s.wakeSender()
		}
	}
}

// Head is a head or trailer that is being written. Strings given to it are read before the call
// returns.
type Head struct {
	enc   *hpack.Encoder
	block bytes.Buffer
}

// Field adds a field, whose name may have capital letters, and remembers it: another
// message with the same field is a byte for it.
func (h *Head) Field(name, value string) {
	h.enc.WriteField(hpack.HeaderField{Name: lower(name), Value: strings.Clone(value)})
}

// Once is Field for a value that is not expected to come again. name is in lower case.
func (h *Head) Once(name, value string) {
	h.enc.WriteField(hpack.HeaderField{Name: name, Value: value, Sensitive: true})
}

// lower returns a field's name in lower case and in memory of its own.
func lower(name string) string {
	for i := range len(name) {
		if 'A' <= name[i] && name[i] <= 'Z' {
			return strings.ToLower(name)
		}
	}
	return strings.Clone(name)
}

// writeBlock writes what fill puts into a head, in as many frames as it takes.
func (c *Conn) writeBlock(id uint32, end bool, fill func(*Head)) {
	c.head.block.Reset()
	fill(&c.head)
	block := c.head.block.Bytes()
	first := block[:min(len(block), c.peerFrame)]
	block = block[len(first):]
	c.wf.WriteHeaders(wire.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		next := block[:min(len(block), c.peerFrame)]
		block = block[len(next):]
		c.wf.WriteContinuation(id, len(block) == 0, next)
	}
}

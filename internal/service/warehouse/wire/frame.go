package wire

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Limits of one connection.
const (
	MaxFrame       = 64 << 20 // bytes of one frame
	MaxDescriptors = 200      // descriptors in one system call; the kernel's limit is 253
)

// Conn sends and receives frames with descriptors over a Unix stream socket. One
// goroutine may read while others write.
type Conn struct {
	c   *net.UnixConn
	wmu sync.Mutex

	buf   []byte // read but not consumed
	oob   []byte
	files []*os.File // received, their carrier not yet read
	next  []*os.File // of the carriers before the next frame
}

// NewConn returns a Conn over c.
func NewConn(c *net.UnixConn) *Conn {
	return &Conn{c: c, oob: make([]byte, unix.CmsgSpace(4*253))}
}

// Close closes the socket. A blocked Read or Write returns.
func (c *Conn) Close() error { return c.c.Close() }

// Write sends one frame, its descriptors in front. The descriptors stay the caller's.
func (c *Conn) Write(kind byte, payload []byte, files ...*os.File) error {
	if len(payload)+1 > MaxFrame {
		return fmt.Errorf("a frame of %d bytes exceeds the limit of %d", len(payload), MaxFrame)
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	header := binary.BigEndian.AppendUint32(make([]byte, 0, 5), uint32(len(payload)+1))
	header = append(header, kind)
	// The kernel takes a bounded number of descriptors in one call, so they travel on
	// carrier frames of their own in front.
	for len(files) > 0 {
		n := min(len(files), MaxDescriptors)
		fds := make([]int, n)
		for i, f := range files[:n] {
			fds[i] = int(f.Fd())
		}
		carrier := []byte{0, 0, 0, 2, frameDescriptors, byte(n)}
		if _, _, err := c.c.WriteMsgUnix(carrier, unix.UnixRights(fds...), nil); err != nil {
			return err
		}
		files = files[n:]
	}
	bufs := net.Buffers{header, payload}
	_, err := bufs.WriteTo(c.c)
	return err
}

// WriteJSON sends one frame whose payload is v as JSON.
func (c *Conn) WriteJSON(kind byte, v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return c.Write(kind, b, files...)
}

// Frame is one message as it arrived. The payload is valid until the next Read; the
// descriptors belong to the receiver, who closes them.
type Frame struct {
	Kind    byte
	Payload []byte
	Files   []*os.File
}

// Read returns the next frame with the descriptors sent in front of it.
func (c *Conn) Read() (Frame, error) {
	for {
		need := 4
		if len(c.buf) >= 4 {
			n := int(binary.BigEndian.Uint32(c.buf))
			if n < 1 || n > MaxFrame {
				return Frame{}, fmt.Errorf("a frame of %d bytes is out of bounds", n)
			}
			if need += n; len(c.buf) >= need {
				f := Frame{Kind: c.buf[4], Payload: c.buf[5:need]}
				c.buf = c.buf[need:]
				if f.Kind == frameDescriptors {
					if len(f.Payload) != 1 {
						return Frame{}, errors.New("a carrier of the wrong length")
					}
					// The kernel may hand descriptors over together with bytes before their
					// carrier, so only the carrier says which are whose.
					n := int(f.Payload[0])
					if n > len(c.files) {
						return Frame{}, errors.New("a carrier came without its descriptors")
					}
					c.next, c.files = append(c.next, c.files[:n]...), c.files[n:]
					continue
				}
				f.Files, c.next = c.next, nil
				return f, nil
			}
		}
		if err := c.fill(need); err != nil {
			return Frame{}, err
		}
	}
}

// fill reads at least once so that the buffer can come to hold want bytes.
func (c *Conn) fill(want int) error {
	if cap(c.buf) < want || cap(c.buf)-len(c.buf) < 4096 {
		grown := make([]byte, len(c.buf), max(want, 64<<10)+4096)
		copy(grown, c.buf)
		c.buf = grown
	}
	n, oobn, _, _, err := c.c.ReadMsgUnix(c.buf[len(c.buf):cap(c.buf)], c.oob)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if oobn > 0 {
		if err := c.takeRights(c.oob[:oobn]); err != nil {
			return err
		}
	}
	if n == 0 {
		if len(c.buf) > 0 {
			return io.ErrUnexpectedEOF
		}
		return io.EOF
	}
	c.buf = c.buf[:len(c.buf)+n]
	return nil
}

func (c *Conn) takeRights(oob []byte) error {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return err
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			return err
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			c.files = append(c.files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return nil
}

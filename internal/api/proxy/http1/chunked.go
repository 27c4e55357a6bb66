package http1

import (
	"bytes"
	"io"

	"sluice.dev/sluice/internal/service/gateway"
)

// Source gives the bytes of a connection that are already read, and reads more.
type Source interface {
	// Window returns what was read and not consumed.
	Window() []byte
	// Consume drops the first n bytes of the window.
	Consume(n int)
	// Fill reads more into the window. It fails with io.ErrUnexpectedEOF at the end.
	Fill() error
}

// Body reads one message's body from a Source, and exactly that.
type Body struct {
	src     Source
	framing Framing
	left    int64 // of the chunk, or of the body
	count   int64
	state   bodyState
	trailer gateway.Header
	err     error
}

type bodyState uint8

const (
	bodyData bodyState = iota
	bodyChunkSize
	bodyChunkEnd
	bodyDone
)

// maxChunkLine bounds a chunk's size line with its extensions, and maxTrailer the
// trailer section.
const (
	maxChunkLine = 4 << 10
	maxTrailer   = 8 << 10
)

// Reset prepares the body for a message framed by f.
func (b *Body) Reset(src Source, f Framing) {
	b.trailer.Reset()
	*b = Body{src: src, framing: f, left: f.Length, trailer: b.trailer}
	switch {
	case f.Chunked:
		b.state, b.left = bodyChunkSize, 0
	case !f.UntilClose && f.Length <= 0:
		b.state = bodyDone
	}
}

// Done reports whether the whole body has been read.
func (b *Body) Done() bool { return b.state == bodyDone }

// Left returns how many bytes of the body are still to be read, -1 where that is unknown.
func (b *Body) Left() int64 {
	switch {
	case b.state == bodyDone:
		return 0
	case b.framing.Chunked || b.framing.UntilClose:
		return -1
	}
	return b.left
}

// Count returns how many bytes of the body have been read.
func (b *Body) Count() int64 { return b.count }

// Trailer returns the trailer lines of a chunked body that has been read.
func (b *Body) Trailer() *gateway.Header { return &b.trailer }

// Read implements io.Reader.
func (b *Body) Read(p []byte) (int, error) {
	chunk, err := b.Next(len(p))
	n := copy(p, chunk)
	b.Advance(n)
	if n > 0 {
		return n, nil
	}
	return 0, err
}

// Next returns body bytes that lie in the source's window, at most limit, reading more
// where there are none. They stay until Advance. io.EOF says that the body is over.
func (b *Body) Next(limit int) ([]byte, error) {
	if b.err != nil {
		return nil, b.err
	}
	chunk, err := b.next(limit)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return chunk, err
}

func (b *Body) next(limit int) ([]byte, error) {
	for {
		switch b.state {
		case bodyDone:
			return nil, io.EOF
		case bodyChunkSize:
			if err := b.chunkSize(); err != nil {
				return nil, err
			}
			continue
		case bodyChunkEnd:
			if err := b.chunkEnd(); err != nil {
				return nil, err
			}
			continue
		}
		w := b.src.Window()
		if len(w) == 0 {
			if err := b.src.Fill(); err != nil {
				if b.framing.UntilClose && err == io.ErrUnexpectedEOF {
					b.state = bodyDone
					return nil, io.EOF
				}
				return nil, err
			}
			continue
		}
		if !b.framing.UntilClose && int64(len(w)) > b.left {
			w = w[:b.left]
		}
		return w[:min(len(w), limit)], nil
	}
}

// Advance consumes n bytes of what Next returned.
func (b *Body) Advance(n int) {
	b.src.Consume(n)
	b.count += int64(n)
	if n == 0 || b.framing.UntilClose {
		return
	}
	if b.left -= int64(n); b.left == 0 {
		b.state = bodyDone
		if b.framing.Chunked {
			b.state = bodyChunkEnd
		}
	}
}

// line returns the next CRLF-terminated line of at most limit bytes, without its end,
// and consumes it. The line is valid until the next Fill.
func (b *Body) line(limit int) ([]byte, error) {
	for {
		w := b.src.Window()
		if i := bytes.IndexByte(w, '\n'); i >= 0 {
			if i == 0 || w[i-1] != '\r' {
				return nil, refuse(400, "bare LF in a chunked body")
			}
			if i-1 > limit {
				return nil, refuse(400, "line too long in a chunked body")
			}
			b.src.Consume(i + 1)
			return w[:i-1], nil
		}
		if len(w) > limit+1 { // its CR may be there already
			return nil, refuse(400, "line too long in a chunked body")
		}
		if err := b.src.Fill(); err != nil {
			return nil, err
		}
	}
}

// chunkSize reads "1f;ext=1" and, after the last chunk, the trailer section.
func (b *Body) chunkSize() error {
	line, err := b.line(maxChunkLine)
	if err != nil {
		return err
	}
	n, digits := int64(0), 0
	for digits < len(line) && isHex(line[digits]) {
		if digits == 15 {
			return refuse(400, "chunk too large")
		}
		n = n<<4 | int64(unhex(line[digits]))
		digits++
	}
	ext := line[digits:]
	if digits == 0 || len(ext) > 0 && ext[0] != ';' || !validValue(ext) {
		return refuse(400, "bad chunk size")
	}
	if n > 0 {
		b.left, b.state = n, bodyData
		return nil
	}
	return b.readTrailer()
}

func (b *Body) readTrailer() error {
	total := 0
	for {
		line, err := b.line(maxTrailer)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			b.state = bodyDone
			return nil
		}
		if total += len(line); total > maxTrailer {
			return refuse(400, "trailer too large")
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) || !validValue(line[colon+1:]) {
			return refuse(400, "bad trailer")
		}
		b.trailer.AddValid(string(line[:colon]), string(trimSpace(line[colon+1:])))
	}
}

func (b *Body) chunkEnd() error {
	for len(b.src.Window()) < 2 {
		if err := b.src.Fill(); err != nil {
			return err
		}
	}
	if w := b.src.Window(); w[0] != '\r' || w[1] != '\n' {
		return refuse(400, "bad end of chunk")
	}
	b.src.Consume(2)
	b.state = bodyChunkSize
	return nil
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func unhex(c byte) byte {
	if isDigit(c) {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

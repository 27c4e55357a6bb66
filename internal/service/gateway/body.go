package gateway

import (
	"bytes"
	"errors"
	"io"
	"unsafe"
)

// ErrBodyTooLarge is returned by Body for a body above the caller's limit.
var ErrBodyTooLarge = errors.New("the request body is larger than allowed")

// requestBody is the request's body: a stream the engine reads from the client, or bytes
// once somebody asked for the whole of it.
type requestBody struct {
	source   io.Reader // nil where there is no body
	buf      []byte    // kept from exchange to exchange while it is small
	buffered bool      // buf is the whole body
}

// TooLargeMessage is what a client is told whose body is larger than allowed.
const TooLargeMessage = "Request size limit exceeded"

// LimitBody gives the request up, with ErrBodyTooLarge, when more than limit bytes of its
// body have come. It is for bodies of unknown length, which are counted on their way.
func (x *Exchange) LimitBody(limit int64) {
	if x.body.source != nil {
		x.body.source = &limited{x.body.source, limit}
	}
}

// limited is a stream that fails when it is longer than left.
type limited struct {
	io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.Reader.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, ErrBodyTooLarge
	}
	return n, err
}

// keptBody is the largest buffer kept for the next exchange.
const keptBody = 64 << 10

func (b *requestBody) reset() {
	b.source, b.buffered = nil, false
	if cap(b.buf) > keptBody {
		b.buf = nil
	}
	b.buf = b.buf[:0]
}

// SetSource is for the engine: the stream of the body, nil where there is none, and its
// length, -1 where it is unknown.
func (x *Exchange) SetSource(r io.Reader, length int64) {
	x.body.source, x.Request.Length = r, length
}

// Body reads the whole request body and returns it; the upstream still gets it. A body
// of more than limit bytes gives ErrBodyTooLarge, and can be streamed as before.
func (x *Exchange) Body(limit int) ([]byte, error) {
	b := &x.body
	if b.buffered {
		if len(b.buf) > limit {
			return nil, ErrBodyTooLarge
		}
		return b.buf, nil
	}
	if b.source == nil {
		return nil, nil
	}
	if x.Request.Length > int64(limit) {
		return nil, ErrBodyTooLarge
	}
	if n := x.Request.Length; n > int64(cap(b.buf)) {
		b.buf = make([]byte, 0, n)
	}
	for {
		if len(b.buf) == cap(b.buf) {
			if int64(len(b.buf)) == x.Request.Length {
				// Full to the byte: what is left is the stream's end, which must be read for
				// the engine to know that the body is over.
				var one [1]byte
				if n, err := b.source.Read(one[:]); n == 0 && err == io.EOF {
					break
				} else if err != nil {
					return nil, err
				}
				continue
			}
			b.buf = append(b.buf, 0)[:len(b.buf)]
		}
		n, err := b.source.Read(b.buf[len(b.buf):cap(b.buf)])
		b.buf = b.buf[:len(b.buf)+n]
		if len(b.buf) > limit {
			// What was read goes first when the body is streamed after all.
			b.source = io.MultiReader(bytes.NewReader(b.buf), b.source)
			b.buf = nil
			return nil, ErrBodyTooLarge
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			b.source = failed{err} // what was read is not the whole: nobody may take it for that
			return nil, err
		}
	}
	b.buffered, b.source = true, nil
	x.Request.Length = int64(len(b.buf))
	return b.buf, nil
}

// SetBody replaces the request's body. The bytes must not change until the exchange ends.
func (x *Exchange) SetBody(p []byte) {
	x.body.buf = append(x.body.buf[:0], p...)
	x.body.buffered, x.body.source = true, nil
	x.Request.Length = int64(len(p))
}

// Buffered returns the body where it lies in memory as a whole.
func (x *Exchange) Buffered() (p []byte, ok bool) { return x.body.buf, x.body.buffered }

// Stream returns the body as the engine reads it, nil where there is none or where it
// has been buffered.
func (x *Exchange) Stream() io.Reader { return x.body.source }

// failed is a stream that could not be read to its end.
type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

// aliasString returns a string over b's memory.
func aliasString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

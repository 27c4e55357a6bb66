package awswire

import "io"

// Body is the streaming body of a request.
//
// On the server it is the content as the client meant it: any aws-chunked framing is
// removed, and everything the client sent to prove the content (payload hash, chunk signatures,
// Content-MD5, checksums in headers or trailers) is verified on the way. Read returns
// io.EOF only once all of it is verified; a failed check is another error, from this Read and
// every later one, and awswire knows it again when the operation returns it, wrapped or not. So
// whoever commits on io.EOF alone commits only what the client sent.
//
// On the client it is what NewBody makes.
type Body struct {
	ContentLength int64 // of the content; never negative on the server

	r    io.Reader
	sums func() []Checksum // nil on the client
	done bool
	err  error
}

// Checksum is one verified digest of a body.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256, SHA512 or MD5
	Value     string // base64
}

// NewBody returns a body of n bytes read from r, for a request to send.
func NewBody(r io.Reader, n int64) *Body { return &Body{ContentLength: n, r: r} }

// Read reads the content.
func (b *Body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	if err != nil {
		b.err = err
		b.done = err == io.EOF
	}
	return n, err
}

// Verified reports whether the whole content was read and proved.
func (b *Body) Verified() bool { return b.done }

// Checksums returns the checksums the client sent and the content satisfied, in the order of
// their names. Those of trailers are known only after io.EOF; before it there are none.
func (b *Body) Checksums() []Checksum {
	if !b.done || b.sums == nil {
		return nil
	}
	return b.sums()
}

package awswire

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Limits of aws-chunked framing.
const (
	maxChunk        = 1 << 30 // no client makes chunks beyond a few megabytes
	maxChunkLine    = 4 << 10 // a chunk's head, or one trailer
	maxTrailers     = 16
	chunkReadBuffer = 32 << 10
)

// chunkReader removes aws-chunked framing and checks the signatures in it.
//
//	size[;chunk-signature=hex]\r\n data \r\n … 0[;chunk-signature=hex]\r\n [name:value\r\n …] \r\n
//
// A chunk's bytes are handed on before its signature, which covers all of it, is checked; the
// reader above does not say io.EOF unless all were good.
type chunkReader struct {
	r         *bufio.Reader
	signing   *chunkSigning // nil where chunks are not signed
	trailers  bool          // some follow the last chunk
	announced []string      // their names
	found     map[string]string
	left      int64 // of the chunk at hand
	begun     bool
	err       error
}

// chunkSigning is the state of a chain of chunk signatures.
type chunkSigning struct {
	key      []byte
	date     string
	scope    scope
	previous string
	claimed  string // of the chunk at hand
	hash     hash.Hash
}

func newChunkReader(r io.Reader, signing *chunkSigning, trailers bool, announced []string) *chunkReader {
	if signing != nil {
		signing.hash = sha256.New()
	}
	return &chunkReader{r: bufio.NewReaderSize(r, chunkReadBuffer), signing: signing, trailers: trailers, announced: announced, found: map[string]string{}}
}

// Read reads content.
func (c *chunkReader) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if c.left == 0 {
		if c.err = c.next(); c.err != nil {
			return 0, c.err
		}
	}
	n, err := c.r.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	if c.signing != nil {
		c.signing.hash.Write(p[:n])
	}
	if err != nil {
		c.err = cut(err)
	}
	return n, c.err
}

// cut is the error of a body that ends within its framing.
func cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return failf(short, "The request body terminated unexpectedly")
	}
	return err
}

// next ends the chunk at hand and begins another; io.EOF behind the last.
func (c *chunkReader) next() error {
	if c.begun {
		if err := c.end(); err != nil {
			return err
		}
	}
	c.begun = true
	line, err := c.line()
	if err != nil {
		return err
	}
	size, extension, _ := strings.Cut(line, ";")
	n, err := strconv.ParseInt(strings.TrimSpace(size), 16, 64)
	if err != nil || n < 0 || n > maxChunk || strings.HasPrefix(size, "+") {
		return failf(badFraming, "A chunk of the body does not begin with its size.")
	}
	if c.signing != nil {
		name, signature, _ := strings.Cut(strings.TrimSpace(extension), "=")
		if name != "chunk-signature" || !validHash(signature) {
			return failf(wrongSignature, "A chunk of the body is not signed.")
		}
		c.signing.claimed = signature
	}
	if c.left = n; n > 0 {
		return nil
	}
	return c.last()
}

// end checks the end of a chunk with data, and its signature.
func (c *chunkReader) end() error {
	var crlf [2]byte
	if _, err := io.ReadFull(c.r, crlf[:]); err != nil {
		return cut(err)
	}
	if crlf != [2]byte{'\r', '\n'} {
		return failf(badFraming, "A chunk of the body is not as long as it says.")
	}
	return c.signing.check()
}

// last reads what follows the chunk of no bytes: trailers, an empty line, and nothing more.
func (c *chunkReader) last() error {
	if err := c.signing.check(); err != nil {
		return err
	}
	if err := c.readTrailers(); err != nil {
		return err
	}
	if _, err := c.r.ReadByte(); err != io.EOF {
		return failf(badFraming, "Something follows the last chunk of the body.")
	}
	return io.EOF
}

const trailerSignature = "x-amz-trailer-signature"

func (c *chunkReader) readTrailers() error {
	for {
		line, err := c.line()
		if f, ok := err.(*fail); ok && f.what == short && (!c.trailers || c.complete()) {
			return c.checkTrailers() // some clients leave the last empty line out
		}
		if err != nil {
			return err
		}
		if line == "" {
			if c.trailers && !c.complete() && len(c.found) > 0 {
				continue // and others put one before the signature
			}
			return c.checkTrailers()
		}
		name, value, ok := strings.Cut(line, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		if !ok || !c.trailers || len(c.found) == maxTrailers || name != trailerSignature && !slices.Contains(c.announced, name) {
			return failf(badTrailer, "The request contained trailing data that was not well-formed or did not conform to our published schema.")
		}
		c.found[name] = strings.TrimSpace(value)
	}
}

// complete reports whether all trailers due are there.
func (c *chunkReader) complete() bool {
	for _, name := range c.announced {
		if _, ok := c.found[name]; !ok {
			return false
		}
	}
	return c.signing == nil || c.found[trailerSignature] != ""
}

func (c *chunkReader) checkTrailers() error {
	if !c.trailers {
		return nil
	}
	if !c.complete() {
		return failf(badTrailer, "The request contained trailing data that was not well-formed or did not conform to our published schema.")
	}
	if c.signing == nil {
		return nil
	}
	var text strings.Builder
	for _, name := range c.announced { // sorted
		text.WriteString(name + ":" + c.found[name] + "\n")
	}
	s := c.signing
	want := sign(s.key, trailerToSign(s.date, s.scope, s.previous, hexHash([]byte(text.String()))))
	if subtle.ConstantTimeCompare([]byte(want), []byte(c.found[trailerSignature])) != 1 {
		return failf(wrongSignature, "The signature of the trailers does not match.")
	}
	return nil
}

// line reads one line without its end.
func (c *chunkReader) line() (string, error) {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxChunkLine:
			return "", failf(badFraming, "A line of the body's framing is too long.")
		case err == bufio.ErrBufferFull:
			continue
		case err != nil:
			return "", cut(err)
		}
		return strings.TrimRight(string(line), "\r\n"), nil
	}
}

// check compares the signature of the chunk that was read with the one claimed.
func (s *chunkSigning) check() error {
	if s == nil {
		return nil
	}
	want := sign(s.key, chunkToSign(s.date, s.scope, s.previous, hex.EncodeToString(s.hash.Sum(nil))))
	if subtle.ConstantTimeCompare([]byte(want), []byte(s.claimed)) != 1 {
		return failf(wrongSignature, "The signature of a chunk of the body does not match.")
	}
	s.previous = want
	s.hash.Reset()
	return nil
}

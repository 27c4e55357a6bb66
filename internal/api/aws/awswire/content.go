package awswire

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"hash"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// contentReader is the content of an S3 body: its framing removed, its length and digests checked.
type contentReader struct {
	r        io.Reader
	left     int64 // still due
	payload  hash.Hash
	want     []byte // SHA-256 of the body; nil where it is not signed
	sums     []*sum
	trailers map[string]string // known at the end
}

// openContent makes the Body of an S3 request with the signing key that proved it. With sums set
// its checksum headers speak of the body.
func (c *call) openContent(sums bool) (*Body, error) {
	h := c.r.Header
	digests, err := checksums(h, sums)
	if err != nil {
		return nil, err
	}
	body := &contentReader{r: c.r.Body, left: c.r.ContentLength, sums: digests}
	switch mode := c.payload; mode {
	case unsignedPayload:
	case signedChunks, signedTrailers, unsignedTrailers:
		if body.left, err = decodedLength(h); err != nil {
			return nil, err
		}
		var signing *chunkSigning
		if mode != unsignedTrailers {
			signing = &chunkSigning{key: c.key, date: c.auth.time.UTC().Format(dateForm), scope: c.auth.scope, previous: c.auth.signature}
		}
		chunks := newChunkReader(c.r.Body, signing, mode != signedChunks, announced(h))
		body.r, body.trailers = chunks, chunks.found
	default:
		body.payload = sha256.New()
		body.want, _ = hex.DecodeString(mode) // verify has checked that it is one
	}
	if body.left < 0 {
		return nil, failf(noLength, "You must provide the Content-Length HTTP header.")
	}
	if body.left > maxObject {
		return nil, failf(tooLarge, "Your proposed upload exceeds the maximum allowed size")
	}
	return &Body{ContentLength: body.left, r: body, sums: body.proved}, nil
}

func decodedLength(h http.Header) (int64, error) {
	n, err := strconv.ParseInt(h.Get("X-Amz-Decoded-Content-Length"), 10, 64)
	if err != nil || n < 0 {
		return 0, failf(noLength, "You must provide the Content-Length HTTP header. (x-amz-decoded-content-length)")
	}
	return n, nil
}

// Read reads content; io.EOF says that all of it was as the client claims.
func (b *contentReader) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if int64(n) > b.left {
		return 0, failf(short, "The request body is longer than announced")
	}
	b.left -= int64(n)
	if b.payload != nil {
		b.payload.Write(p[:n])
	}
	for _, s := range b.sums {
		s.hash.Write(p[:n])
	}
	if err == io.EOF {
		err = b.check()
	} else if err == io.ErrUnexpectedEOF {
		err = cut(err)
	}
	return n, err
}

// check is run once, at the end; it returns io.EOF where all is well.
func (b *contentReader) check() error {
	if b.left != 0 {
		return failf(short, "You did not provide the number of bytes specified by the Content-Length HTTP header")
	}
	if b.payload != nil && subtle.ConstantTimeCompare(b.payload.Sum(nil), b.want) != 1 {
		return failf(wrongHash, "The provided 'x-amz-content-sha256' header does not match what was computed.")
	}
	for _, s := range b.sums {
		if s.want == nil {
			name := sumHeader + strings.ToLower(s.algorithm)
			if v, ok := b.trailers[name]; ok && !s.claim(v) {
				return failf(malformedSum, "Value for %s trailing header is invalid.", name)
			}
		}
		if err := s.check(); err != nil {
			return err
		}
	}
	return io.EOF
}

func (b *contentReader) proved() []Checksum {
	var out []Checksum
	for _, s := range b.sums {
		if s.algorithm != contentMD5 {
			out = append(out, s.checksum())
		}
	}
	return out
}

// contentHeader returns the request's headers as the content has them: length and encoding
// without the framing.
func contentHeader(r *http.Request, length int64) http.Header {
	h := r.Header.Clone()
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	var encodings []string
	for _, v := range h.Values("Content-Encoding") {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.TrimSpace(e); e != "" && e != "aws-chunked" {
				encodings = append(encodings, e)
			}
		}
	}
	h.Del("Content-Encoding")
	if len(encodings) > 0 {
		h.Set("Content-Encoding", strings.Join(encodings, ","))
	}
	return h
}

// payloadMode returns what the canonical request of an S3 request names as its payload.
func payloadMode(h http.Header, presigned bool) (string, error) {
	mode := h.Get("X-Amz-Content-Sha256")
	switch {
	case mode == "" && presigned:
		return unsignedPayload, nil
	case mode == "":
		return "", failf(missingSum, "Missing required header for this request: x-amz-content-sha256")
	case slices.Contains([]string{unsignedPayload, signedChunks, signedTrailers, unsignedTrailers}, mode), validHash(mode):
		return mode, nil
	default:
		return "", failf(mistyped, "x-amz-content-sha256 must be %s, %s, %s, %s or a valid sha256 value.",
			unsignedPayload, signedChunks, signedTrailers, unsignedTrailers)
	}
}

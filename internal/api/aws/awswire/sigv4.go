package awswire

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Signature Version 4, the parts that signing and verifying share.

const (
	algorithm  = "AWS4-HMAC-SHA256"
	terminator = "aws4_request"
	dateForm   = "20060102T150405Z"

	emptyHash        = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	unsignedPayload  = "UNSIGNED-PAYLOAD"
	signedChunks     = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
	signedTrailers   = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
	unsignedTrailers = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
)

// scope is what a signature is for: one key, day, region and service.
type scope struct {
	key, date, region, service string
}

// String returns the scope without the key.
func (s scope) String() string {
	return s.date + "/" + s.region + "/" + s.service + "/" + terminator
}

// signingKey derives the key that signs within the scope.
func (s scope) signingKey(secret string) []byte {
	k := hmacSHA256([]byte("AWS4"+secret), s.date)
	k = hmacSHA256(k, s.region)
	k = hmacSHA256(k, s.service)
	return hmacSHA256(k, terminator)
}

func hmacSHA256(key []byte, data string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(data))
	return h.Sum(nil)
}

// canonical is a request as signatures see it.
type canonical struct {
	method   string
	path     string // escaped, as sent
	verbatim bool   // the path is canonical as it is
	query    url.Values
	header   http.Header
	host     string
	length   int64 // of the body, for clients that sign content-length
	s3       bool
	signed   []string // header names in lower case
	payload  string   // hash of the body, or what stands for it
}

// hash returns the hexadecimal SHA-256 of the canonical request.
func (c *canonical) hash() string {
	b := make([]byte, 0, 1024)
	b = append(b, c.method...)
	b = append(b, '\n')
	if c.verbatim {
		b = append(b, c.path...)
	} else {
		b = append(b, canonicalPath(c.path, c.s3)...)
	}
	b = append(b, '\n')
	b = c.appendQuery(b)
	b = append(b, '\n')
	for _, name := range c.signed {
		b = append(append(b, name...), ':')
		b = c.appendHeader(b, name)
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, name := range c.signed {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, name...)
	}
	b = append(b, '\n')
	b = append(b, c.payload...)
	return hexHash(b)
}

func hexHash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// appendQuery writes the parameters sorted by their encoded names and values. The signature
// itself is not among them.
func (c *canonical) appendQuery(b []byte) []byte {
	if len(c.query) == 0 {
		return b
	}
	pairs := make([][2]string, 0, len(c.query))
	for name, values := range c.query {
		if name == "X-Amz-Signature" {
			continue
		}
		for _, v := range values {
			pairs = append(pairs, [2]string{uriEscape(name, false), uriEscape(v, false)})
		}
	}
	slices.SortFunc(pairs, func(x, y [2]string) int {
		if d := strings.Compare(x[0], y[0]); d != 0 {
			return d
		}
		return strings.Compare(x[1], y[1])
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p[0]...), '='), p[1]...)
	}
	return b
}

// appendHeader writes the values of a header, trimmed, runs of blanks made one, joined by commas.
func (c *canonical) appendHeader(b []byte, name string) []byte {
	switch name {
	case "host":
		return append(b, c.host...)
	case "content-length": // net/http keeps it elsewhere
		return strconv.AppendInt(b, c.length, 10)
	}
	for i, v := range c.header[http.CanonicalHeaderKey(name)] {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendFolded(b, v)
	}
	return b
}

func appendFolded(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	blank := false
	for i := range len(v) {
		if v[i] == ' ' || v[i] == '\t' {
			blank = true
			continue
		}
		if blank {
			b = append(b, ' ')
			blank = false
		}
		b = append(b, v[i])
	}
	return b
}

// stringToSign returns what the signature of a request covers.
func stringToSign(t time.Time, s scope, requestHash string) string {
	return algorithm + "\n" + t.UTC().Format(dateForm) + "\n" + s.String() + "\n" + requestHash
}

// sign returns the hexadecimal signature of text.
func sign(key []byte, text string) string { return hex.EncodeToString(hmacSHA256(key, text)) }

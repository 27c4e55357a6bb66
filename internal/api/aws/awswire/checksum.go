package awswire

import (
	"crypto/md5"  //nolint:gosec // Content-MD5 is a transport checksum here
	"crypto/sha1" //nolint:gosec // as is SHA1
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/crc64nvme"
)

// sums are S3's checksum algorithms by their names.
var sums = map[string]func() hash.Hash{
	"CRC32":     func() hash.Hash { return crc32.NewIEEE() },
	"CRC32C":    func() hash.Hash { return crc32.New(castagnoli) },
	"CRC64NVME": func() hash.Hash { return crc64nvme.New() },
	"SHA1":      sha1.New,
	"SHA256":    sha256.New,
	"SHA512":    sha512.New,
	"MD5":       md5.New,
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	sumHeader  = "x-amz-checksum-"
	contentMD5 = "Content-MD5" // in place of an algorithm: it is a checksum of its own header
)

func digestOf(algorithm string, body []byte) string {
	h := sums[algorithm]()
	h.Write(body)
	return base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// sum is one digest that a body must have.
type sum struct {
	algorithm string // a name of sums, or contentMD5
	hash      hash.Hash
	want      []byte // nil until the trailer says it
}

// checksums collects what the headers of a request claim about its body. With headers not
// set only Content-MD5 and announced trailers are: there are operations whose checksum headers
// speak of an object and not of the body.
func checksums(h http.Header, headers bool) ([]*sum, error) {
	var out []*sum
	if v := h.Get("Content-MD5"); v != "" {
		s := &sum{algorithm: contentMD5, hash: md5.New()}
		if !s.claim(v) {
			return nil, failf(malformedMD5, "The Content-MD5 you specified was invalid.")
		}
		out = append(out, s)
	}
	if headers {
		claimed, err := claimedSums(h)
		if err != nil {
			return nil, err
		}
		out = append(out, claimed...)
	}
	for _, trailer := range announced(h) {
		name, ok := strings.CutPrefix(trailer, sumHeader)
		name = strings.ToUpper(name)
		if !ok || sums[name] == nil {
			return nil, failf(malformedSum, "The value specified in the x-amz-trailer header is not supported")
		}
		out = append(out, &sum{algorithm: name, hash: sums[name]()})
	}
	n := len(out)
	if n > 0 && out[0].algorithm == contentMD5 {
		n--
	}
	if n > 1 {
		return nil, failf(malformedSum, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed.")
	}
	return out, nil
}

// claimedSums reads the checksum headers. A claim that we cannot check is refused: its sender
// would take the answer for a confirmation.
func claimedSums(h http.Header) ([]*sum, error) {
	var out []*sum
	for k := range h {
		header := strings.ToLower(k)
		name, ok := strings.CutPrefix(header, sumHeader)
		if !ok || name == "algorithm" || name == "type" || name == "mode" {
			continue
		}
		name = strings.ToUpper(name)
		if sums[name] == nil {
			return nil, failf(malformedSum, "The algorithm type you specified in %s header is invalid.", clip(header))
		}
		s := &sum{algorithm: name, hash: sums[name]()}
		if !s.claim(h.Get(k)) {
			return nil, failf(malformedSum, "Value for %s header is invalid.", header)
		}
		out = append(out, s)
	}
	return out, nil
}

// announced returns the names of the trailers that the request says will follow its body.
func announced(h http.Header) []string {
	var out []string
	for _, v := range h.Values("X-Amz-Trailer") {
		for name := range strings.SplitSeq(v, ",") {
			if name = strings.ToLower(strings.TrimSpace(name)); name != "" {
				out = append(out, name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// claim notes the digest as the client writes it; false where it cannot be one.
func (s *sum) claim(text string) bool {
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != s.hash.Size() {
		return false
	}
	s.want = b
	return true
}

// check compares the digest of everything read with what was claimed.
func (s *sum) check() error {
	if s.want == nil {
		return failf(badTrailer, "The request contained trailing data that was not well-formed or did not conform to our published schema: %s%s is missing.",
			sumHeader, strings.ToLower(s.algorithm))
	}
	if subtle.ConstantTimeCompare(s.hash.Sum(nil), s.want) == 1 {
		return nil
	}
	if s.algorithm == contentMD5 {
		return failf(wrongSum, "The Content-MD5 you specified did not match what we received.")
	}
	return failf(wrongSum, "The %s you specified did not match the calculated checksum.", s.algorithm)
}

// checksum returns the digest that was proved.
func (s *sum) checksum() Checksum {
	return Checksum{Algorithm: s.algorithm, Value: base64.StdEncoding.EncodeToString(s.want)}
}

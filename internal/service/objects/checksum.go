package objects

import (
	"crypto/sha1" //nolint:gosec // one of S3's checksums; it protects against damage only
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"math/bits"

	"github.com/minio/crc64nvme"
)

// newHash returns the hash of a checksum algorithm of the S3 API, nil for an unknown one.
func newHash(algorithm string) hash.Hash {
	switch algorithm {
	case "CRC32":
		return crc32.NewIEEE()
	case "CRC32C":
		return crc32.New(crc32.MakeTable(crc32.Castagnoli))
	case "CRC64NVME":
		return crc64nvme.New()
	case "SHA1":
		return sha1.New() //nolint:gosec // see the import
	case "SHA256":
		return sha256.New()
	}
	return nil
}

// Polynomials in reversed bit order, for combining.
const (
	polyIEEE       = 0xedb88320
	polyCastagnoli = 0x82f63b78
	polyNVME       = 0x9a6c9329ac4bc9b5
)

// joinChecksums makes an object's checksum of its parts': the checksum of their checksums
// (composite), or the checksum of the whole, which CRCs allow without reading it (S3 user
// guide, "Checking object integrity").
func joinChecksums(u *upload, parts []*uploadPart) (*Checksum, error) {
	if u.Algorithm == "" {
		return nil, nil
	}
	sums := make([][]byte, len(parts))
	for i, p := range parts {
		if p.Checksum == nil || p.Checksum.Algorithm != u.Algorithm {
			return nil, InvalidPart.New("the upload was begun with checksum %s and part %d carries none", u.Algorithm, i+1)
		}
		var err error
		if sums[i], err = base64.StdEncoding.DecodeString(p.Checksum.Value); err != nil {
			return nil, err
		}
	}
	if u.Composite {
		h := newHash(u.Algorithm)
		for _, s := range sums {
			_, _ = h.Write(s) // never fails
		}
		return &Checksum{Algorithm: u.Algorithm, Composite: true,
			Value: fmt.Sprintf("%s-%d", base64.StdEncoding.EncodeToString(h.Sum(nil)), len(parts))}, nil
	}
	var poly uint64
	width := 32
	switch u.Algorithm {
	case "CRC32":
		poly = polyIEEE
	case "CRC32C":
		poly = polyCastagnoli
	case "CRC64NVME":
		poly, width = polyNVME, 64
	default:
		return nil, InvalidArgument.Field("ChecksumType", "a checksum of the full object is not possible with %s", u.Algorithm)
	}
	crc := uint64(0)
	for i, s := range sums {
		crc = combineCRC(crc, number(s), parts[i].Part.Size, poly, width)
	}
	out := binary.BigEndian.AppendUint64(nil, crc)[8-width/8:]
	return &Checksum{Algorithm: u.Algorithm, Value: base64.StdEncoding.EncodeToString(out)}, nil
}

func number(b []byte) uint64 {
	var n uint64
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// combineCRC returns the CRC of two blocks put together, from their own CRCs and the
// second one's length. Appending a zero bit to what a CRC has seen is a linear map over
// GF(2); its powers by squaring append the second block's length, and the second block's
// CRC is then added. (The pre- and post-inversion of these CRCs cancel out.)
func combineCRC(first, second uint64, length int64, poly uint64, width int) uint64 {
	if length == 0 {
		return first
	}
	matrix := make([]uint64, width)
	matrix[0] = poly
	for i := 1; i < width; i++ {
		matrix[i] = 1 << (i - 1)
	}
	for n := uint64(length) * 8; n > 0; n >>= 1 {
		if n&1 == 1 {
			first = times(matrix, first)
		}
		square := make([]uint64, width)
		for i, column := range matrix {
			square[i] = times(matrix, column)
		}
		matrix = square
	}
	return first ^ second
}

func times(matrix []uint64, vector uint64) uint64 {
	var sum uint64
	for vector != 0 {
		i := bits.TrailingZeros64(vector)
		sum ^= matrix[i]
		vector &= vector - 1
	}
	return sum
}

package segment

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"sluice.dev/sluice/internal/base/fault"
)

// HeaderSize is the length of a frame's header in bytes.
const HeaderSize = 32

// MaxPayload is the largest payload of one frame in bytes.
const MaxPayload = 64 << 20

// Overhead is what a frame adds to its payload in bytes.
const Overhead = HeaderSize + 16

// Faults of this package.
var (
	Corrupt  = &fault.Reason{Kind: fault.Corrupt, Name: "CorruptSegment"}
	DiskFull = &fault.Reason{Kind: fault.Exhausted, Name: "DiskFull"}
	Broken   = &fault.Reason{Kind: fault.Unavailable, Name: "DiskFailed"}
	Closed   = &fault.Reason{Kind: fault.Unavailable, Name: "LogClosed"}
	Full     = &fault.Reason{Kind: fault.Throttled, Name: "LogBusy"}
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errTorn marks bytes that are no whole frame, as at the end of a segment that a crash
// left behind.
var errTorn = errors.New("segment: torn frame")

// Header describes a frame. Its fields are readable without the key.
type Header struct {
	Seq   uint64 // unique under the key; the GCM nonce
	Time  int64  // the owner's; milliseconds since 1970 where it is a time
	Count uint32 // the owner's; how many records the payload holds
	Flags uint32 // the owner's

	length uint32 // of the sealed payload
	crc    uint32
}

// Len is the length of the whole frame in bytes.
func (h Header) Len() int64 { return HeaderSize + int64(h.length) }

// Key seals and opens frames.
type Key struct{ aead cipher.AEAD }

// NewKey returns the Key of 32 random bytes.
func NewKey(raw [32]byte) *Key {
	block, err := aes.NewCipher(raw[:])
	if err != nil {
		panic(err) // 32 bytes are always a valid key
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES always has GCM's block size
	}
	return &Key{aead: aead}
}

// Append seals payload as a frame behind dst and returns the longer slice.
func (k *Key) Append(dst []byte, h Header, context, payload []byte) []byte {
	at := len(dst)
	h.length = uint32(len(payload) + k.aead.Overhead())
	dst = append(dst, make([]byte, HeaderSize)...)
	h.put(dst[at:])
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], h.Seq)
	dst = k.aead.Seal(dst, nonce[:], payload, additional(context, dst[at:at+HeaderSize]))
	binary.BigEndian.PutUint32(dst[at+4:], checksum(dst[at:]))
	return dst
}

// Open checks a whole frame as ReadFrame returned it and appends its payload to dst.
func (k *Key) Open(dst []byte, frame, context []byte) ([]byte, error) {
	h := parseHeader(frame)
	var nonce [12]byte
	binary.BigEndian.PutUint64(nonce[4:], h.Seq)
	out, err := k.aead.Open(dst, nonce[:], frame[HeaderSize:], additional(context, frame[:HeaderSize]))
	if err != nil {
		return nil, errors.New("segment: a frame does not authenticate")
	}
	return out, nil
}

func additional(context, header []byte) []byte {
	aad := make([]byte, 0, len(context)+HeaderSize)
	aad = append(aad, context...)
	aad = append(aad, header[:4]...)
	return append(aad, header[8:HeaderSize]...) // all but the checksum
}

func (h Header) put(b []byte) {
	binary.BigEndian.PutUint32(b, h.length)
	binary.BigEndian.PutUint64(b[8:], h.Seq)
	binary.BigEndian.PutUint64(b[16:], uint64(h.Time))
	binary.BigEndian.PutUint32(b[24:], h.Count)
	binary.BigEndian.PutUint32(b[28:], h.Flags)
}

func parseHeader(b []byte) Header {
	return Header{
		length: binary.BigEndian.Uint32(b),
		crc:    binary.BigEndian.Uint32(b[4:]),
		Seq:    binary.BigEndian.Uint64(b[8:]),
		Time:   int64(binary.BigEndian.Uint64(b[16:])),
		Count:  binary.BigEndian.Uint32(b[24:]),
		Flags:  binary.BigEndian.Uint32(b[28:]),
	}
}

func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Update(0, castagnoli, frame[:4]), castagnoli, frame[8:])
}

// ReadHeader reads the header of the frame at off. It returns io.EOF at the end of the
// written part.
func ReadHeader(r io.ReaderAt, off int64) (Header, error) {
	var b [HeaderSize]byte
	n, err := r.ReadAt(b[:], off)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	if n == 0 {
		return Header{}, io.EOF
	}
	h := parseHeader(b[:])
	switch {
	case n < HeaderSize:
		return Header{}, errTorn
	case h.length == 0 && h.crc == 0 && h.Seq == 0:
		return Header{}, io.EOF // preallocated and never written
	case h.length < 16 || h.length > MaxPayload+16:
		return Header{}, errTorn
	}
	return h, nil
}

// Find returns the first whole frame of [from, to) whose header is plausible. It looks at
// every byte, so plausible should let few pass: it finds the way again behind damage.
func Find(r io.ReaderAt, from, to int64, plausible func(Header) bool) (at int64, h Header, ok bool) {
	chunk := make([]byte, 1<<20)
	zeros := make([]byte, len(chunk))
	for from+HeaderSize <= to {
		n, err := r.ReadAt(chunk[:min(int64(len(chunk)), to-from)], from)
		if n < HeaderSize || err != nil && !errors.Is(err, io.EOF) {
			return 0, Header{}, false
		}
		if !bytes.Equal(chunk[:n], zeros[:n]) { // most of what is allocated ahead
			for i := 0; i+HeaderSize <= n; i++ {
				h := parseHeader(chunk[i:])
				if h.length < 16 || h.length > MaxPayload+16 || from+int64(i)+h.Len() > to || !plausible(h) {
					continue
				}
				if h, _, err := ReadFrame(r, from+int64(i), nil); err == nil {
					return from + int64(i), h, true
				}
			}
		}
		from += int64(n - HeaderSize + 1)
	}
	return 0, Header{}, false
}

// ReadFrame reads and checks the frame at off into buf, which grows as needed.
func ReadFrame(r io.ReaderAt, off int64, buf []byte) (Header, []byte, error) {
	h, err := ReadHeader(r, off)
	if err != nil {
		return Header{}, nil, err
	}
	if int64(cap(buf)) < h.Len() {
		buf = make([]byte, h.Len())
	}
	buf = buf[:h.Len()]
	if _, err := r.ReadAt(buf, off); err != nil {
		if errors.Is(err, io.EOF) {
			return Header{}, nil, errTorn
		}
		return Header{}, nil, err
	}
	if got := checksum(buf); got != h.crc {
		return h, nil, fmt.Errorf("%w: checksum %08x, want %08x", errTorn, got, h.crc)
	}
	return h, buf, nil
}

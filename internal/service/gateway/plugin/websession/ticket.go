package websession

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// ticket is what a cookie holds. Times are seconds since 1970.
type ticket struct {
	id      [idSize]byte
	created int64
	issued  int64
	touched int64
	subject string
	data    []byte
}

const (
	idSize   = 24
	headSize = idSize + 3*8 + 2
)

func newTicket(subject string, data []byte, now int64) *ticket {
	t := &ticket{created: now, issued: now, touched: now}
	t.hold(subject, data)
	_, _ = rand.Read(t.id[:]) // never fails: crypto/rand aborts the program instead
	return t
}

// maxSubject bounds what a ticket tells of who it is of, in bytes.
const maxSubject = 1024

func (t *ticket) hold(subject string, data []byte) {
	t.subject, t.data = subject[:min(len(subject), maxSubject)], data
}

// name returns the id in text.
func (t *ticket) name() string { return base64.RawURLEncoding.EncodeToString(t.id[:]) }

func (t *ticket) marshal() []byte {
	b := make([]byte, 0, headSize+len(t.subject)+len(t.data))
	b = append(b, t.id[:]...)
	for _, at := range []int64{t.created, t.issued, t.touched} {
		b = binary.BigEndian.AppendUint64(b, uint64(at))
	}
	b = binary.BigEndian.AppendUint16(b, uint16(len(t.subject)))
	return append(append(b, t.subject...), t.data...)
}

func unmarshal(b []byte) (*ticket, bool) {
	if len(b) < headSize {
		return nil, false
	}
	t := &ticket{id: [idSize]byte(b)}
	for i, at := range []*int64{&t.created, &t.issued, &t.touched} {
		*at = int64(binary.BigEndian.Uint64(b[idSize+8*i:]))
	}
	n := int(binary.BigEndian.Uint16(b[headSize-2:]))
	if b = b[headSize:]; len(b) < n {
		return nil, false
	}
	t.subject, t.data = string(b[:n]), b[n:]
	return t, true
}

// Timeouts are the times after which a ticket ends; 0 for never.
type Timeouts struct {
	Idling, Rolling, Absolute time.Duration
}

// left returns how long a ticket counts by each of the time-outs, and by all of them;
// negative for no limit.
func (o Timeouts) left(t *ticket, now int64) (idling, rolling, absolute, all time.Duration) {
	all = -1
	rest := func(limit time.Duration, since int64) time.Duration {
		if limit <= 0 {
			return -1
		}
		r := max(limit-time.Duration(now-since)*time.Second, 0)
		if all < 0 || r < all {
			all = r
		}
		return r
	}
	return rest(o.Idling, t.touched), rest(o.Rolling, t.issued), rest(o.Absolute, t.created), all
}

// sealer seals and opens texts.
type sealer struct{ cipher.AEAD }

func newSealer(secret string) (sealer, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "sluice web session", 32)
	if err != nil {
		return sealer{}, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

func (s sealer) seal(plain []byte, bound string) string {
	return base64.RawURLEncoding.EncodeToString(s.Seal(nil, nil, plain, []byte(bound)))
}

func (s sealer) open(text, bound string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return nil, false
	}
	plain, err := s.Open(nil, nil, raw, []byte(bound))
	return plain, err == nil
}

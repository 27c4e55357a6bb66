package store

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
)

// sealer turns documents into what the database sees.
type sealer struct {
	aead   cipher.AEAD
	hashes []byte // key of the key hashes
}

func newSealer(key [32]byte) (*sealer, error) {
	bodies, err := hkdf.Key(sha256.New, key[:], nil, "sluice store bodies", 32)
	if err != nil {
		return nil, err
	}
	hashes, err := hkdf.Key(sha256.New, key[:], nil, "sluice store keys", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(bodies)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return &sealer{aead: aead, hashes: hashes}, nil
}

// hash is the name a document has in the database.
func (s *sealer) hash(collection, key string) []byte {
	h := hmac.New(sha256.New, s.hashes)
	h.Write([]byte(collection))
	h.Write([]byte{0})
	h.Write([]byte(key))
	return h.Sum(nil)
}

func aad(collection string, hash []byte, rev int64) []byte {
	b := make([]byte, 0, len(collection)+1+len(hash)+8)
	b = append(b, collection...)
	b = append(b, 0)
	b = append(b, hash...)
	return binary.BigEndian.AppendUint64(b, uint64(rev))
}

func (s *sealer) seal(plain []byte, collection string, hash []byte, rev int64) []byte {
	out := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	_, _ = rand.Read(out) // never fails
	return s.aead.Seal(out, out, plain, aad(collection, hash, rev))
}

func (s *sealer) open(sealed []byte, collection string, hash []byte, rev int64) ([]byte, error) {
	n := s.aead.NonceSize()
	if len(sealed) < n {
		return nil, Damaged.New("a document of collection %q in the control store is cut short", collection)
	}
	plain, err := s.aead.Open(nil, sealed[:n], sealed[n:], aad(collection, hash, rev))
	if err != nil {
		return nil, Damaged.Wrap(err, "a document of collection %q in the control store is damaged or was tampered with", collection)
	}
	return plain, nil
}

// record is a sealed body's plaintext. The key rides inside, as the database has its hash only.
type record struct {
	Key     string          `json:"k"`
	Deleted bool            `json:"x,omitempty"`
	Doc     json.RawMessage `json:"v,omitempty"`
}

func (s *sealer) sealRecord(r record, collection string, hash []byte, rev int64) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return s.seal(plain, collection, hash, rev), nil
}

func (s *sealer) openRecord(sealed []byte, collection string, hash []byte, rev int64) (record, error) {
	plain, err := s.open(sealed, collection, hash, rev)
	if err != nil {
		return record{}, err
	}
	var r record
	if err := json.Unmarshal(plain, &r); err != nil {
		return record{}, Damaged.Wrap(err, "a document of collection %q in the control store cannot be read", collection)
	}
	return r, nil
}

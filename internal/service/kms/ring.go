package kms

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"sort"
	"sync"

	"github.com/google/uuid"
)

// ring opens key material and uses it. It knows nothing of state or rights.
type ring struct {
	root   cipher.AEAD
	opened sync.Map // versionID → cipher.AEAD; bounded by the number of key versions
}

type versionID struct {
	key     string
	version int
}

func aeadOf(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // our keys are 32 bytes
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err) // AES always has GCM's block size
	}
	return aead
}

func sealWith(aead cipher.AEAD, dst, plain, aad []byte) []byte {
	var nonce [12]byte
	_, _ = rand.Read(nonce[:]) // never fails
	dst = append(dst, nonce[:]...)
	return aead.Seal(dst, nonce[:], plain, aad)
}

// newMaterial makes and seals a key.
func (r *ring) newMaterial(id string) []byte {
	material := make([]byte, 32)
	_, _ = rand.Read(material) // never fails
	return sealWith(r.root, nil, material, []byte("key "+id))
}

func (r *ring) aead(id string, doc *keyDoc, version int) (cipher.AEAD, error) {
	v := versionID{id, version}
	if a, ok := r.opened.Load(v); ok {
		return a.(cipher.AEAD), nil
	}
	if version < 0 || version >= len(doc.Versions) {
		return nil, InvalidCiphertext.New("the ciphertext was not made by a key of this account")
	}
	sealed := doc.Versions[version].Sealed
	material, err := r.root.Open(nil, sealed[:12], sealed[12:], []byte("key "+id))
	if err != nil {
		return nil, fmt.Errorf("kms: the material of key %s does not open under the root key: %w", id, err)
	}
	a := aeadOf(material)
	r.opened.Store(v, a)
	return a, nil
}

// A ciphertext is version(1) key id(16) key version(4) nonce(12) sealed.
const (
	blobVersion = 1
	blobHead    = 1 + 16 + 4
)

func (r *ring) seal(id string, doc *keyDoc, plain, context []byte) ([]byte, error) {
	version := len(doc.Versions) - 1
	a, err := r.aead(id, doc, version)
	if err != nil {
		return nil, err
	}
	uid, err := uuid.Parse(id)
	if err != nil {
		return nil, fmt.Errorf("kms: key id %q: %w", id, err)
	}
	out := make([]byte, 0, blobHead+12+len(plain)+16)
	out = append(out, blobVersion)
	out = append(out, uid[:]...)
	out = binary.BigEndian.AppendUint32(out, uint32(version))
	return sealWith(a, out, plain, append(out[:blobHead:blobHead], context...)), nil
}

// parseBlob returns which key made the ciphertext.
func parseBlob(blob []byte) (id string, version int, err error) {
	if len(blob) < blobHead+12+16 || blob[0] != blobVersion {
		return "", 0, InvalidCiphertext.New("the ciphertext is not one of this service's")
	}
	return uuid.UUID(blob[1:17]).String(), int(binary.BigEndian.Uint32(blob[17:])), nil
}

func (r *ring) open(id string, doc *keyDoc, version int, blob, context []byte) ([]byte, error) {
	a, err := r.aead(id, doc, version)
	if err != nil {
		return nil, err
	}
	plain, err := a.Open(nil, blob[blobHead:blobHead+12], blob[blobHead+12:], append(blob[:blobHead:blobHead], context...))
	if err != nil {
		return nil, InvalidCiphertext.New("the ciphertext does not open: it was altered, or the encryption context is not the one it was made with")
	}
	return plain, nil
}

// canonical turns an encryption context into bytes that do not depend on its order.
func canonical(context map[string]string) []byte {
	keys := make([]string, 0, len(context))
	for k := range context {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b []byte
	for _, k := range keys {
		for _, s := range []string{k, context[k]} {
			b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
			b = append(b, s...)
		}
	}
	return b
}

// Package page makes the tokens that paginated and iterating APIs give to clients. A token
// is sealed: a client can neither read nor make one, and one made for another call or with
// other parameters is refused.
package page

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"sluice.dev/sluice/internal/base/fault"
)

// BadToken is the reason of a token that was not made for this call.
var BadToken = &fault.Reason{Kind: fault.Invalid, Name: "BadToken"}

// maxToken bounds what is decoded.
const maxToken = 8 << 10

// version is the first byte of every token. A token starts with a letter because of it:
// command lines would take one that starts with a dash for an option.
const version = 0

// Tokens seals and opens tokens.
type Tokens struct{ aead cipher.AEAD }

// New returns the Tokens of a key; nodes that share the key accept each other's.
func New(key [32]byte) (*Tokens, error) {
	raw, err := hkdf.Key(sha256.New, key[:], nil, "sluice page tokens", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &Tokens{aead}, err
}

// Seal makes a token of v, which is encoded as JSON. purpose names the call and all of its
// parameters that must stay the same.
func (t *Tokens) Seal(purpose string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("page: encoding a token: %w", err)
	}
	out := make([]byte, 1+t.aead.NonceSize(), 1+t.aead.NonceSize()+len(plain)+t.aead.Overhead())
	nonce := out[1:]
	_, _ = rand.Read(nonce) // never fails
	out[0] = version
	return base64.RawURLEncoding.EncodeToString(t.aead.Seal(out, nonce, plain, []byte(purpose))), nil
}

// Open reads a token of Seal with the same purpose into v.
func (t *Tokens) Open(purpose, token string, v any) error {
	raw, err := base64.RawURLEncoding.DecodeString(token)
	n := t.aead.NonceSize()
	if err != nil || len(token) > maxToken || len(raw) < 1+n || raw[0] != version {
		return BadToken.New("the token is not valid")
	}
	plain, err := t.aead.Open(nil, raw[1:1+n], raw[1+n:], []byte(purpose))
	if err != nil {
		return BadToken.New("the token is not valid, or was made for another call")
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return BadToken.Wrap(err, "the token is not valid")
	}
	return nil
}

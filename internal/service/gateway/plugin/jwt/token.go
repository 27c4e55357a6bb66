package jwt

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"

	jose "github.com/golang-jwt/jwt/v5"
	"github.com/maypok86/otter/v2"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// token is a JSON Web Token in compact form, taken apart and not verified.
type token struct {
	header, claims map[string]any
	signed         string // what the signature is of
	signature      []byte
}

func parse(text string) (*token, error) {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return nil, errors.New("bad argument")
	}
	t := &token{signed: text[:len(parts[0])+1+len(parts[1])]}
	for i, to := range []*map[string]any{&t.header, &t.claims} {
		raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[i], "="))
		if err != nil || json.Unmarshal(raw, to) != nil || *to == nil {
			return nil, errors.New("invalid JSON")
		}
	}
	if typ, given := t.header["typ"].(string); given && !strings.EqualFold(typ, "JWT") {
		return nil, errors.New("invalid typ")
	}
	if alg, _ := t.header["alg"].(string); jose.GetSigningMethod(alg) == nil || alg == "none" {
		return nil, errors.New("invalid alg")
	}
	var err error
	if t.signature, err = base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[2], "=")); err != nil {
		return nil, errors.New("invalid signature")
	}
	return t, nil
}

func (t *token) signedBy(algorithm string, key any) bool {
	return jose.GetSigningMethod(algorithm).Verify(t.signed, t.signature, key) == nil
}

// keyCache keeps public keys by their PEM text.
type keyCache = *otter.Cache[string, crypto.PublicKey]

func newKeyCache() keyCache {
	return otter.Must(&otter.Options[string, crypto.PublicKey]{MaximumSize: 1000})
}

// keyOf returns what the signatures of a credential are verified with.
func (in *instance) keyOf(cred schema.Record, algorithm string) (any, error) {
	if !strings.HasPrefix(algorithm, "HS") {
		text, _ := cred["rsa_public_key"].(string)
		if key, ok := in.keys.GetIfPresent(text); ok {
			return key, nil
		}
		key, err := parseKey(text)
		if err == nil {
			in.keys.Set(text, key)
		}
		return key, err
	}
	secret, _ := cred["secret"].(string)
	if !in.base64 {
		return []byte(secret), nil
	}
	return base64.RawURLEncoding.DecodeString(strings.NewReplacer("+", "-", "/", "_", "=", "").Replace(secret))
}

// parseKey reads a public key, or that of a certificate, in PEM.
func parseKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	switch block.Type {
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return cert.PublicKey, nil
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

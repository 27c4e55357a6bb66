package gateway

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// maxPEM bounds one field of PEM, in bytes, and maxChain the certificates in it.
const (
	maxPEM   = 128 << 10
	maxChain = 16
)

// parseChain reads the certificates of a PEM text: the leaf first, then its issuers.
func parseChain(text string) ([]*x509.Certificate, error) {
	if len(text) > maxPEM {
		return nil, errors.New("too long")
	}
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		if len(out) == maxChain {
			return nil, errors.New("too many certificates")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if out == nil {
		return nil, errors.New("no PEM block of a certificate")
	}
	return out, nil
}

// ParsePrivateKey reads the private key of a PEM text. Its errors hold nothing of the text.
func ParsePrivateKey(text string) (any, error) {
	if len(text) > maxPEM {
		return nil, errors.New("too long")
	}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, errors.New("no PEM block of a private key")
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return nil, errors.New("it is encrypted; store it without a passphrase")
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		var key any
		var err error
		switch block.Type {
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		default:
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		}
		if err != nil {
			return nil, errors.New("not a key of RSA, ECDSA or Ed25519")
		}
		return key, nil
	}
}

// parseKey reads a private key that can sign.
func parseKey(text string) (crypto.Signer, error) {
	key, err := ParsePrivateKey(text)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("not a key of RSA, ECDSA or Ed25519")
	}
	return signer, nil
}

// matches reports whether a certificate is for a key.
func matches(c *x509.Certificate, key crypto.Signer) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

// keyPair is a certificate with its key in two or four fields of a record.
func keyPair(r schema.Record, certField, keyField string) (*tls.Certificate, error) {
	chain, err := parseChain(str(r[certField]))
	if err != nil {
		return nil, err
	}
	key, err := parseKey(str(r[keyField]))
	if err != nil {
		return nil, err
	}
	if !matches(chain[0], key) {
		return nil, errors.New("certificate does not match key")
	}
	out := &tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, c := range chain {
		out.Certificate = append(out.Certificate, c.Raw)
	}
	return out, nil
}

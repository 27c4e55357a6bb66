package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
)

// authorityDoc is the node's own certificate authority, as stored.
type authorityDoc struct{ Cert, Key []byte } // DER

// authority signs the certificates of the listeners.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// openAuthority returns the authority of the control store, and makes it the first time.
func openAuthority(ctx context.Context, s *store.Store, c clock.Clock) (*authority, error) {
	docs := store.Register[authorityDoc](s, "node.authority")
	var doc *authorityDoc
	err := s.Update(ctx, func(tx *store.Tx) error {
		var ok bool
		if doc, ok = docs.Get(tx, "ca"); ok {
			return nil
		}
		var err error
		if doc, err = newAuthority(c.Now()); err != nil {
			return err
		}
		return docs.Insert(tx, "ca", doc)
	})
	if err != nil {
		return nil, err
	}
	a := new(authority)
	if a.cert, err = x509.ParseCertificate(doc.Cert); err != nil {
		return nil, err
	}
	a.key, err = x509.ParseECPrivateKey(doc.Key)
	return a, err
}

func newAuthority(now time.Time) (*authorityDoc, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Sluice authority", Organization: []string{"Sluice"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, MaxPathLenZero: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	return &authorityDoc{cert, raw}, err
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	return new(big.Int).SetBytes(b)
}

// pem is the authority's certificate, for clients to trust.
func (a *authority) pem() []byte {
	return certificatePEM(a.cert.Raw)
}

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// server returns a TLS configuration with a fresh certificate for host, the machine's name and
// loopback.
func (a *authority) server(host string, now time.Time) (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Sluice node"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 1, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"localhost", "*.localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	if name, err := os.Hostname(); err == nil {
		t.DNSNames = append(t.DNSNames, name)
	}
	if ip := net.ParseIP(host); ip != nil {
		t.IPAddresses = append(t.IPAddresses, ip)
	} else {
		t.DNSNames = append(t.DNSNames, host)
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{cert, a.cert.Raw}, PrivateKey: key}}}, nil
}

package gatewaytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

// Pair is a certificate with its key.
type Pair struct {
	Cert, Key string // PEM
	Leaf      *x509.Certificate
	Signer    crypto.Signer
}

// TLS returns the pair as a client or server of TLS uses it.
func (p *Pair) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Leaf.Raw}, PrivateKey: p.Signer, Leaf: p.Leaf}
}

// Authority issues certificates for tests.
type Authority struct{ Pair }

// NewAuthority makes an authority that has signed itself.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	return &Authority{*issue(t, nil, name, ecdsaKey(t), asAuthority)}
}

// Under makes an authority that this one vouches for.
func (a *Authority) Under(t testing.TB, name string, edits ...func(*x509.Certificate)) *Authority {
	t.Helper()
	return &Authority{*issue(t, a, name, ecdsaKey(t), append(edits, asAuthority)...)}
}

// Issue makes a certificate with an ECDSA key for a common name. Edits change the template.
func (a *Authority) Issue(t testing.TB, name string, edits ...func(*x509.Certificate)) *Pair {
	t.Helper()
	return issue(t, a, name, ecdsaKey(t), edits...)
}

// IssueRSA is Issue with an RSA key.
func (a *Authority) IssueRSA(t testing.TB, name string, edits ...func(*x509.Certificate)) *Pair {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return issue(t, a, name, key, edits...)
}

// Pool returns the authority as what to trust.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.Leaf)
	return p
}

// Names sets the DNS names of a certificate.
func Names(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func asAuthority(c *x509.Certificate) {
	c.IsCA, c.BasicConstraintsValid = true, true
	c.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
}

func ecdsaKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func issue(t testing.TB, by *Authority, name string, key crypto.Signer, edits ...func(*x509.Certificate)) *Pair {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Test"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	for _, edit := range edits {
		edit(c)
	}
	parent, signer := c, key
	if by != nil {
		parent, signer = by.Leaf, by.Signer
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &Pair{
		Cert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		Key:  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		Leaf: leaf, Signer: key,
	}
}

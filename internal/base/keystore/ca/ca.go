package ca

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/segment"
)

// Faults of this package.
var (
	Invalid  = &fault.Reason{Kind: fault.Invalid, Name: "InvalidRequest"}
	Exists   = &fault.Reason{Kind: fault.Exists, Name: "AuthorityExists"}
	NotFound = &fault.Reason{Kind: fault.NotFound, Name: "NoAuthority"}
	Rotating = &fault.Reason{Kind: fault.Conflict, Name: "Rotation"}
)

// Validity is how long a node's certificate holds where nothing else is said.
const Validity = 90 * 24 * time.Hour

// authorityYears is how long an authority holds.
const authorityYears = 10

// skew is how far apart clocks may be.
const skew = time.Hour

const (
	authorityFile = "authority.pem"
	bundleFile    = "ca.pem"
	certFile      = "cert.pem"
	keyFile       = "key.pem"
)

// Authority is a cluster's authority.
type Authority struct {
	dir   string
	key   *ecdsa.PrivateKey
	certs []*x509.Certificate // that of key first, then the one before it
}

// Init makes a directory with a new authority. It fails with Exists where there is one.
func Init(dir string, now time.Time) error {
	if _, err := os.Stat(filepath.Join(dir, authorityFile)); err == nil {
		return Exists.Field("dir", "%s has an authority: rotate replaces it", dir)
	}
	if err := segment.MakeDir(dir); err != nil {
		return err
	}
	a := &Authority{dir: dir}
	if err := a.renew(now); err != nil {
		return err
	}
	return a.write()
}

// Open reads the authority of a directory.
func Open(dir string) (*Authority, error) {
	raw, err := os.ReadFile(filepath.Join(dir, authorityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, NotFound.Field("dir", "%s has no authority: init makes one", dir)
	}
	if err != nil {
		return nil, err
	}
	a := &Authority{dir: dir}
	for block, rest := pem.Decode(raw); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case "CERTIFICATE":
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, Invalid.Wrap(err, "%s is damaged", authorityFile)
			}
			a.certs = append(a.certs, c)
		case "EC PRIVATE KEY":
			if a.key, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
				return nil, Invalid.Wrap(err, "%s is damaged", authorityFile)
			}
		}
	}
	if a.key == nil || len(a.certs) == 0 || !a.key.PublicKey.Equal(a.certs[0].PublicKey) {
		return nil, Invalid.New("%s is damaged: it holds no key with its certificate", authorityFile)
	}
	return a, nil
}

// renew puts a new authority before the others.
func (a *Authority) renew(now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: "Sluice cluster authority of " + now.UTC().Format(time.DateTime), Organization: []string{"Sluice"}},
		NotBefore: now.Add(-skew), NotAfter: now.AddDate(authorityYears, 0, 0), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return err
	}
	a.key, a.certs = key, append([]*x509.Certificate{c}, a.certs...)
	return nil
}

func serial() *big.Int {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b)
}

// write keeps the authority, then makes every ca.pem say the same.
func (a *Authority) write() error {
	key, err := x509.MarshalECPrivateKey(a.key)
	if err != nil {
		return err
	}
	truth := slices.Concat(encode("EC PRIVATE KEY", key), a.bundle())
	if err := replace(filepath.Join(a.dir, authorityFile), truth); err != nil {
		return err
	}
	nodes, err := a.Nodes()
	if err != nil {
		return err
	}
	for _, dir := range append([]string{""}, nodes...) {
		if err := replace(filepath.Join(a.dir, dir, bundleFile), a.bundle()); err != nil {
			return err
		}
	}
	return nil
}

func (a *Authority) bundle() []byte {
	var b bytes.Buffer
	for _, c := range a.certs {
		b.Write(encode("CERTIFICATE", c.Raw))
	}
	return b.Bytes()
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// replace puts a whole file in the place of one: who reads sees the old or the new.
func replace(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // its owner's alone
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the error is the one that counts
		return err
	}
	return segment.SyncDir(filepath.Dir(path))
}

// Nodes are those that have a certificate.
func (a *Authority) Nodes() ([]string, error) {
	found, err := filepath.Glob(filepath.Join(a.dir, "*", certFile))
	for i, path := range found {
		found[i] = filepath.Base(filepath.Dir(path))
	}
	return found, err
}

var nodeName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// Issue gives a node a new key and a certificate for its addresses, host names or IP
// addresses, and returns the directory that they are in.
func (a *Authority) Issue(node string, addresses []string, now time.Time, valid time.Duration) (string, error) {
	if !nodeName.MatchString(node) {
		return "", Invalid.Field("node", "a node's name is letters, digits, dots, hyphens and underscores, not %q", node)
	}
	if len(addresses) == 0 {
		return "", Invalid.Field("address", "a certificate needs at least one address of the node")
	}
	if valid <= 0 {
		return "", Invalid.Field("days", "a certificate holds for a day or more")
	}
	ends := now.Add(valid)
	if ends.After(a.certs[0].NotAfter) {
		return "", Invalid.Field("days", "the authority itself ends at %s: rotate it", a.certs[0].NotAfter)
	}
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: node, Organization: []string{"Sluice"}}, NotBefore: now.Add(-skew), NotAfter: ends,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, address := range addresses {
		if ip := net.ParseIP(address); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if address != "" && !strings.ContainsAny(address, " :/[]") {
			t.DNSNames = append(t.DNSNames, address)
		} else {
			return "", Invalid.Field("address", "%q is neither a host name nor an IP address", address)
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	cert, err := x509.CreateCertificate(rand.Reader, t, a.certs[0], &key.PublicKey, a.key)
	if err != nil {
		return "", err
	}
	raw, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(a.dir, node)
	if err := segment.MakeDir(dir); err != nil {
		return "", err
	}
	return dir, errors.Join(replace(filepath.Join(dir, bundleFile), a.bundle()), replace(filepath.Join(dir, keyFile), encode("EC PRIVATE KEY", raw)),
		replace(filepath.Join(dir, certFile), encode("CERTIFICATE", cert)))
}

// Begin makes a new authority, which issues from now on; both are trusted. It fails with
// Rotating where that is so already.
func (a *Authority) Begin(now time.Time) error {
	if len(a.certs) > 1 {
		return Rotating.New("a rotation is under way: finish it first")
	}
	if err := a.renew(now); err != nil {
		return err
	}
	return a.write()
}

// Finish drops the authority before. It fails with Rotating where there is none, or where a
// node's certificate here is still of it and not expired.
func (a *Authority) Finish(now time.Time) error {
	if len(a.certs) == 1 {
		return Rotating.New("no rotation is under way")
	}
	nodes, err := a.Nodes()
	if err != nil {
		return err
	}
	var old []string
	for _, node := range nodes {
		raw, err := os.ReadFile(filepath.Join(a.dir, node, certFile))
		if err != nil {
			return err
		}
		block, _ := pem.Decode(raw)
		if block == nil {
			return Invalid.New("%s of node %s is damaged", certFile, node)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Invalid.Wrap(err, "%s of node %s is damaged", certFile, node)
		}
		if c.CheckSignatureFrom(a.certs[0]) != nil && now.Before(c.NotAfter) {
			old = append(old, node)
		}
	}
	if len(old) > 0 {
		return Rotating.New("the certificates of these nodes are still of the old authority: %s; issue them anew, or remove their directories if they are gone", strings.Join(old, ", "))
	}
	a.certs = a.certs[:1]
	return a.write()
}

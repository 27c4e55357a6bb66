package keystore

import (
	"bytes"
	"crypto"
	"crypto/sha1" //nolint:gosec // JKS is sealed with it
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"unicode/utf16"

	jks "github.com/pavlo-v-chernykh/keystore-go/v4"
	pkcs12 "software.sslmate.com/src/go-pkcs12"
)

// identity is what the files say.
type identity struct {
	own         tls.Certificate
	authorities []*x509.Certificate
}

// contents are the entries of one key store.
type contents struct {
	key         crypto.PrivateKey // nil if there is none
	chain       []*x509.Certificate
	authorities []*x509.Certificate
}

// What can be wrong with a key store.
var (
	errPassword = errors.New("the password does not open it")
	errNoKey    = errors.New("it holds no key entry: keytool -genkeypair makes one")
	errKeys     = errors.New("it holds several key entries, and nothing says which is meant: keep one")
	errNoTrust  = errors.New("it holds no authority to trust: import one, as keytool -import -alias CARoot does")
	errUnequal  = errors.New("the key is not that of the certificate")
)

// maxFile bounds a file: a store with hundreds of authorities is smaller.
const maxFile = 1 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes are too many for a key store", path, info.Size())
	}
	return os.ReadFile(path)
}

// read reads the files and makes sure that they can be used.
func (s *Store) read() (*identity, error) {
	c, file, err := s.cfg.entries()
	if err != nil {
		return nil, err
	}
	id := &identity{authorities: c.authorities}
	if s.cfg.TrustStore != "" {
		more, err := readStore(s.cfg.TrustStore, s.cfg.TrustPassword, "")
		if err != nil {
			return nil, err
		}
		id.authorities = append(id.authorities, more.authorities...)
	}
	id.authorities = append(id.authorities, s.cfg.Authorities...)
	if len(id.authorities) == 0 {
		return nil, fmt.Errorf("%s: %w", file, errNoTrust)
	}
	now, leaf := s.cfg.Clock.Now(), c.chain[0]
	if now.After(leaf.NotAfter) {
		return nil, fmt.Errorf("%s: the certificate %s expired at %s", file, leaf.Subject, leaf.NotAfter)
	}
	if now.Before(leaf.NotBefore) {
		return nil, fmt.Errorf("%s: the certificate %s is not valid before %s", file, leaf.Subject, leaf.NotBefore)
	}
	id.own = tls.Certificate{PrivateKey: c.key, Leaf: leaf}
	for _, cert := range c.chain {
		id.own.Certificate = append(id.own.Certificate, cert.Raw)
	}
	return id, nil
}

// entries are those of the key store, or of the files in PEM; and the file with the
// certificate.
func (c Config) entries() (*contents, string, error) {
	if c.KeyStore == "" {
		out, err := readPEM(c.Cert, c.Key, c.CA)
		return out, c.Cert, err
	}
	out, err := readStore(c.KeyStore, c.Password, c.KeyPassword)
	if err == nil && out.key == nil {
		err = fmt.Errorf("%s: %w", c.KeyStore, errNoKey)
	}
	return out, c.KeyStore, err
}

func readPEM(certFile, keyFile, caFile string) (*contents, error) {
	var raw [3][]byte
	for i, f := range []string{certFile, keyFile, caFile} {
		if f == "" {
			continue
		}
		var err error
		if raw[i], err = readFile(f); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(raw[0], raw[1])
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %s", certFile, keyFile, strings.TrimPrefix(err.Error(), "tls: "))
	}
	out := &contents{key: pair.PrivateKey}
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", certFile, err)
		}
		out.chain = append(out.chain, cert)
	}
	for rest := raw[2]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", caFile, err)
		}
		out.authorities = append(out.authorities, cert)
	}
}

// Beginnings of key stores.
const (
	magicJKS   = 0xfeedfeed
	magicJCEKS = 0xcececece
)

// readStore reads a PKCS #12 or JKS file. What it is, the file itself says: Java's keytool
// makes PKCS #12 files with names that end in .jks.
func readStore(path, password, keyPassword string) (*contents, error) {
	raw, err := readFile(path)
	if err != nil {
		return nil, err
	}
	out, err := parse(raw, password, keyPassword)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}

func parse(raw []byte, password, keyPassword string) (*contents, error) {
	if len(raw) < 12 {
		return nil, errors.New("it is too short for a key store")
	}
	switch magic := binary.BigEndian.Uint32(raw); {
	case magic == magicJKS:
		return parseJKS(raw, password, keyPassword)
	case magic == magicJCEKS:
		return nil, errors.New("it is a JCEKS key store, which is not read: keytool -importkeystore -deststoretype PKCS12 turns it into one that is")
	case bytes.HasPrefix(bytes.TrimSpace(raw), []byte("-----BEGIN")):
		return nil, errors.New("it is PEM, and no PKCS #12 or JKS key store")
	case raw[0] != 0x30:
		return nil, errors.New("it is neither a PKCS #12 nor a JKS key store")
	}
	return parsePKCS12(raw, password)
}

func parsePKCS12(raw []byte, password string) (*contents, error) {
	key, first, others, err := pkcs12.DecodeChain(raw, password)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, errPassword
	case err != nil && strings.Contains(err.Error(), "exactly one key bag"):
		return nil, errKeys
	case err != nil && (strings.Contains(err.Error(), "private key missing") || strings.Contains(err.Error(), "certificate missing")):
		// It may hold nothing but authorities.
		trusted, terr := pkcs12.DecodeTrustStore(raw, password)
		if terr != nil {
			return nil, errNoKey
		}
		return &contents{authorities: trusted}, nil
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), "pkcs12: "))
	}
	out := &contents{key: key}
	certs := append([]*x509.Certificate{first}, others...)
	for _, c := range certs { // Java writes them in no order
		switch {
		case len(out.chain) == 0 && sameKey(key, c):
			out.chain = []*x509.Certificate{c}
		case c.IsCA || bytes.Equal(c.RawIssuer, c.RawSubject):
			out.authorities = append(out.authorities, c)
		}
	}
	if len(out.chain) == 0 {
		return nil, errUnequal
	}
	out.follow(certs)
	return out, nil
}

// follow completes the chain from the certificates that came with it.
func (c *contents) follow(certs []*x509.Certificate) {
	for range certs {
		last := c.chain[len(c.chain)-1]
		if bytes.Equal(last.RawIssuer, last.RawSubject) {
			return
		}
		for _, issuer := range certs {
			if bytes.Equal(last.RawIssuer, issuer.RawSubject) && last.CheckSignatureFrom(issuer) == nil {
				c.chain = append(c.chain, issuer)
				break
			}
		}
	}
}

func sameKey(key crypto.PrivateKey, c *x509.Certificate) bool {
	signer, ok := key.(crypto.Signer)
	if !ok {
		return false
	}
	public, ok := signer.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(c.PublicKey)
}

func parseJKS(raw []byte, password, keyPassword string) (*contents, error) {
	if !sealedJKS(raw, password) {
		return nil, errPassword
	}
	if keyPassword == "" {
		keyPassword = password
	}
	opens, unlocks := latin1(password), latin1(keyPassword)
	if opens == nil || unlocks == nil {
		return nil, errors.New("its password has characters beyond Latin 1")
	}
	store := jks.New(jks.WithOrderedAliases())
	if err := store.Load(bytes.NewReader(raw), opens); err != nil {
		return nil, err
	}
	out := new(contents)
	for _, alias := range store.Aliases() {
		if !store.IsPrivateKeyEntry(alias) {
			entry, err := store.GetTrustedCertificateEntry(alias)
			if err != nil {
				return nil, fmt.Errorf("entry %s: %w", alias, err)
			}
			cert, err := x509.ParseCertificate(entry.Certificate.Content)
			if err != nil {
				return nil, fmt.Errorf("entry %s: %w", alias, err)
			}
			out.authorities = append(out.authorities, cert)
			continue
		}
		if out.key != nil {
			return nil, errKeys
		}
		entry, err := store.GetPrivateKeyEntry(alias, unlocks)
		if err != nil {
			return nil, fmt.Errorf("entry %s: its own password is another one", alias)
		}
		if out.key, err = x509.ParsePKCS8PrivateKey(entry.PrivateKey); err != nil {
			return nil, fmt.Errorf("entry %s: %w", alias, err)
		}
		for i, c := range entry.CertificateChain {
			cert, err := x509.ParseCertificate(c.Content)
			if err != nil {
				return nil, fmt.Errorf("entry %s: %w", alias, err)
			}
			out.chain = append(out.chain, cert)
			if i > 0 {
				out.authorities = append(out.authorities, cert)
			}
		}
		if len(out.chain) == 0 || !sameKey(out.key, out.chain[0]) {
			return nil, errUnequal
		}
	}
	return out, nil
}

// sealedJKS reports whether the password has sealed the file, so that the lengths in it can
// be believed.
func sealedJKS(raw []byte, password string) bool {
	body, seal := raw[:max(0, len(raw)-sha1.Size)], raw[max(0, len(raw)-sha1.Size):]
	h := sha1.New() //nolint:gosec // the format's choice
	for _, unit := range utf16.Encode([]rune(password)) {
		_ = binary.Write(h, binary.BigEndian, unit) // a hash takes everything
	}
	h.Write([]byte("Mighty Aphrodite"))
	h.Write(body)
	return subtle.ConstantTimeCompare(h.Sum(nil), seal) == 1
}

// latin1 is a password with one byte for each character, as the library takes it; nil where
// that cannot be.
func latin1(password string) []byte {
	out := []byte{}
	for _, r := range password {
		if r > 0xff {
			return nil
		}
		out = append(out, byte(r))
	}
	return out
}

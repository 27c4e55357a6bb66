package keystore

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Config names the files.
type Config struct {
	// KeyStore is a PKCS #12 or JKS file with the key, its certificates and the trusted
	// authorities, Password what opens it.
	KeyStore, Password string
	// Cert, Key and CA are files in PEM, in the place of KeyStore.
	Cert, Key, CA string
	Log           *slog.Logger
}

// identity is what the files say.
type identity struct {
	own   tls.Certificate
	roots *x509.CertPool
}

// Store is an identity that follows its files.
type Store struct {
	cfg Config

	mu   sync.Mutex
	now  *identity
	seen []stamp
	next time.Time // when to look at the files again
}

type stamp struct {
	size int64
	at   time.Time
}

// lookAgain is how often the files are looked at, when they are used.
const lookAgain = time.Second

// Open reads the files.
func Open(c Config) (*Store, error) {
	s := &Store{cfg: c}
	var err error
	if s.seen, err = s.stamps(); err != nil {
		return nil, err
	}
	if s.now, err = s.read(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) files() []string {
	if s.cfg.KeyStore != "" {
		return []string{s.cfg.KeyStore}
	}
	return []string{s.cfg.Cert, s.cfg.Key, s.cfg.CA}
}

func (s *Store) stamps() ([]stamp, error) {
	var out []stamp
	for _, f := range s.files() {
		info, err := os.Stat(f)
		if err != nil {
			return nil, err
		}
		out = append(out, stamp{info.Size(), info.ModTime()})
	}
	return out, nil
}

func (s *Store) read() (*identity, error) {
	if s.cfg.KeyStore != "" {
		return nil, errors.New("keystore: PKCS #12 and JKS are not read")
	}
	own, err := tls.LoadX509KeyPair(s.cfg.Cert, s.cfg.Key)
	if err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(s.cfg.CA)
	if err != nil {
		return nil, err
	}
	id := &identity{own: own, roots: x509.NewCertPool()}
	if !id.roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("keystore: %s holds no certificate", s.cfg.CA)
	}
	return id, nil
}

// current is what the files say now.
func (s *Store) current() *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Now().Before(s.next) {
		return s.now
	}
	s.next = time.Now().Add(lookAgain)
	seen, err := s.stamps()
	if err == nil && slices.Equal(seen, s.seen) {
		return s.now
	}
	var id *identity
	if err == nil {
		id, err = s.read()
	}
	if err != nil {
		s.cfg.Log.Error("cannot read the node's certificate again; the one before stays in force", "error", err)
		return s.now
	}
	s.now, s.seen = id, seen
	s.cfg.Log.Info("the node's certificate was read again")
	return id
}

// Server is the configuration of who takes connections.
func (s *Store) Server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &s.current().own, nil },
		VerifyConnection: s.verify(x509.ExtKeyUsageClientAuth)}
}

// Client is the configuration of who makes them.
func (s *Store) Client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // verify does it, without the name
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &s.current().own, nil },
		VerifyConnection:     s.verify(x509.ExtKeyUsageServerAuth)}
}

func (s *Store) verify(usage x509.ExtKeyUsage) func(tls.ConnectionState) error {
	return func(c tls.ConnectionState) error {
		if len(c.PeerCertificates) == 0 {
			return errors.New("keystore: the peer shows no certificate")
		}
		o := x509.VerifyOptions{Roots: s.current().roots, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
		for _, cert := range c.PeerCertificates[1:] {
			o.Intermediates.AddCert(cert)
		}
		_, err := c.PeerCertificates[0].Verify(o)
		return err
	}
}

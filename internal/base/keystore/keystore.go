package keystore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
)

// Config names the files.
type Config struct {
	// KeyStore is a PKCS #12 or JKS file with the key, its certificates and the trusted
	// authorities, Password what opens it.
	KeyStore, Password string
	// KeyPassword is that of the key where a JKS has another one for it.
	KeyPassword string
	// TrustStore is a PKCS #12 or JKS file with more authorities; it may be empty.
	TrustStore, TrustPassword string
	// Cert, Key and CA are files in PEM, in the place of KeyStore.
	Cert, Key, CA string
	// Authorities are trusted too, beside those of the files.
	Authorities []*x509.Certificate
	Clock       clock.Clock // the machine's if nil
	Log         *slog.Logger
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

const (
	// lookAgain is how often the files are looked at, when they are used.
	lookAgain = time.Second
	// warnAhead is how long before its end a certificate is told of.
	warnAhead = 14 * 24 * time.Hour
	// warnEvery is how often.
	warnEvery = time.Hour
)

// Open reads the files. An error names the file and what is wrong with it.
func Open(c Config) (*Store, error) {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	s := &Store{cfg: c}
	var err error
	if s.seen, err = s.stamps(); err != nil {
		return nil, err
	}
	if s.now, err = s.read(); err != nil {
		return nil, err
	}
	s.next = c.Clock.Now().Add(lookAgain)
	s.warn()
	return s, nil
}

func (s *Store) files() []string {
	var out []string
	for _, f := range []string{s.cfg.KeyStore, s.cfg.TrustStore, s.cfg.Cert, s.cfg.Key, s.cfg.CA} {
		if f != "" {
			out = append(out, f)
		}
	}
	return out
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

// current is what the files say now.
func (s *Store) current() *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock.Now()
	if now.Before(s.next) {
		return s.now
	}
	s.next = now.Add(lookAgain)
	seen, err := s.stamps()
	if err == nil && slices.Equal(seen, s.seen) {
		return s.now
	}
	var id *identity
	if err == nil {
		id, err = s.read()
	}
	if err != nil {
		s.cfg.Log.Error("cannot read the certificate again; the one before stays in force", "error", err)
		return s.now
	}
	s.now, s.seen = id, seen
	s.cfg.Log.Info("the certificate was read again", "subject", id.own.Leaf.Subject.String(), "until", id.own.Leaf.NotAfter)
	return id
}

// Expires is when the first of the certificates that are in use ends, the node's own or an
// authority's.
func (s *Store) Expires() time.Time {
	id := s.current()
	first := id.own.Leaf.NotAfter
	for _, a := range id.authorities {
		if a.NotAfter.Before(first) {
			first = a.NotAfter
		}
	}
	return first
}

// Run follows the files, also while nobody connects, and tells of a certificate that is about
// to end, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	look, tell := time.NewTicker(10*lookAgain), time.NewTicker(warnEvery)
	defer look.Stop()
	defer tell.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-look.C:
			s.current()
		case <-tell.C:
			s.warn()
		}
	}
}

func (s *Store) warn() {
	id, now := s.current(), s.cfg.Clock.Now()
	for _, c := range append([]*x509.Certificate{id.own.Leaf}, id.authorities...) {
		if left := c.NotAfter.Sub(now); left < 0 {
			s.cfg.Log.Error("A CERTIFICATE HAS EXPIRED: no new connection will be taken", "subject", c.Subject.String(), "since", c.NotAfter)
		} else if left < warnAhead {
			s.cfg.Log.Error("A CERTIFICATE EXPIRES SOON: replace it", "subject", c.Subject.String(), "at", c.NotAfter, "days", int(left.Hours()/24))
		}
	}
}

// Server is the configuration of a node that takes connections from others.
func (s *Store) Server() *tls.Config { return s.Listener(tls.RequireAnyClientCert) }

// Listener is the configuration of a server. A certificate that a client shows must be of an
// authority of the store; auth says whether it must show one.
func (s *Store) Listener(auth tls.ClientAuthType) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: auth, SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &s.current().own, nil },
		VerifyConnection: func(c tls.ConnectionState) error {
			if len(c.PeerCertificates) == 0 && auth != tls.RequireAnyClientCert {
				return nil
			}
			return s.verify(c, x509.ExtKeyUsageClientAuth)
		}}
}

// Client is the configuration of a node that connects to others.
func (s *Store) Client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // verify does it, without the name
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &s.current().own, nil },
		VerifyConnection:     func(c tls.ConnectionState) error { return s.verify(c, x509.ExtKeyUsageServerAuth) }}
}

func (s *Store) verify(c tls.ConnectionState, usage x509.ExtKeyUsage) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("keystore: the peer shows no certificate")
	}
	o := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: s.cfg.Clock.Now()}
	for _, cert := range s.current().authorities {
		o.Roots.AddCert(cert)
	}
	for _, cert := range c.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	if _, err := c.PeerCertificates[0].Verify(o); err != nil {
		return fmt.Errorf("keystore: the peer's certificate %s: %w", c.PeerCertificates[0].Subject, err)
	}
	return nil
}

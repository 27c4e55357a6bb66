package component

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"sluice.dev/sluice/internal/agent/engine"
)

const sslAPI = "org.apache.nifi.ssl.SSLContextService"

func sslContextService() engine.Definition {
	kinds := []string{"PKCS12", "PEM"}
	return engine.Definition{
		Type: "org.apache.nifi.ssl.StandardSSLContextService", Description: "A certificate with its key, and the authorities that are trusted", Provides: []string{sslAPI},
		Properties: []engine.Property{
			{Name: "Keystore Filename", Description: "File of the certificate and key; in PEM both are in it"},
			{Name: "Keystore Password", Sensitive: true},
			{Name: "Keystore Type", Default: kinds[0], Allowed: kinds},
			{Name: "Truststore Filename", Description: "File of the trusted authorities; the system's if empty"},
			{Name: "Truststore Password", Sensitive: true},
			{Name: "Truststore Type", Default: kinds[0], Allowed: kinds},
		},
		NewService: func(s *engine.Settings) (any, error) { return openSSL(s) },
	}
}

// sslContext is what processors take TLS from.
type sslContext struct {
	certificates []tls.Certificate
	roots        *x509.CertPool // nil for the system's
}

// maxStore bounds the files of keys and certificates.
const maxStore = 4 << 20

func openSSL(s *engine.Settings) (*sslContext, error) {
	out := &sslContext{}
	if name := s.Text("Keystore Filename"); name != "" {
		cert, err := keyStore(name, s.Text("Keystore Type"), s.Text("Keystore Password"))
		if err != nil {
			return nil, fmt.Errorf("the key store %s cannot be used: %w", name, err)
		}
		out.certificates = []tls.Certificate{cert}
	}
	if name := s.Text("Truststore Filename"); name != "" {
		roots, err := trustStore(name, s.Text("Truststore Type"), s.Text("Truststore Password"))
		if err != nil {
			return nil, fmt.Errorf("the trust store %s cannot be used: %w", name, err)
		}
		out.roots = roots
	}
	return out, nil
}

func readStore(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxStore {
		err = errors.New("it is too large")
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(name)
}

func keyStore(name, kind, password string) (tls.Certificate, error) {
	b, err := readStore(name)
	if err != nil {
		return tls.Certificate{}, err
	}
	if kind == "PEM" {
		return tls.X509KeyPair(b, b)
	}
	key, leaf, chain, err := pkcs12.DecodeChain(b, password)
	if err != nil {
		return tls.Certificate{}, err
	}
	cert := tls.Certificate{PrivateKey: key, Leaf: leaf, Certificate: [][]byte{leaf.Raw}}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	return cert, nil
}

func trustStore(name, kind, password string) (*x509.CertPool, error) {
	b, err := readStore(name)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if kind == "PEM" {
		if !pool.AppendCertsFromPEM(b) {
			return nil, errors.New("there is no certificate in it")
		}
		return pool, nil
	}
	list, err := pkcs12.DecodeTrustStore(b, password)
	if err != nil { // key stores with authorities are used as trust stores too
		_, _, chain, again := pkcs12.DecodeChain(b, password)
		if again != nil || len(chain) == 0 {
			return nil, err
		}
		list = chain
	}
	for _, c := range list {
		pool.AddCert(c)
	}
	return pool, nil
}

func (c *sslContext) client() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: c.certificates, RootCAs: c.roots}
}

// server is the configuration of a listener; AUTO asks for certificates where authorities are given.
func (c *sslContext) server(auth string) *tls.Config {
	out := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: c.certificates, ClientCAs: c.roots}
	switch {
	case auth == "NEED" || auth == "REQUIRED" || auth == "AUTO" && c.roots != nil:
		out.ClientAuth = tls.RequireAndVerifyClientCert
	case auth == "WANT":
		out.ClientAuth = tls.VerifyClientCertIfGiven
	}
	return out
}

// tlsOf is the client configuration of the service that a property names, nil if it names none.
func tlsOf(s *engine.Settings, property string) *tls.Config {
	if c, ok := s.Service(property).(*sslContext); ok {
		return c.client()
	}
	return nil
}

package proxy

import (
	"bytes"
	"crypto/tls"
	"slices"

	"sluice.dev/sluice/internal/service/gateway"
)

// front decides about TLS handshakes of clients by the gateway's current snapshot: which
// certificate to show, and whether to ask for the client's. It never refuses a client for
// its certificate; that is up to plugins.
//
// Session tickets of both configurations are sealed with the keys of base, which crypto/tls
// replaces every day, so that sessions survive a change of the gateway's configuration.
type front struct {
	gw     *gateway.Gateway
	base   *tls.Config // for clients that are not asked for a certificate
	asking *tls.Config
}

// asked marks the sessions of clients that were asked for a certificate. A session without
// it must not be resumed where a certificate is needed: the client never had an occasion
// to show one. A session with it carries the certificate along.
var asked = []byte("sluice: asked for a certificate")

// newFront derives from the listener's configuration, whose certificates serve the names
// that the gateway has none for. staple may be nil. protocols are offered by ALPN.
func newFront(gw *gateway.Gateway, staple func(*tls.Certificate) *tls.Certificate, c *tls.Config, protocols ...string) *front {
	f := &front{gw: gw, base: c.Clone()}
	f.base.NextProtos = protocols
	f.base.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if cert := gw.Certificate(hello); cert != nil {
			if staple != nil {
				cert = staple(cert)
			}
			return cert, nil
		}
		if c.GetCertificate != nil {
			return c.GetCertificate(hello)
		}
		return nil, nil
	}
	f.asking = f.base.Clone()
	f.asking.ClientAuth = tls.RequestClientCert
	f.asking.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		s.Extra = append(s.Extra, asked)
		return f.base.EncryptTicket(cs, s)
	}
	f.asking.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		s, err := f.base.DecryptTicket(ticket, cs)
		if err != nil || s == nil || !slices.ContainsFunc(s.Extra, func(e []byte) bool { return bytes.Equal(e, asked) }) {
			return nil, err
		}
		return s, nil
	}
	f.base.GetConfigForClient = f.configFor
	return f
}

func (f *front) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	names, ask := f.gw.AsksCertificate(hello.ServerName)
	switch {
	case !ask:
		return nil, nil
	case names == nil:
		return f.asking, nil
	}
	c := f.asking.Clone()
	c.ClientCAs = names
	return c, nil
}

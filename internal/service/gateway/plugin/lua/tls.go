package lua

import (
	"bytes"
	"crypto/sha1" // #nosec: nginx tells this fingerprint
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"

	glua "github.com/yuin/gopher-lua"

	"sluice.dev/sluice/internal/service/gateway"
)

// clientCertificate returns the certificate the client has shown, or nil.
func clientCertificate(x *gateway.Exchange) *x509.Certificate {
	if x.Conn.TLS == nil || len(x.Conn.TLS.PeerCertificates) == 0 {
		return nil
	}
	return x.Conn.TLS.PeerCertificates[0]
}

func pemOf(certs ...*x509.Certificate) string {
	var b bytes.Buffer
	for _, c := range certs {
		// Writing to a buffer does not fail.
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.String()
}

const nginxTime = "Jan _2 15:04:05 2006 GMT"

// verification is what nginx calls ssl_client_verify. The handshake asks for certificates
// and verifies none: that is the plugins' part, which may set the variable.
func (s *state) verification(x *gateway.Exchange) string {
	switch {
	case s.verified != "":
		return s.verified
	case clientCertificate(x) == nil:
		return "NONE"
	case len(x.Conn.TLS.VerifiedChains) > 0:
		return "SUCCESS"
	}
	return "FAILED:unverified"
}

func (s *state) tlsVariable(x *gateway.Exchange, name string) glua.LValue {
	c := x.Conn.TLS
	if c == nil {
		return glua.LNil
	}
	switch name {
	case "ssl_protocol":
		if c.Version == tls.VersionTLS12 {
			return glua.LString("TLSv1.2")
		}
		return glua.LString("TLSv1.3")
	case "ssl_cipher":
		return glua.LString(tls.CipherSuiteName(c.CipherSuite))
	case "ssl_server_name", "ssl_preread_server_name":
		return orNil(c.ServerName)
	case "ssl_session_reused":
		if c.DidResume {
			return glua.LString("r")
		}
		return glua.LString(".")
	case "ssl_client_verify":
		return glua.LString(s.verification(x))
	}
	cert := clientCertificate(x)
	if cert == nil {
		return glua.LNil
	}
	switch name {
	case "ssl_client_raw_cert":
		return glua.LString(pemOf(cert))
	case "ssl_client_cert":
		return glua.LString(strings.ReplaceAll(strings.TrimSpace(pemOf(cert)), "\n", "\n\t"))
	case "ssl_client_escaped_cert":
		return glua.LString(url.PathEscape(pemOf(cert)))
	case "ssl_client_s_dn":
		return glua.LString(cert.Subject.String())
	case "ssl_client_i_dn":
		return glua.LString(cert.Issuer.String())
	case "ssl_client_serial":
		return glua.LString(strings.ToUpper(hex.EncodeToString(cert.SerialNumber.Bytes())))
	case "ssl_client_fingerprint":
		sum := sha1.Sum(cert.Raw)
		return glua.LString(hex.EncodeToString(sum[:]))
	case "ssl_client_v_start":
		return glua.LString(cert.NotBefore.UTC().Format(nginxTime))
	case "ssl_client_v_end":
		return glua.LString(cert.NotAfter.UTC().Format(nginxTime))
	}
	return glua.LNil
}

// clientTLS makes kong.client.tls.
func (s *state) clientTLS() glua.LValue {
	yes := func(L *glua.LState) int { L.Push(glua.LTrue); return 1 }
	return s.seal(s.functions(map[string]glua.LGFunction{
		"request_client_certificate": func(L *glua.LState) int {
			if s.phase != Certificate {
				L.RaiseError("function cannot be called in %s phase (only in: certificate)", string(s.phase))
			}
			s.asked = true
			return yes(L)
		},
		"disable_session_reuse": yes, // a resumed session has the certificate of the first
		"get_full_client_certificate_chain": func(L *glua.LState) int {
			x := s.exchange(L)
			if clientCertificate(x) == nil {
				return 0
			}
			return pushText(L, pemOf(x.Conn.TLS.PeerCertificates...))
		},
		"set_client_verify": func(L *glua.LState) int {
			v := L.CheckString(1)
			if v != "SUCCESS" && v != "NONE" && !strings.HasPrefix(v, "FAILED:") {
				L.RaiseError("unknown client verify value: %s accepted values are: \"SUCCESS\", \"NONE\" or \"FAILED:<reason>\"", v)
			}
			s.verified = v
			return 0
		},
	}))
}

package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Authority is an uploaded certificate of an authority.
type Authority struct {
	ID     string
	Digest string // SHA-256 of the certificate, in hexadecimal digits
	Cert   *x509.Certificate
}

// Authorities are all that are uploaded at one moment. They never change; where nothing
// was uploaded or removed, snapshots share them, so that their address tells changes.
type Authorities struct {
	all      []*Authority
	byID     map[string]*Authority
	byDigest map[string]*Authority
}

// All returns them in order of id. The slice must not be changed.
func (a *Authorities) All() []*Authority { return a.all }

// ByID returns the authority under an id, or nil.
func (a *Authorities) ByID(id string) *Authority { return a.byID[id] }

// ByDigest returns the authority with a certificate, or nil.
func (a *Authorities) ByDigest(digest string) *Authority { return a.byDigest[digest] }

// serverCertificate is a compiled certificate: one pair, or two with keys of different types.
type serverCertificate struct {
	pairs []*tls.Certificate // what costs least to sign with comes first
}

// pick returns the pair that suits a peer best, going by supports.
func (c *serverCertificate) pick(supports func(*tls.Certificate) error) *tls.Certificate {
	if len(c.pairs) > 1 {
		for _, p := range c.pairs {
			if supports(p) == nil {
				return p
			}
		}
	}
	return c.pairs[0]
}

func (g *Gateway) compileCertificate(id string, doc *schema.Record) *serverCertificate {
	c := &serverCertificate{}
	r, err := g.resolveSecrets(certificates.Record, *doc)
	if err == nil {
		var pair *tls.Certificate
		if pair, err = keyPair(r, "cert", "key"); err == nil {
			c.pairs = append(c.pairs, pair)
		}
	}
	if err == nil && r["cert_alt"] != nil {
		var pair *tls.Certificate
		if pair, err = keyPair(r, "cert_alt", "key_alt"); err == nil {
			c.pairs = append(c.pairs, pair)
			if c.pairs[0].Leaf.PublicKeyAlgorithm == x509.RSA {
				c.pairs[0], c.pairs[1] = c.pairs[1], c.pairs[0]
			}
		}
	}
	if err != nil {
		g.deps.Log.Error("a certificate cannot be used", "certificate", id, "err", err)
	}
	if len(c.pairs) == 0 {
		return nil
	}
	return c
}

// material is what snapshots hold for TLS.
type material struct {
	certificates map[string]*serverCertificate // by id
	names        map[string]*serverCertificate // by server name in lower case, wildcards included
	authorities  *Authorities
}

// compiledMaterial remembers the documents a material was made of.
type compiledMaterial struct {
	*material
	documents []*schema.Record
	of        map[*schema.Record]*serverCertificate
}

// material compiles certificates, names and authorities, or returns the last ones where
// nothing has changed.
func (g *Gateway) material(view *store.Snapshot) compiledMaterial {
	old := g.compiled.material
	next := compiledMaterial{documents: make([]*schema.Record, 0, len(old.documents))}
	for _, name := range []string{"certificates", "snis", "ca_certificates"} {
		for _, doc := range g.collection(name).All(view, "") {
			next.documents = append(next.documents, doc)
		}
	}
	if old.material != nil && slices.Equal(old.documents, next.documents) {
		return old
	}
	next.of = map[*schema.Record]*serverCertificate{}
	m := &material{certificates: map[string]*serverCertificate{}, names: map[string]*serverCertificate{}}
	next.material = m
	for id, doc := range g.collection("certificates").All(view, "") {
		c, known := old.of[doc]
		if !known {
			c = g.compileCertificate(id, doc)
		}
		next.of[doc] = c
		if c != nil {
			m.certificates[id] = c
		}
	}
	for _, doc := range g.collection("snis").All(view, "") {
		if c := m.certificates[refID((*doc)["certificate"])]; c != nil {
			m.names[strings.ToLower(str((*doc)["name"]))] = c
		}
	}
	m.authorities = g.authorities(view, old.material)
	return next
}

func (g *Gateway) authorities(view *store.Snapshot, old *material) *Authorities {
	out := &Authorities{byID: map[string]*Authority{}, byDigest: map[string]*Authority{}}
	changed := old == nil
	for id, doc := range g.collection("ca_certificates").All(view, "") {
		digest := str((*doc)["cert_digest"])
		var a *Authority
		if old != nil {
			a = old.authorities.byID[id]
		}
		if a == nil || a.Digest != digest {
			changed = true
			chain, err := parseChain(str((*doc)["cert"]))
			if err != nil { // validated when it was written
				continue
			}
			a = &Authority{ID: id, Digest: digest, Cert: chain[0]}
		}
		out.all = append(out.all, a)
		out.byID[id], out.byDigest[digest] = a, a
	}
	if !changed && len(out.all) == len(old.authorities.all) {
		return old.authorities
	}
	return out
}

// Authorities returns the authorities that are uploaded now.
func (g *Gateway) Authorities() *Authorities { return g.current.Load().material.authorities }

// Leaves returns the certificates, without keys, of a certificates entity.
func (g *Gateway) Leaves(certificate string) []*x509.Certificate {
	c := g.current.Load().material.certificates[certificate]
	if c == nil {
		return nil
	}
	out := make([]*x509.Certificate, len(c.pairs))
	for i, p := range c.pairs {
		out[i] = p.Leaf
	}
	return out
}

// Certificate picks the certificate for a handshake: that of the server's name, else of a
// name with a wildcard, else of the name "*". It returns nil where there is none.
func (g *Gateway) Certificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	names := g.current.Load().material.names
	if len(names) == 0 {
		return nil
	}
	name := serverName(hello.ServerName)
	c := names[name]
	if first, last := strings.IndexByte(name, '.'), strings.LastIndexByte(name, '.'); c == nil && first >= 0 {
		if c = names["*"+name[first:]]; c == nil {
			c = names[name[:last+1]+"*"]
		}
	}
	if c == nil {
		c = names["*"]
	}
	if c == nil {
		return nil
	}
	anyName := *hello // which certificate a name has is the configuration's decision, not the certificate's
	anyName.ServerName = ""
	return c.pick(anyName.SupportsCertificate)
}

func serverName(s string) string { return strings.ToLower(strings.TrimSuffix(s, ".")) }

// identity is what tells configurations for TLS to upstreams apart.
type identity struct {
	certificate *serverCertificate
	verify      bool
	depth       int // -1: any
	authorities string
}

// upstreamTLS returns the configuration for TLS to a service's upstream. Services with the
// same identity share it.
func (g *Gateway) upstreamTLS(view *store.Snapshot, m *material, r schema.Record, next map[identity]*tls.Config) *tls.Config {
	id := identity{depth: -1}
	id.verify, _ = r["tls_verify"].(bool)
	ref := refID(r["client_certificate"])
	if ref == "" {
		if _, up, ok := g.lookup(view, upstreams, "name", str(r["host"])); ok {
			ref = refID((*up)["client_certificate"])
		}
	}
	id.certificate = m.certificates[ref]
	var roots *x509.CertPool
	if id.verify {
		if r["tls_verify_depth"] != nil {
			id.depth = num(r["tls_verify_depth"])
		}
		if ids := list(r["ca_certificates"]); len(ids) > 0 {
			roots = x509.NewCertPool()
			for _, ca := range ids {
				if a := m.authorities.ByID(ca); a != nil {
					roots.AddCert(a.Cert)
					id.authorities += a.Digest
				}
			}
		}
	}
	c := g.compiled.upstreamTLS[id]
	if c == nil {
		c = next[id]
	}
	if c == nil {
		c = newUpstreamTLS(id, roots)
	}
	next[id] = c
	return c
}

func newUpstreamTLS(id identity, roots *x509.CertPool) *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: !id.verify, RootCAs: roots}
	if cert := id.certificate; cert != nil {
		// It is shown whichever authorities the upstream names, as nginx does.
		c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cert.pick(r.SupportsCertificate), nil
		}
	}
	if id.depth >= 0 {
		c.VerifyConnection = func(s tls.ConnectionState) error {
			for _, chain := range s.VerifiedChains {
				if len(chain) <= id.depth+2 { // besides the leaf and the authority itself
					return nil
				}
			}
			return errDepth
		}
	}
	return c
}

var errDepth = errors.New("the upstream's certificate has more intermediates than tls_verify_depth allows")

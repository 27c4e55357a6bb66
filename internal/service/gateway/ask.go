package gateway

import "crypto/x509"

// CertificateAsker is implemented by instances that look at the client's certificate. A
// client shows one only where it was asked for it in the handshake, which comes before
// the request and so before the route; the gateway asks where a route could need it.
type CertificateAsker interface {
	// AskCertificate returns the authorities whose certificates are accepted, and whether
	// the client is to be told their names.
	AskCertificate(all *Authorities) (accepted []*Authority, tell bool)
}

// HandshakeAsker is implemented by instances that decide in the handshake whether the
// client is asked for a certificate.
type HandshakeAsker interface {
	AsksCertificate(serverName string) bool
}

// asks tells for which server names clients are asked for a certificate.
type asks struct {
	always *ask
	exact  map[string]*ask
	wild   []wildAsk
}

// ask is one request for a certificate. names is nil where none are told.
type ask struct {
	askers  []CertificateAsker
	dynamic []HandshakeAsker
	names   *x509.CertPool
}

func (a *ask) add(plugin any) {
	if p, ok := plugin.(CertificateAsker); ok {
		a.askers = append(a.askers, p)
	}
	if p, ok := plugin.(HandshakeAsker); ok {
		a.dynamic = append(a.dynamic, p)
	}
}

type wildAsk struct {
	rule hostRule
	ask  *ask
}

// compileAsks gathers the server names. An instance for everything, or for a route that
// does not tell its server names, asks always.
func (s *snapshot) compileAsks() asks {
	var out asks
	var rules []hostRule // of all asks that are not for always, each once
	byRule := map[hostRule]*ask{}
	always := &ask{}
	for _, in := range s.all {
		_, fixed := in.plugin.(CertificateAsker)
		if _, dynamic := in.plugin.(HandshakeAsker); !fixed && !dynamic {
			continue
		}
		snis, all := s.protects(in)
		if all {
			always.add(in.plugin)
			continue
		}
		for _, rule := range snis {
			if byRule[rule] == nil {
				byRule[rule] = &ask{}
				rules = append(rules, rule)
			}
			byRule[rule].add(in.plugin)
		}
	}
	if len(always.askers)+len(always.dynamic) > 0 {
		always.tell(s.material.authorities)
		out.always = always
	}
	for _, rule := range rules {
		a := byRule[rule]
		a.askers = append(a.askers, always.askers...)
		a.dynamic = append(a.dynamic, always.dynamic...)
		a.tell(s.material.authorities)
		if rule.kind != hostExact {
			out.wild = append(out.wild, wildAsk{rule, a})
			continue
		}
		if out.exact == nil {
			out.exact = map[string]*ask{}
		}
		out.exact[rule.text] = a
	}
	return out
}

// protects returns the server names of the routes an instance is configured for; all where
// one of them has none.
func (s *snapshot) protects(in *instance) (snis []hostRule, all bool) {
	if in.scope.route == "" && in.scope.service == "" {
		return nil, true
	}
	for _, r := range s.routed {
		if in.scope.route != "" && in.scope.route != r.ID ||
			in.scope.service != "" && (r.Service == nil || in.scope.service != r.Service.ID) {
			continue
		}
		if len(r.snis) == 0 {
			return nil, true
		}
		snis = append(snis, r.snis...)
	}
	return snis, false
}

// tell sets the names, where one of the askers wants them told. Then those of all are:
// names are what a client chooses its certificate by.
func (a *ask) tell(all *Authorities) {
	names, tell := x509.NewCertPool(), false
	for _, asker := range a.askers {
		accepted, wants := asker.AskCertificate(all)
		tell = tell || wants
		for _, authority := range accepted {
			names.AddCert(authority.Cert)
		}
	}
	if tell {
		a.names = names
	}
}

// AsksCertificate reports whether clients that connect to a server name are asked for a
// certificate, and the authorities they are told, nil for none.
func (g *Gateway) AsksCertificate(name string) (names *x509.CertPool, asked bool) {
	s := g.acquire() // dynamic askers run code of instances
	defer s.release()
	a := &s.asks
	if a.always == nil && a.exact == nil && a.wild == nil {
		return nil, false
	}
	name = serverName(name)
	found := a.exact[name]
	for i := range a.wild {
		if found == nil && a.wild[i].rule.match(name, 0) {
			found = a.wild[i].ask
		}
	}
	if found == nil {
		found = a.always
	}
	if found == nil {
		return nil, false
	}
	asked = len(found.askers) > 0
	for _, d := range found.dynamic { // each acts in the handshake, whatever the others say
		asked = d.AsksCertificate(name) || asked
	}
	return found.names, asked
}

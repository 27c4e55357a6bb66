package node

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/api/c2"
	"sluice.dev/sluice/internal/api/console"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/mesh"
	"sluice.dev/sluice/internal/service/edge"
)

// openEdge makes the service of the agents, which other nodes may ask too.
func (s *services) openEdge(c *Config, b *base, ca *authority) {
	deps := edge.Deps{Store: b.store, Auth: s.iam, Leases: s.cluster.keeper, Authority: ca, Clock: b.clock, Log: b.log}
	if s.cluster.mesh != nil {
		deps.Peers = s.cluster.mesh
	}
	silence, _ := c.Edge.heartbeats() // complete has read them
	within := c.Edge.DeployedTimeout
	if !c.Edge.Timeouts {
		within = 1 << 62
	}
	s.edge = edge.New(edge.Config{SilenceOf: silence, Pace: edge.Pace{Every: c.Edge.BatchEvery, All: c.Edge.Batch, Kinds: map[string]int{
		"UPDATE/asset": c.Edge.AssetBatch, "UPDATE/configuration": c.Edge.ConfigBatch, "UPDATE/properties": c.Edge.PropertyBatch, "SYNC/resource": c.Edge.ResourceBatch}},
		Account: c.Account, Region: c.Region, Node: s.cluster.service.Self(), MaxSilence: c.Edge.MaxHeartbeat,
		AnswerWithin: within, Strategy: edge.Strategy(c.Edge.Manifest), RequireCertificate: c.Edge.RequireCertificate}, deps)
	if s.cluster.mesh == nil {
		return
	}
	for topic, answer := range s.edge.Topics() {
		s.cluster.mesh.OnCall(topic, mesh.Handler(answer))
	}
	for topic, hear := range s.edge.News() {
		s.cluster.mesh.OnCast(topic, hear)
	}
}

// agentScheme marks the certificates of agents: sluice-agent:ID?class=CLASS. Others that the
// authority issues make nobody an agent.
const agentScheme = "sluice-agent"

// IssueAgent signs a certificate for the key of an agent of a class.
func (a *authority) IssueAgent(key any, agent, class string, until time.Time) (cert, ca []byte, err error) {
	t := &x509.Certificate{SerialNumber: serial(), Subject: pkix.Name{CommonName: agent, OrganizationalUnit: []string{"Sluice agents"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, URIs: []*url.URL{{Scheme: agentScheme, Opaque: url.PathEscape(agent), RawQuery: url.Values{"class": {class}}.Encode()}}}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key, a.key)
	if err != nil {
		return nil, nil, err
	}
	return certificatePEM(der), a.pem(), nil
}

// Roots are what agents' certificates are verified with.
func (a *authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// agentCerts tells which agent has shown a certificate. What was verified is remembered, as
// an agent shows the same one with every heartbeat.
type agentCerts struct {
	roots *x509.CertPool
	clock clock.Clock
	// verified says that the listener takes no certificate that it has not verified.
	verified bool
	mu       sync.Mutex
	known    map[[32]byte]edge.Peer
}

// maxAgentCerts bounds how many certificates are remembered.
const maxAgentCerts = 200_000

func (c *agentCerts) agent(r *http.Request) edge.Peer {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return edge.Peer{}
	}
	// A listener with the owner's stores has verified what it was shown.
	proved := c.verified
	cert := r.TLS.PeerCertificates[0]
	if c.clock.Now().After(cert.NotAfter) {
		return edge.Peer{}
	}
	sum := sha256.Sum256(cert.Raw)
	c.mu.Lock()
	agent, ok := c.known[sum]
	c.mu.Unlock()
	if ok {
		return agent
	}
	if _, err := cert.Verify(x509.VerifyOptions{Roots: c.roots, CurrentTime: c.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err == nil {
		for _, u := range cert.URIs {
			if id, err := url.PathUnescape(u.Opaque); err == nil && u.Scheme == agentScheme && id == cert.Subject.CommonName {
				agent = edge.Peer{Agent: id, Class: u.Query().Get("class"), Proved: true}
			}
		}
	}
	agent.Proved = agent.Proved || proved
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxAgentCerts {
		clear(c.known)
	}
	c.known[sum] = agent
	return agent
}

// openAgentFront is the part of the console's port that agents use. Operators' parts look at
// the newest revision first, in a cluster; agents, of which there are many, do not.
func openAgentFront(c *Config, b *base, s *services, ca *authority, identify func(*http.Request) (caller.Identity, error), operators http.Handler) http.Handler {
	certs := &agentCerts{roots: ca.Roots(), clock: b.clock, known: map[[32]byte]edge.Peer{}, verified: c.ownConsole()}
	agents := c2.New(c2.Config{Context: c.Console.ContextPath}, c2.Deps{Edge: s.edge, Log: b.log, Agent: certs.agent,
		Fail: func(w http.ResponseWriter, err error) { console.WriteError(w, b.log, err) }})
	if c.Cluster.Enabled {
		operators = fresh(b.store, operators)
	}
	api := c.Console.ContextPath + "/api"
	enroll := api + "/agent-deployer/enroll"
	own := []string{api + "/c2-protocol/", api + "/flows/", "/c2/", enroll, api + "/agent-deployer/renew"}
	need := c.ownConsole() && c.Console.ClientAuth == "need"
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(r.URL.Path, prefix) }) {
			operators.ServeHTTP(w, r)
			return
		}
		var err error
		if r.Header.Get("Authorization") != "" { // what stands in for a certificate
			r, err = console.Identified(r, identify)
		} else if need && len(r.TLS.PeerCertificates) == 0 && !strings.HasPrefix(r.URL.Path, enroll) {
			err = edge.NoIdentity.New("agents must show a certificate here (console.client_auth is need)")
		}
		if err != nil {
			console.WriteError(w, b.log, err)
			return
		}
		agents.ServeHTTP(w, r)
	})
}

// fingerprint returns what tells the certificate that agents which enrol know a server by, its
// SHA-256: the authority's that the server sends along, which outlives its own certificate, or
// the server's own. It is empty where machines trust the server's anyway.
func fingerprint(conf *tls.Config) func() string {
	if conf == nil {
		return nil
	}
	return func() string {
		var shown tls.Certificate
		if conf.GetCertificate == nil {
			shown = conf.Certificates[0]
		} else if c, err := conf.GetCertificate(new(tls.ClientHelloInfo)); err == nil {
			shown = *c
		}
		var chain []*x509.Certificate
		between := x509.NewCertPool()
		for _, der := range shown.Certificate {
			c, err := x509.ParseCertificate(der)
			if err != nil {
				return ""
			}
			chain = append(chain, c)
			between.AddCert(c)
		}
		if len(chain) == 0 {
			return ""
		}
		if _, err := chain[0].Verify(x509.VerifyOptions{Intermediates: between}); err == nil {
			return ""
		}
		known := chain[0]
		for _, c := range chain[1:] { // the last that has issued it
			roots := x509.NewCertPool()
			roots.AddCert(c)
			if _, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between}); err == nil {
				known = c
			}
		}
		sum := sha256.Sum256(known.Raw)
		return hex.EncodeToString(sum[:])
	}
}

package enroll

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/agent/state"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
)

// Faults of enrolment.
var (
	Invalid = &fault.Reason{Kind: fault.Invalid, Name: "InvalidEnrolment"}
	Failed  = &fault.Reason{Kind: fault.Unavailable, Name: "EnrolmentFailed"}
)

// The files in the data directory; key and certificate are one, so that they change together.
var (
	certFile = filepath.Join("tls", "agent.pem")
	caFile   = filepath.Join("tls", "ca.pem")
	// nodesFile has what the node was known by when the agent enrolled. Without a certificate
	// in it that was the system's authorities.
	nodesFile = filepath.Join("tls", "nodes.pem")
)

const (
	maxAnswer   = 1 << 20
	callTimeout = 30 * time.Second
)

// Trust says how a node is known that has not issued a certificate yet.
type Trust struct {
	CA          string // a file of authorities in PEM
	Fingerprint string // SHA-256 of a certificate that the node shows, in hex
}

// request and answer are what agent-deployer/enroll and …/renew speak.
type request struct {
	Token string `json:"token,omitempty"`
	CSR   string `json:"csr"`
}

type answer struct {
	AgentID     string `json:"agentId"`
	AgentClass  string `json:"agentClass"`
	Certificate string `json:"certificate"`
	CA          string `json:"ca"`
}

// Enroll has a certificate issued for a new key and keeps it. The agent's identity is what
// the node says.
func Enroll(ctx context.Context, base, token string, trust Trust, dir *state.Dir) (state.Identity, error) {
	none := state.Identity{}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return none, Invalid.Field("url", "%q is not the URL of a node", base)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return none, Invalid.Field("url", "a token is not sent over plain HTTP to another machine: use https")
	}
	if strings.TrimSpace(token) == "" {
		return none, Invalid.Field("token", "a token is needed")
	}
	conf, known, err := trust.config(u.Hostname())
	if err != nil {
		return none, err
	}
	client := httpClient(conf)
	defer client.CloseIdleConnections()
	a, key, err := issue(ctx, client, strings.TrimRight(base, "/")+"/agent-deployer/enroll", strings.TrimSpace(token))
	if err != nil {
		return none, err
	}
	if a.AgentID == "" || len(a.AgentID) > 200 || len(a.AgentClass) > 200 {
		return none, Failed.New("the node's answer has no usable agentId")
	}
	if err := dir.Write(nodesFile, known()); err != nil {
		return none, err
	}
	if err := keep(dir, a, key); err != nil {
		return none, err
	}
	return dir.Identity(state.Identity{ID: a.AgentID, Class: a.AgentClass, URL: base})
}

// issue makes a key and has a certificate issued for it.
func issue(ctx context.Context, client *http.Client, to, token string) (*answer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "sluice agent"}}, key)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	body, err := json.Marshal(request{Token: token, CSR: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	direct := *client // a token is for the node that was named, and for none that it names
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := direct.Do(req)
	if err != nil {
		return nil, nil, Failed.Wrap(err, "%s cannot be reached", req.URL.Host)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, Failed.Wrap(err, "the answer of %s breaks off", req.URL.Host)
	}
	if resp.StatusCode/100 != 2 {
		return nil, nil, Failed.New("%s answers %s: %.300s", req.URL.Host, resp.Status, strings.Join(strings.Fields(string(raw)), " "))
	}
	a := &answer{}
	if err := json.Unmarshal(raw, a); err != nil {
		return nil, nil, Failed.Wrap(err, "the answer of %s is not understood", req.URL.Host)
	}
	if _, err := tls.X509KeyPair([]byte(a.Certificate), keyPEM); err != nil {
		return nil, nil, Failed.Wrap(err, "the certificate that %s has issued is not for the agent's key", req.URL.Host)
	}
	if a.CA != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(a.CA)) {
		return nil, nil, Failed.New("the authority that %s names is no certificate", req.URL.Host)
	}
	return a, keyPEM, nil
}

// keep stores what was issued: the authority first, as the certificate is what makes it count.
func keep(dir *state.Dir, a *answer, key []byte) error {
	if a.CA != "" {
		if err := dir.Write(caFile, []byte(a.CA)); err != nil {
			return err
		}
	}
	return dir.Write(certFile, append(append([]byte{}, key...), a.Certificate...))
}

// config is the TLS configuration of who trusts so. Where a fingerprint is given, the node's
// certificate must hold for host too, or if that is empty for the name the connection is made
// to. known returns, after a connection, the certificates in PEM that the node was known by.
func (t Trust) config(host string) (conf *tls.Config, known func() []byte, err error) {
	var shown []byte
	known = func() []byte { return shown }
	conf = &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		b, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, nil, Invalid.Wrap(err, "the authority %s cannot be read", t.CA)
		}
		shown = b
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(b) {
			return nil, nil, Invalid.Field("ca", "there is no certificate in %s", t.CA)
		}
	}
	if t.Fingerprint == "" {
		return conf, known, nil
	}
	want, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(strings.TrimPrefix(strings.ToLower(t.Fingerprint), "sha256:")))
	if err != nil || len(want) != sha256.Size {
		return nil, nil, Invalid.Field("ca-fingerprint", "the fingerprint is not a SHA-256 in hex")
	}
	conf.InsecureSkipVerify = true //nolint:gosec // what follows verifies
	conf.VerifyConnection = func(c tls.ConnectionState) error {
		cert, err := pinned(c, want, cmp.Or(host, c.ServerName))
		if err == nil {
			shown = certificatePEM(cert)
		}
		return err
	}
	return conf, known, nil
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

var errUnknownNode = errors.New("the node shows no certificate of this fingerprint")

// pinned verifies a node by the fingerprint of its own certificate, or of an authority that it
// shows, which then must have issued the node's, and returns that certificate.
func pinned(c tls.ConnectionState, want []byte, host string) (*x509.Certificate, error) {
	for i, cert := range c.PeerCertificates {
		if sum := sha256.Sum256(cert.Raw); subtle.ConstantTimeCompare(sum[:], want) != 1 {
			continue
		}
		if i == 0 {
			return cert, cert.VerifyHostname(host)
		}
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(cert)
		for _, other := range c.PeerCertificates[1:] {
			between.AddCert(other)
		}
		_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: host})
		return cert, err
	}
	return nil, errUnknownNode
}

func httpClient(conf *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: callTimeout,
		MaxIdleConnsPerHost: 4, IdleConnTimeout: 5 * time.Minute, MaxResponseHeaderBytes: 64 << 10}}
}

// Identity is how the agent shows itself and knows its nodes.
type Identity struct {
	dir   *state.Dir
	trust Trust
	log   *slog.Logger
	clock clock.Clock

	mu     sync.Mutex
	client *http.Client
	leaf   *x509.Certificate // nil for an agent that was not enrolled
}

// Load reads what Enroll and renewals have kept.
func Load(dir *state.Dir, trust Trust, log *slog.Logger, c clock.Clock) (*Identity, error) {
	i := &Identity{dir: dir, trust: trust, log: log, clock: c}
	return i, i.load()
}

func (i *Identity) load() error {
	conf, _, err := i.trust.config("")
	if err != nil {
		return err
	}
	var leaf *x509.Certificate
	b, err := os.ReadFile(i.dir.Path(certFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		cert, err := tls.X509KeyPair(b, b)
		if err != nil {
			return state.Damaged.Wrap(err, "%s cannot be used", i.dir.Path(certFile))
		}
		conf.Certificates, leaf = []tls.Certificate{cert}, cert.Leaf
		ca, err := os.ReadFile(i.dir.Path(caFile))
		if err == nil { // from now on nodes are known by the authority that one has named, too
			if conf.RootCAs, err = i.knownNodes(); err != nil {
				return err
			}
			conf.InsecureSkipVerify, conf.VerifyConnection = false, nil
			conf.RootCAs.AppendCertsFromPEM(ca)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.client != nil {
		i.client.CloseIdleConnections()
	}
	i.client, i.leaf = httpClient(conf), leaf
	return nil
}

// knownNodes are the authorities that the node was known by at the enrolment.
func (i *Identity) knownNodes() (*x509.CertPool, error) {
	known, err := os.ReadFile(i.dir.Path(nodesFile))
	pool := x509.NewCertPool()
	switch {
	case errors.Is(err, fs.ErrNotExist): // an agent of before the file was there
		return pool, nil
	case err != nil:
		return nil, err
	case !pool.AppendCertsFromPEM(known):
		return x509.SystemCertPool()
	}
	return pool, nil
}

// HTTP is the client to speak to nodes with; it is another after a renewal.
func (i *Identity) HTTP() *http.Client {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.client
}

// Leaf is the agent's certificate, nil if it has none.
func (i *Identity) Leaf() *x509.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.leaf
}

// due is how long it is until the certificate wants to be renewed.
func (i *Identity) due() time.Duration {
	leaf := i.Leaf()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life * 2 / 3).Sub(i.clock.Now())
}

// retry is the time between two attempts of renewal.
const retry = time.Minute

// Run renews the certificate whenever that is due, until ctx ends. Without one it returns.
func (i *Identity) Run(ctx context.Context, urls []string) {
	if i.Leaf() == nil {
		return
	}
	for ctx.Err() == nil {
		d := i.due()
		if d <= 0 {
			if err := i.Renew(ctx, urls); err == nil {
				i.log.Info("the agent's certificate was renewed", "until", i.Leaf().NotAfter)
				if d = i.due(); d <= 0 {
					d = retry
				}
			} else {
				i.log.Warn("the agent's certificate is not renewed", "error", err, "until", i.Leaf().NotAfter)
				d = retry
			}
		}
		t := time.NewTimer(min(d, time.Hour)) // the clock may be set in the meantime
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// Renew has a certificate issued for a new key by the first node that does.
func (i *Identity) Renew(ctx context.Context, urls []string) error {
	var failed error
	for _, base := range urls {
		a, key, err := issue(ctx, i.HTTP(), strings.TrimRight(base, "/")+"/agent-deployer/renew", "")
		if err == nil {
			if err = keep(i.dir, a, key); err == nil {
				return i.load()
			}
		}
		failed = errors.Join(failed, err)
	}
	if failed == nil {
		failed = errors.New("no server is known")
	}
	return failed
}

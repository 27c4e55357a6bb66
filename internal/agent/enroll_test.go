package agent_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent"
	"sluice.dev/sluice/internal/agent/enroll"
	"sluice.dev/sluice/internal/agent/state"
	"sluice.dev/sluice/internal/base/clock"
)

func trust(ca, fingerprint string) enroll.Trust {
	return enroll.Trust{CA: ca, Fingerprint: fingerprint}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

// node is an enrolment server with an authority of its own.
type node struct {
	*httptest.Server
	caKey    *ecdsa.PrivateKey
	ca       *x509.Certificate
	caPEM    string
	life     time.Duration
	renewals atomic.Int64
	peers    atomic.Int64 // heartbeats with a certificate
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{life: time.Hour}
	var err error
	if n.caKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, n.caKey.Public(), n.caKey)
	if err != nil {
		t.Fatal(err)
	}
	n.ca, _ = x509.ParseCertificate(der)
	n.caPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: n.ca.NotBefore, NotAfter: n.ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, n.ca, key.Public(), n.caKey)
	if err != nil {
		t.Fatal(err)
	}
	n.Server = httptest.NewUnstartedServer(http.HandlerFunc(n.serve))
	pool := x509.NewCertPool()
	pool.AddCert(n.ca)
	n.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf, der}, PrivateKey: key}}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool}
	n.StartTLS()
	t.Cleanup(n.Close)
	return n
}

func (n *node) serve(w http.ResponseWriter, r *http.Request) {
	var in struct{ Token, CSR string }
	switch r.URL.Path {
	case "/efm/api/agent-deployer/enroll":
		_ = json.NewDecoder(r.Body).Decode(&in)
		if in.Token != "good" {
			http.Error(w, "the token is used up", http.StatusForbidden)
			return
		}
	case "/efm/api/agent-deployer/renew":
		_ = json.NewDecoder(r.Body).Decode(&in)
		if len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		n.renewals.Add(1)
	default:
		if len(r.TLS.PeerCertificates) > 0 {
			n.peers.Add(1)
		}
		_, _ = io.WriteString(w, "{}")
		return
	}
	block, _ := pem.Decode([]byte(in.CSR))
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil || csr.CheckSignature() != nil {
		http.Error(w, "the request is wrong", http.StatusBadRequest)
		return
	}
	now := time.Now()
	der, _ := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Second), NotAfter: now.Add(n.life),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, n.ca, csr.PublicKey, n.caKey)
	_ = json.NewEncoder(w).Encode(map[string]string{"agentId": "agent-7", "agentClass": "Pumps",
		"certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), "ca": n.caPEM})
}

func TestEnrolment(t *testing.T) {
	n, data := newNode(t), t.TempDir()
	base := n.URL + "/efm/api"
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(caFile, []byte(n.caPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(n.ca.Raw)
	finger := hex.EncodeToString(sum[:])
	ask := func(dir, url, token string, how enroll.Trust) (state.Identity, error) {
		d, err := state.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return enroll.Enroll(t.Context(), url, token, how, d)
	}
	for want, err := range map[string]error{
		"cannot be reached":  second(ask(data, base, "good", trust("", ""))),
		"cannot be reached:": second(ask(data, base, "good", trust("", strings.Repeat("00", 32)))),
		"used up":            second(ask(data, base, "bad", trust(caFile, ""))),
		"token is needed":    second(ask(data, base, " ", trust(caFile, ""))),
		"plain HTTP":         second(ask(data, "http://192.0.2.1/efm/api", "good", trust("", ""))),
		"URL of a node":      second(ask(data, "node", "good", trust("", ""))),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "good") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if who, err := ask(t.TempDir(), base, "good", trust("", finger)); err != nil || who.ID != "agent-7" {
		t.Errorf("by fingerprint: %+v, %v", who, err)
	}
	who, err := ask(data, base, "good", trust(caFile, ""))
	if err != nil || who.ID != "agent-7" || who.Class != "Pumps" {
		t.Fatalf("%+v, %v", who, err)
	}
	stop := run(t, agent.Config{Data: data}) // it knows all it needs
	eventually(t, "no heartbeat with a certificate", func() bool { return n.peers.Load() > 1 })
	stop()
}

// A node that names another is not followed there: the token would go along.
func TestEnrolmentIsNotRedirected(t *testing.T) {
	var taken atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken.Add(1) }))
	defer other.Close()
	first := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer first.Close()
	d, err := state.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := enroll.Enroll(t.Context(), first.URL, "good", enroll.Trust{}, d); !enroll.Failed.Is(err) || taken.Load() != 0 {
		t.Errorf("%v, %d requests at the other", err, taken.Load())
	}
}

func second(_ state.Identity, err error) error { return err }

func TestRenewal(t *testing.T) {
	n, data := newNode(t), t.TempDir()
	n.life = time.Second // and a second ago it began: two thirds are nearly over
	d, err := state.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	sum := sha256.Sum256(n.ca.Raw)
	if _, err := enroll.Enroll(t.Context(), n.URL+"/efm/api", "good", trust("", hex.EncodeToString(sum[:])), d); err != nil {
		t.Fatal(err)
	}
	id, err := enroll.Load(d, enroll.Trust{}, slog.New(slog.DiscardHandler), clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	old := id.Leaf()
	n.life = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { id.Run(ctx, []string{n.URL + "/efm/api"}); close(ended) }()
	eventually(t, "the certificate is not renewed", func() bool { return !id.Leaf().Equal(old) })
	cancel()
	<-ended
	again, err := enroll.Load(d, enroll.Trust{}, slog.New(slog.DiscardHandler), clock.System{})
	if err != nil || !again.Leaf().Equal(id.Leaf()) || n.renewals.Load() != 1 {
		t.Errorf("%v, %d renewals", err, n.renewals.Load())
	}
}

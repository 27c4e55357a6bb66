package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/responder"
)

// staplingRig is a rig that staples, by a clock, with a responder that answers as it is told.
type staplingRig struct {
	*rig
	ca     *gatewaytest.Authority
	url    string
	status atomic.Int64 // of ocsp; -1: no answer until the test ends
	asked  atomic.Int64
	clock  *gatewaytest.Clock
}

func newStaplingRig(t *testing.T) *staplingRig {
	r := &staplingRig{ca: gatewaytest.NewAuthority(t, "ca"), clock: gatewaytest.NewClock(time.Now())}
	over := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		status := int(r.status.Load())
		if status < 0 {
			<-over
			return
		}
		raw, _ := io.ReadAll(req.Body)
		ask, err := ocsp.ParseRequest(raw)
		if err != nil {
			t.Error(err)
			return
		}
		now := r.clock.Now()
		der, err := ocsp.CreateResponse(r.ca.Leaf, r.ca.Leaf, ocsp.Response{Status: status, SerialNumber: ask.SerialNumber,
			ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour), RevokedAt: now}, r.ca.Signer)
		if err != nil {
			t.Error(err)
		}
		w.Write(der)
	}))
	t.Cleanup(func() { close(over); s.Close() })
	r.url = s.URL
	stapler := responder.NewStapler(responder.Deps{Clock: r.clock, Log: gatewaytest.Log()})
	t.Cleanup(stapler.Close)
	gw := gatewaytest.New(t, nil)
	r.rig = newRigOnWith(t, gw, proxy.Config{}, proxy.Deps{Staple: stapler.Staple})
	return r
}

// serve uploads a certificate with its chain.
func (r *staplingRig) serve(name string) {
	p := r.ca.Issue(r.t, name, gatewaytest.Names(name), func(c *x509.Certificate) { c.OCSPServer = []string{r.url} })
	p.Cert += r.ca.Cert
	gatewaytest.Create(r.t, r.gw, "certificates", pairRecord(p, name))
}

// until handshakes until the answer is there, or is not.
func (r *staplingRig) until(name string, there bool) []byte {
	r.t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if raw := r.handshake(&tls.Config{ServerName: name, RootCAs: r.ca.Pool()}).OCSPResponse; (raw != nil) == there {
			return raw
		}
	}
	r.t.Fatalf("%s: a staple is there: %v", name, !there)
	return nil
}

func TestStaple(t *testing.T) {
	r := newStaplingRig(t)
	r.status.Store(-1)
	r.serve("slow.example")
	r.until("slow.example", false) // and it came to an end
	r.status.Store(ocsp.Good)
	r.serve("good.example")
	if raw := r.until("good.example", true); len(raw) > 0 {
		if resp, err := ocsp.ParseResponse(raw, r.ca.Leaf); err != nil || resp.Status != ocsp.Good {
			t.Errorf("%+v %v", resp, err)
		}
	}
	before := r.asked.Load()
	for range 3 {
		r.until("good.example", true)
	}
	if n := r.asked.Load() - before; n != 0 {
		t.Errorf("asked %d times for an answer that is there", n)
	}
	if openssl, err := exec.LookPath("openssl"); err == nil {
		cmd := exec.CommandContext(t.Context(), openssl, "s_client", "-connect", r.secure, "-servername", "good.example", "-status")
		out, _ := cmd.CombinedOutput()
		if !strings.Contains(string(out), "OCSP Response Status: successful") || !strings.Contains(string(out), "Cert Status: good") {
			t.Errorf("openssl: %s", out)
		}
	}
	r.status.Store(ocsp.Revoked)
	r.serve("revoked.example")
	for range 3 {
		r.until("revoked.example", false)
	}
	r.clock.Pass(31 * time.Minute) // it is asked anew before the answer ends
	r.until("good.example", false)

	r.status.Store(ocsp.Unknown)
	r.clock.Pass(time.Hour)
	r.until("good.example", false)
}

// TestStapleEnds holds that an answer past its time is not given.
func TestStapleEnds(t *testing.T) {
	r := newStaplingRig(t)
	r.serve("n.example")
	r.until("n.example", true)
	r.status.Store(-1)
	r.clock.Pass(59 * time.Minute)
	r.until("n.example", true)
	r.clock.Pass(time.Minute)
	if raw := r.handshake(&tls.Config{ServerName: "n.example", RootCAs: r.ca.Pool()}).OCSPResponse; raw != nil {
		t.Error("an old answer is stapled")
	}
}

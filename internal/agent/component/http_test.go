package component_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	pkcs12 "software.sslmate.com/src/go-pkcs12"

	"sluice.dev/sluice/internal/agent/component"
	"sluice.dev/sluice/internal/agent/engine"
	"sluice.dev/sluice/internal/service/edge/flow"
)

// stores makes one self-signed identity as PEM and PKCS #12 files.
func stores(t *testing.T) (pemFile, p12, trust string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, _ := x509.ParseCertificate(der)
	k, _ := x509.MarshalPKCS8PrivateKey(key)
	dir := t.TempDir()
	file := func(name string, b []byte, err error) string {
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	pemFile = file("id.pem", append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: k}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...), nil)
	b, err := pkcs12.Modern.Encode(key, cert, nil, "pass")
	p12 = file("id.p12", b, err)
	b, err = pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{cert}, "pass")
	return pemFile, p12, file("trust.p12", b, err)
}

func ssl(properties map[string]string) *flow.ControllerService {
	return &flow.ControllerService{Head: flow.Head{ID: "ssl", Name: "ssl"}, Type: "StandardSSLContextService", Properties: properties}
}

func TestListenAndInvokeHTTPS(t *testing.T) {
	pemFile, p12, trust := stores(t)
	listen := newRig(t, "ListenHTTP", map[string]string{"Listening Port": "0", "Local Network Address": "127.0.0.1", "SSL Context Service": "ssl", "Base Path": "in",
		"HTTP Headers to receive as Attributes (Regex)": "X-.*", "Max Content Size": "1 MB"},
		ssl(map[string]string{"Keystore Filename": p12, "Keystore Password": "pass", "Truststore Filename": trust, "Truststore Password": "pass"}))
	url := "https://" + listen.address() + "/in"

	invoke := newRig(t, "InvokeHTTP", map[string]string{"HTTP Method": "POST", "HTTP URL": "${url}", "SSL Context Service": "ssl", "X-Kind": "${kind}"},
		ssl(map[string]string{"Keystore Filename": pemFile, "Keystore Type": "PEM", "Truststore Filename": pemFile, "Truststore Type": "PEM"}))
	invoke.send("body", "url", url, "kind", "k", "mime.type", "text/x")
	invoke.want(got{rel: "Original", content: "body"}, got{rel: "Response", content: ""})
	g := listen.next()
	if g.content != "body" || g.attributes["X-Kind"] != "k" || g.attributes["mime.type"] != "text/x" {
		t.Errorf("%+v", g)
	}
	invoke.send("x", "url", url+"/elsewhere")
	invoke.want(got{rel: "No Retry", content: "x"})
	invoke.send(strings.Repeat("x", 2<<20), "url", url)
	if g := invoke.next(); g.rel != "No Retry" || g.attributes["invokehttp.status.code"] != "413" {
		t.Errorf("%s, %v", g.rel, g.attributes)
	}
	plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // the test's own
	if resp, err := plain.Post(url, "", strings.NewReader("x")); err == nil {
		_ = resp.Body.Close()
		t.Error("a client without a certificate is served")
	}
}

func TestInvokeHTTPRoutes(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		b, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, r.Method+":"+string(b))
	}))
	defer s.Close()
	put := newRig(t, "InvokeHTTP", map[string]string{"HTTP Method": "PUT", "HTTP URL": s.URL + "${path}"})
	put.send("a", "path", "/up")
	put.want(got{rel: "Original", content: "a"}, got{rel: "Response", content: "PUT:a"})
	put.send("a", "path", "/down")
	put.want(got{rel: "Retry", content: "a"})
	s.Close()
	put.send("b", "path", "/up")
	put.want(got{rel: "Failure", content: "b"})
}

func TestListenHTTPIsFull(t *testing.T) {
	r := newRig(t, "ListenHTTP", map[string]string{"Listening Port": "0", "Local Network Address": "127.0.0.1"})
	url := "http://" + r.address() + "/contentListener"
	if err := r.e.StopProcessor("to success"); err != nil {
		t.Fatal(err)
	}
	code := func() int {
		resp, err := http.Post(url, "text/plain", strings.NewReader(strings.Repeat("x", 1<<20)))
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if c := code(); c != http.StatusOK {
		t.Fatal(c)
	}
	f := r.e.Flow()
	f.Root.Connections[0].MaxObjects = 1
	f.Root.Processors[0].Properties["Listening Port"] = "0"
	if err := r.e.Apply(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	url = "http://" + r.address() + "/contentListener"
	if err := r.e.StopProcessor("to success"); err != nil {
		t.Fatal(err)
	}
	last := 0
	for range 20 {
		if last = code(); last != http.StatusOK {
			break
		}
	}
	if last != http.StatusServiceUnavailable {
		t.Errorf("a full queue: %d", last)
	}
}

func TestKeyStoresThatCannotBeUsed(t *testing.T) {
	_, p12, trust := stores(t)
	for name, p := range map[string]map[string]string{
		"password": {"Keystore Filename": p12, "Keystore Password": "wrong-secret"},
		"absent":   {"Keystore Filename": "/nowhere"},
		"kind":     {"Truststore Filename": trust, "Truststore Type": "PEM"},
	} {
		e, err := engine.Open(t.Context(), engine.Config{Dir: t.TempDir()}, engine.Deps{Definitions: component.Catalogue(), Log: discard, Clock: system})
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(&flow.Flow{Root: &flow.Group{Services: []*flow.ControllerService{ssl(p)}}}); err == nil || strings.Contains(err.Error(), "wrong-secret") {
			t.Errorf("%s: %v", name, err)
		}
		_ = e.Close()
	}
}

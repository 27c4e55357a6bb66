package ca_test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/keystore/ca"
)

func TestWhatCannotBeIssued(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "new"), time.Now()
	if _, err := ca.Open(dir); !ca.NotFound.Is(err) {
		t.Errorf("an authority that is not there: %v", err)
	}
	if err := ca.Init(dir, now); err != nil {
		t.Fatal(err)
	}
	if err := ca.Init(dir, now); !ca.Exists.Is(err) {
		t.Errorf("a second authority: %v", err)
	}
	a, err := ca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		node, address string
		valid         time.Duration
		field         string
	}{
		{"../a", "10.0.0.1", ca.Validity, "node"}, {"", "10.0.0.1", ca.Validity, "node"}, {".", "10.0.0.1", ca.Validity, "node"},
		{"a", "", ca.Validity, "address"}, {"a", "10.0.0.1:7800", ca.Validity, "address"}, {"a", "10.0.0.1", 0, "days"}, {"a", "10.0.0.1", 11 * 366 * 24 * time.Hour, "days"},
	} {
		if _, err := a.Issue(test.node, []string{test.address}, now, test.valid); !ca.Invalid.Is(err) || fault.FieldOf(err) != test.field {
			t.Errorf("%+v: %v", test, err)
		}
	}
	if _, err := a.Issue("a", nil, now, ca.Validity); fault.FieldOf(err) != "address" {
		t.Errorf("no address: %v", err)
	}
	if nodes, err := a.Nodes(); err != nil || len(nodes) != 0 {
		t.Errorf("%v, %v", nodes, err)
	}
}

func TestACertificate(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	if err := ca.Init(dir, now); err != nil {
		t.Fatal(err)
	}
	a, err := ca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	at, err := a.Issue("node1.x", []string{"10.0.0.1", "fd00::1", "node1.example.com"}, now, ca.Validity)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{filepath.Join(dir, "authority.pem"), filepath.Join(at, "key.pem")} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	read := func(path string) []byte {
		t.Helper()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	block, _ := pem.Decode(read(filepath.Join(at, "cert.pem")))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(filepath.Join(at, "ca.pem")))
	for _, name := range []string{"10.0.0.1", "fd00::1", "node1.example.com"} {
		if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := cert.NotAfter.Sub(now); left > ca.Validity+time.Second || left < ca.Validity-time.Second {
		t.Errorf("it holds for %s", left)
	}

	// Damage is told of, and what is there is not written over.
	file := filepath.Join(dir, "authority.pem")
	whole := read(file)
	key, certs, _ := strings.Cut(string(whole), "-----END EC PRIVATE KEY-----\n")
	for _, text := range []string{"", certs, key + "-----END EC PRIVATE KEY-----\n", strings.Replace(string(whole), "MII", "AII", 1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ca.Open(dir); !ca.Invalid.Is(err) {
			t.Errorf("a damaged file is read: %v", err)
		}
		if err := ca.Init(dir, now); !ca.Exists.Is(err) {
			t.Errorf("a damaged file is written over: %v", err)
		}
	}
}

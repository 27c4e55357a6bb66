package keystore_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/keystore"
	"sluice.dev/sluice/internal/base/keystore/ca"
)

// hands is a clock that a test sets.
type hands struct {
	mu sync.Mutex
	at time.Time
}

func (h *hands) Now() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.at
}

func (h *hands) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = h.at.Add(d)
}

// authority makes an authority with the certificates of nodes.
func authority(t *testing.T, now time.Time, nodes ...string) string {
	t.Helper()
	dir := t.TempDir()
	if err := ca.Init(dir, now); err != nil {
		t.Fatal(err)
	}
	issue(t, dir, now, nodes...)
	return dir
}

func issue(t *testing.T, dir string, now time.Time, nodes ...string) {
	t.Helper()
	a, err := ca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if _, err := a.Issue(n, []string{n + ".example.com", "127.0.0.1"}, now, ca.Validity); err != nil {
			t.Fatal(err)
		}
	}
}

// inPEM is the configuration of a node that has its files from ca.
func inPEM(dir, node string) keystore.Config {
	at := filepath.Join(dir, node)
	return keystore.Config{Cert: filepath.Join(at, "cert.pem"), Key: filepath.Join(at, "key.pem"), CA: filepath.Join(at, "ca.pem"), Log: slog.New(slog.DiscardHandler)}
}

func open(t *testing.T, c keystore.Config) *keystore.Store {
	t.Helper()
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s, err := keystore.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// shake connects a client with a server, sends a byte each way and returns what the two sides
// say of it.
func shake(t *testing.T, server, client *tls.Config) (atServer, atClient error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := ln.Accept()
		if err != nil {
			served <- err
			return
		}
		c := tls.Server(raw, server)
		_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // it is open
		_, err = io.CopyN(c, c, 1)
		served <- err
		_ = c.Close()
	}()
	raw, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c := tls.Client(raw, client)
	_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // it is open
	_, err = c.Write([]byte{1})
	if err == nil {
		_, err = io.ReadFull(c, make([]byte, 1))
	}
	_ = c.Close()
	return <-served, err
}

func TestOnlyTheClustersOwnAuthorityIsBelieved(t *testing.T) {
	now := time.Now()
	ours, theirs := authority(t, now, "a", "b"), authority(t, now, "x")
	a, b, x := open(t, inPEM(ours, "a")), open(t, inPEM(ours, "b")), open(t, inPEM(theirs, "x"))
	if s, c := shake(t, a.Server(), b.Client()); s != nil || c != nil {
		t.Errorf("two nodes of one authority: %v, %v", s, c)
	}
	if s, _ := shake(t, a.Server(), trusting(x.Client())); s == nil || !strings.Contains(s.Error(), "CN=x") {
		t.Errorf("a client of another authority: %v", s)
	}
	if _, c := shake(t, x.Listener(tls.NoClientCert), b.Client()); c == nil || !strings.Contains(c.Error(), "unknown authority") {
		t.Errorf("a server of another authority: %v", c)
	}
	if s, _ := shake(t, a.Server(), &tls.Config{InsecureSkipVerify: true}); s == nil {
		t.Error("a client without a certificate is let in")
	}
	if s, c := shake(t, a.Listener(tls.RequestClientCert), &tls.Config{InsecureSkipVerify: true}); s != nil || c != nil {
		t.Errorf("a client that need not show a certificate: %v, %v", s, c)
	}
	if s, _ := shake(t, a.Listener(tls.RequestClientCert), trusting(x.Client())); s == nil {
		t.Error("a certificate of another authority is let in where none need be shown")
	}
	// Who is expired by now is let in no more, on either side.
	later := &hands{at: now.Add(ca.Validity - time.Minute)}
	c := inPEM(ours, "a")
	c.Clock = later
	old := open(t, c)
	later.pass(time.Hour)
	if s, _ := shake(t, old.Server(), trusting(b.Client())); s == nil || !strings.Contains(s.Error(), "expired") {
		t.Errorf("an expired client: %v", s)
	}
}

// trusting is a client that believes any server, so that the server's word is heard.
func trusting(c *tls.Config) *tls.Config {
	c.VerifyConnection = nil
	return c
}

func TestACertificateIsReplacedWhileConnectionsAreOpen(t *testing.T) {
	clock := &hands{at: time.Now()}
	dir := authority(t, clock.Now(), "a", "b")
	var said bytes.Buffer
	ca1, cb := inPEM(dir, "a"), inPEM(dir, "b")
	ca1.Clock, cb.Clock = clock, clock
	ca1.Log = slog.New(slog.NewTextHandler(&said, nil))
	a, b := open(t, ca1), open(t, cb)
	serial := func() string {
		t.Helper()
		cert, err := a.Server().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return cert.Leaf.SerialNumber.String()
	}
	try := func(when string) {
		t.Helper()
		clock.pass(2 * time.Second) // the files are looked at again
		for range 3 {
			if s, c := shake(t, a.Server(), b.Client()); s != nil || c != nil {
				t.Fatalf("%s: %v, %v", when, s, c)
			}
			if s, c := shake(t, b.Server(), a.Client()); s != nil || c != nil {
				t.Fatalf("%s: %v, %v", when, s, c)
			}
		}
	}
	// One connection stays open all the while.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", a.Server())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if c, err := ln.Accept(); err == nil {
			_, _ = io.Copy(c, c) // ends with the connection
		}
	}()
	stays, err := tls.Dial("tcp", ln.Addr().String(), b.Client())
	if err != nil {
		t.Fatal(err)
	}
	defer stays.Close()

	try("at first")
	before := serial()
	issue(t, dir, clock.Now(), "a")
	try("with a new certificate")
	if serial() == before {
		t.Fatal("the certificate was not read again")
	}

	// The authority is replaced, file by file; between any two steps all must go well.
	authority, err := ca.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := authority.Finish(clock.Now()); !ca.Rotating.Is(err) {
		t.Errorf("a rotation that was not begun is finished: %v", err)
	}
	if err := authority.Begin(clock.Now()); err != nil {
		t.Fatal(err)
	}
	if err := authority.Begin(clock.Now()); !ca.Rotating.Is(err) {
		t.Errorf("a rotation is begun twice: %v", err)
	}
	try("with both authorities")
	issue(t, dir, clock.Now(), "a")
	try("with one certificate of each")
	if err := authority.Finish(clock.Now()); !ca.Rotating.Is(err) || !strings.Contains(err.Error(), ": b;") {
		t.Errorf("finished before b has its certificate: %v", err)
	}
	// A key without its certificate is the middle of a replacement.
	kept, err := os.ReadFile(ca1.Key)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(cb.Key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, ca1.Key, other)
	try("with a key that does not fit")
	if !strings.Contains(said.String(), "stays in force") {
		t.Errorf("nothing is said of a key that does not fit: %s", said.String())
	}
	write(t, ca1.Key, kept)
	issue(t, dir, clock.Now(), "b")
	try("with certificates of the new one")
	if err := authority.Finish(clock.Now()); err != nil {
		t.Fatal(err)
	}
	try("with the new authority alone")
	if err := os.Remove(ca1.CA); err != nil {
		t.Fatal(err)
	}
	try("with a file that is gone")

	if _, err := stays.Write([]byte("still")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(stays, got); err != nil || string(got) != "still" {
		t.Errorf("the open connection: %q, %v", got, err)
	}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestACertificateThatEnds(t *testing.T) {
	now := time.Now()
	dir := authority(t, now, "a")
	for _, test := range []struct {
		at   time.Duration
		want string // in the log, or in the error
		err  bool
	}{
		{0, "", false}, {ca.Validity - 15*24*time.Hour, "", false}, {ca.Validity - 13*24*time.Hour, "EXPIRES SOON", false},
		{ca.Validity + time.Minute, "expired at", true}, {-2 * time.Hour, "not valid before", true},
	} {
		t.Run(fmt.Sprint(test.at), func(t *testing.T) {
			var said bytes.Buffer
			c := inPEM(dir, "a")
			c.Clock, c.Log = &hands{at: now.Add(test.at)}, slog.New(slog.NewTextHandler(&said, nil))
			s, err := keystore.Open(c)
			if (err != nil) != test.err || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("%v, want %q", err, test.want)
			}
			if err == nil && (test.want == "") != (said.Len() == 0) || !test.err && !strings.Contains(said.String(), test.want) {
				t.Errorf("the log says %q, want %q", said.String(), test.want)
			}
			if err == nil && s.Expires().Sub(now.Add(ca.Validity)).Abs() > time.Second {
				t.Errorf("it expires at %s", s.Expires())
			}
		})
	}
}

func TestFilesThatAreNotThere(t *testing.T) {
	for _, c := range []keystore.Config{{KeyStore: "/nowhere"}, {Cert: "/nowhere", Key: "/nowhere", CA: "/nowhere"}} {
		if _, err := keystore.Open(c); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "/nowhere") {
			t.Errorf("%v", err)
		}
	}
}

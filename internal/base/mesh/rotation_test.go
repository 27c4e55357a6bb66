package mesh_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/keystore"
	"sluice.dev/sluice/internal/base/keystore/ca"
	"sluice.dev/sluice/internal/base/mesh"
)

// hands is a clock that a test sets.
type hands struct{ at atomic.Int64 }

func (h *hands) Now() time.Time { return time.Unix(0, h.at.Load()) }

// Nodes speak with each other all the while their authority is replaced by a new one, file by
// file and node by node, and after each step new connections come about as well.
func TestTheAuthorityIsReplacedUnderLoad(t *testing.T) {
	clock := new(hands)
	clock.at.Store(time.Now().UnixNano())
	names := []string{"a", "b", "c"}
	desk, machines := t.TempDir(), t.TempDir()
	if err := ca.Init(desk, clock.Now()); err != nil {
		t.Fatal(err)
	}
	issue := func(node string) {
		t.Helper()
		authority, err := ca.Open(desk)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := authority.Issue(node, []string{"127.0.0.1"}, clock.Now(), ca.Validity); err != nil {
			t.Fatal(err)
		}
	}
	carry := func(node string, files ...string) {
		t.Helper()
		to := filepath.Join(machines, node)
		if err := os.MkdirAll(to, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(filepath.Join(desk, node, f))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(to, f), raw, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids, nodes := map[string]*keystore.Store{}, map[string]*node{}
	for _, name := range names {
		issue(name)
		carry(name, "cert.pem", "key.pem", "ca.pem")
		at := filepath.Join(machines, name)
		id, err := keystore.Open(keystore.Config{Cert: filepath.Join(at, "cert.pem"), Key: filepath.Join(at, "key.pem"), CA: filepath.Join(at, "ca.pem"),
			Clock: clock, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ids[name] = id
		nodes[name] = start(t, mesh.Config{Node: name, Server: id.Server(), Client: id.Client()}, func(m *mesh.Mesh) {
			m.OnCall("echo", func(_ context.Context, _ string, body []byte) ([]byte, error) { return body, nil })
		})
	}
	nodes["b"].Know(nodes["a"].address)
	nodes["c"].Know(nodes["a"].address)
	until(t, "all see all", func() bool {
		return nodes["a"].sees("b", "c")() && nodes["b"].sees("a", "c")() && nodes["c"].sees("a", "b")()
	})
	ctx, stop := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	var calls atomic.Int64
	for from := range nodes {
		for to := range nodes {
			if from == to {
				continue
			}
			loops.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					if out, err := nodes[from].Call(ctx, to, "echo", fmt.Append(nil, i)); ctx.Err() == nil && (err != nil || string(out) != fmt.Sprint(i)) {
						t.Errorf("call %d from %s to %s: %q, %v", i, from, to, out, err)
						return
					}
					calls.Add(1)
				}
			})
		}
	}
	step := func(what string) {
		t.Helper()
		clock.at.Add(int64(2 * time.Second)) // the files are looked at again
		seen := calls.Load()
		for from, id := range ids {
			for to, n := range nodes {
				conn, err := tls.Dial("tcp", n.address, id.Client())
				if err != nil {
					t.Fatalf("%s: a new connection from %s to %s: %v", what, from, to, err)
				}
				// What the server thinks of the client is known when it says its hello.
				if _, err := conn.Read(make([]byte, 1)); err != nil {
					t.Fatalf("%s: a new connection from %s to %s: %v", what, from, to, err)
				}
				_ = conn.Close()
			}
		}
		until(t, "calls go on", func() bool { return calls.Load() > seen+100 })
	}
	rotate := func(finish bool) {
		t.Helper()
		authority, err := ca.Open(desk)
		if err == nil && finish {
			err = authority.Finish(clock.Now())
		} else if err == nil {
			err = authority.Begin(clock.Now())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	step("before")
	old := ids["a"].Expires()
	rotate(false)
	for _, name := range names {
		carry(name, "ca.pem")
		step("both authorities on " + name)
	}
	for _, name := range names {
		issue(name)
		carry(name, "key.pem")
		step("a new key on " + name)
		carry(name, "cert.pem")
		step("a new certificate on " + name)
	}
	rotate(true)
	for _, name := range names {
		carry(name, "ca.pem")
		step("the new authority alone on " + name)
	}
	if !ids["a"].Expires().After(old) {
		t.Error("the certificate is the old one")
	}
	stop()
	loops.Wait()
	t.Logf("%d calls, none failed", calls.Load())
}

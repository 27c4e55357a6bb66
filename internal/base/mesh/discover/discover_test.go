package discover_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/base/keystore/ca"
	"sluice.dev/sluice/internal/base/mesh/discover"
)

func TestAListIsToldOfOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var got []string
	if err := (discover.Fixed{"a:1", "b:2"}).Run(ctx, func(a ...string) {
		got = append(got, a...)
		cancel()
	}); err != nil || !slices.Equal(got, []string{"a:1", "b:2"}) {
		t.Errorf("%q, %v", got, err)
	}
}

// pod is one of an API server's.
type pod struct {
	Labels  map[string]string
	Phase   string
	IP      string
	Deleted bool
}

// apiServer answers as that of Kubernetes does.
type apiServer struct {
	mu    sync.Mutex
	token string
	bare  bool // the account may not list pods
	pods  map[string]map[string]pod
}

func (a *apiServer) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	fail := func(code int, reason, message string) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
			"message": message, "reason": reason, "code": code})
	}
	namespace, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/")
	namespace, ok2 := strings.CutSuffix(namespace, "/pods")
	switch {
	case r.Header.Get("Authorization") != "Bearer "+a.token:
		fail(401, "Unauthorized", "Unauthorized")
		return
	case !ok || !ok2 || strings.Contains(namespace, "/") || r.Method != http.MethodGet:
		fail(404, "NotFound", "the server could not find the requested resource")
		return
	case a.bare:
		fail(403, "Forbidden", fmt.Sprintf(`pods is forbidden: User "system:serviceaccount:%s:default" cannot list resource "pods" in API group "" in the namespace %q`, namespace, namespace))
		return
	}
	items := []any{}
	for name, p := range a.pods[namespace] { // an unknown namespace has no pods
		match := true
		for want := range strings.SplitSeq(r.URL.Query().Get("labelSelector"), ",") {
			k, v, _ := strings.Cut(want, "=")
			match = match && p.Labels[k] == v
		}
		if !match {
			continue
		}
		meta := map[string]any{"name": name, "namespace": namespace, "labels": p.Labels}
		if p.Deleted {
			meta["deletionTimestamp"] = "2026-01-02T03:04:05Z"
		}
		status := map[string]any{"phase": p.Phase}
		if p.IP != "" {
			status["podIP"] = p.IP
		}
		items = append(items, map[string]any{"metadata": meta, "spec": map[string]any{"containers": []any{}}, "status": status})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "PodList", "apiVersion": "v1", "metadata": map[string]any{"resourceVersion": "1"}, "items": items})
}

func TestPodsOfKubernetes(t *testing.T) {
	app := map[string]string{"app": "efm", "tier": "edge"}
	api := &apiServer{token: "first", pods: map[string]map[string]pod{"cem-namespace": {
		"efm-0": {app, "Running", "10.1.0.1", false}, "efm-1": {app, "Running", "fd00::2", false}, "efm-2": {app, "Pending", "", false},
		"efm-3": {app, "Running", "", false}, "efm-4": {app, "Running", "10.1.0.5", true}, "efm-5": {app, "Succeeded", "10.1.0.6", false},
		"db-0": {map[string]string{"app": "db"}, "Running", "10.1.0.7", false}, "efm-6": {map[string]string{"app": "efm"}, "Running", "10.1.0.8", false},
	}, "other": {"efm-0": {app, "Running", "10.9.0.1", false}}}}
	server := httptest.NewTLSServer(api)
	defer server.Close()
	account := t.TempDir()
	write := func(file string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(account, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("token", []byte("first\n"))
	write("ca.crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))

	k := discover.Kubernetes{API: server.URL, Account: account, Namespace: "cem-namespace", Labels: "app=efm,tier=edge", Port: 7800}
	for _, step := range []struct {
		name   string
		change func()
		want   string // addresses
		fault  string
	}{
		{"those that run, have an address and are not ending", func() {}, "10.1.0.1:7800 [fd00::2]:7800", ""},
		{"one has got its address", func() {
			api.set(func() { api.pods["cem-namespace"]["efm-3"] = pod{app, "Running", "10.1.0.4", false} })
		}, "10.1.0.1:7800 10.1.0.4:7800 [fd00::2]:7800", ""},
		{"one is ending", func() {
			api.set(func() { api.pods["cem-namespace"]["efm-0"] = pod{app, "Running", "10.1.0.1", true} })
		}, "10.1.0.4:7800 [fd00::2]:7800", ""},
		{"the token was replaced", func() { api.set(func() { api.token = "second" }) }, "", "401 Unauthorized Unauthorized"},
		{"and is read anew", func() { write("token", []byte("second")) }, "10.1.0.4:7800 [fd00::2]:7800", ""},
		{"the account may not", func() { api.set(func() { api.bare = true }) }, "", `403 Forbidden pods is forbidden: User`},
		{"a namespace that is not there", func() { api.set(func() { api.bare = false }); k.Namespace = "nowhere" }, "", ""},
		{"a path that is not there", func() { k.Namespace = "a/b" }, "", "404 Not Found the server could not find"},
		{"another authority", func() { k.Namespace = "cem-namespace"; write("ca.crt", otherAuthority(t)) }, "", "certificate"},
		{"no authority", func() { write("ca.crt", []byte("none")) }, "", "holds no certificate"},
		{"no account", func() { k.Account = "/nowhere" }, "", "/nowhere/token"},
	} {
		t.Run(step.name, func(t *testing.T) {
			step.change()
			var said bytes.Buffer
			k.Log = slog.New(slog.NewTextHandler(&said, nil))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			if step.fault != "" {
				k.Log = slog.New(&ending{slog.NewTextHandler(&said, nil), cancel})
			}
			var got []string
			if err := k.Run(ctx, func(a ...string) { got = a; cancel() }); err != nil {
				t.Fatal(err)
			}
			slices.Sort(got)
			plain := strings.ReplaceAll(said.String(), `\"`, `"`)
			if strings.Join(got, " ") != step.want || !strings.Contains(plain, step.fault) || (step.fault == "") != (said.Len() == 0) {
				t.Errorf("%q, %s", got, said.String())
			}
			if strings.Contains(said.String(), "second") || strings.Contains(said.String(), "first") {
				t.Errorf("the token is in the log: %s", said.String())
			}
		})
	}
}

// ending is a log that ends a test's context with its first line.
type ending struct {
	slog.Handler
	cancel func()
}

func (e *ending) Handle(ctx context.Context, r slog.Record) error {
	defer e.cancel()
	return e.Handler.Handle(ctx, r)
}

// otherAuthority is the certificate of an authority that has issued nothing.
func otherAuthority(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := ca.Init(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A fault is told of once for each way of failing.
func TestKubernetesIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		k := discover.Kubernetes{API: "https://127.0.0.1:1", Account: "/nowhere", Namespace: "n", Labels: "a=b", Port: 1, Log: slog.New(slog.NewTextHandler(&said, nil))}
		if err := k.Run(ctx, func(...string) { t.Error("something was found") }); err != nil {
			t.Error(err)
		}
		if n := strings.Count(said.String(), "\n"); n != 1 {
			t.Errorf("%d lines in a minute: %s", n, said.String())
		}
	})
}

func TestAPIFromEnvironment(t *testing.T) {
	for env, want := range map[string]string{"KUBERNETES_SERVICE_HOST=10.96.0.1 KUBERNETES_SERVICE_PORT=443": "https://10.96.0.1:443",
		"KUBERNETES_SERVICE_HOST=fd00::1 KUBERNETES_SERVICE_PORT=6443": "https://[fd00::1]:6443", "KUBERNETES_SERVICE_HOST=10.96.0.1": "", "": ""} {
		got, err := discover.APIFromEnvironment(func(name string) string {
			for pair := range strings.FieldsSeq(env) {
				if k, v, _ := strings.Cut(pair, "="); k == name {
					return v
				}
			}
			return ""
		})
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", env, got, err)
		}
	}
}

// Nodes on one host share the port of their group; the loopback interface carries multicast
// where it is told to, and any other does. Whole hosts are in the acceptance tests.
func TestMulticast(t *testing.T) {
	group := freeGroup(t)
	type heard struct{ by, of string }
	news := make(chan heard, 100)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	var said bytes.Buffer
	start := func(name, cluster string, key byte) {
		m := discover.Multicast{Group: group, Cluster: cluster, Advertise: name, Key: [32]byte{key}, Log: slog.New(slog.DiscardHandler)}
		if name == "a:1" {
			m.Log = slog.New(slog.NewTextHandler(&said, nil))
		}
		running.Go(func() {
			if err := m.Run(ctx, func(a ...string) {
				for _, of := range a {
					select {
					case news <- heard{name, of}:
					case <-ctx.Done():
					}
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
	met := map[heard]bool{}
	wait := func(enough func() bool) {
		t.Helper()
		for end := time.After(10 * time.Second); !enough(); {
			select {
			case h := <-news:
				met[h] = true
			case <-end:
				t.Fatalf("after ten seconds these have met: %v", met)
			}
		}
	}
	start("a:1", "efm", 1)
	start("b:1", "efm", 1)
	start("c:1", "other", 1)
	start("d:1", "efm", 2)
	wait(func() bool { return len(met) >= 6 })
	// a, b and d are of one cluster; d has another key, and is met so that this is found.
	for _, pair := range []heard{{"a:1", "b:1"}, {"b:1", "a:1"}, {"a:1", "d:1"}, {"d:1", "a:1"}, {"b:1", "d:1"}, {"d:1", "b:1"}} {
		if !met[pair] {
			t.Errorf("%s has not met %s", pair.by, pair.of)
		}
	}
	// A liar's addresses are met a few times, and nonsense not at all.
	conn, err := net.Dial("udp4", group)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i := range 50 {
		for _, text := range []string{"nonsense", strings.Repeat("x", 2000), fmt.Sprintf(`{"cluster":"efm","address":"liar:%d"}`, i)} {
			if _, err := conn.Write([]byte(text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	start("e:1", "efm", 1)
	wait(func() bool { return met[heard{"a:1", "e:1"}] })
	cancel()
	running.Wait()
	liars := 0
	for pair := range met {
		if pair.by == "a:1" && strings.HasPrefix(pair.of, "liar:") {
			liars++
		}
	}
	if liars == 0 || liars > 7 {
		t.Errorf("a met %d addresses of a liar", liars)
	}
	if strings.Contains(said.String(), "c:1") {
		t.Error("a node of another cluster was met")
	}
}

// freeGroup is a multicast group that nobody else here uses.
func freeGroup(t *testing.T) string {
	t.Helper()
	l, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return "239.255.78.1:" + port
}

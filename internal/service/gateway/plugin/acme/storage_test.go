package acme_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/acme"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// redisConfig is the storage_config of a real Redis.
func redisConfig(t *testing.T) schema.Record {
	host, port, _ := dbtest.Redis(t)
	return schema.Record{"redis": schema.Record{"host": host, "port": float64(port), "timeout": 5000.0, "extra_options": schema.Record{"namespace": "ns"}}}
}

// cell is what the stubs of servers keep under a path.
type cell struct {
	value   []byte
	version uint64
}

// consul is a server with the key/value API that Consul documents.
func consul(t *testing.T) *httptest.Server {
	var mu sync.Mutex
	cells, index := map[string]cell{}, uint64(100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		key, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v1/kv/my/acme/")
		if r.Header.Get("X-Consul-Token") != "tok" || !ok {
			w.WriteHeader(403)
			return
		}
		c, there := cells[key]
		switch r.Method {
		case "GET":
			if !there {
				w.WriteHeader(404)
				return
			}
			json.NewEncoder(w).Encode([]any{map[string]any{"Key": key, "Value": c.value, "ModifyIndex": c.version}})
		case "PUT":
			if cas := r.URL.Query().Get("cas"); cas != "" && cas != strconv.FormatUint(c.version, 10) {
				io.WriteString(w, "false")
				return
			}
			index++
			value, _ := io.ReadAll(r.Body)
			cells[key] = cell{value, index}
			io.WriteString(w, "true")
		case "DELETE":
			delete(cells, key)
			io.WriteString(w, "true")
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// vault is a server with what Vault documents of its engine kv, version 2, and of logins by
// Kubernetes. Tokens of logins end with the next login.
type vault struct {
	*httptest.Server
	logins atomic.Int64
	mu     sync.Mutex
	token  string
}

func newVault(t *testing.T) *vault {
	v := &vault{token: "tok"}
	cells := map[string]cell{}
	v.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		defer v.mu.Unlock()
		var body struct {
			Data      json.RawMessage
			Options   struct{ CAS *uint64 }
			Role, JWT string
		}
		json.NewDecoder(r.Body).Decode(&body)
		if r.URL.Path == "/v1/auth/my-k8s/login" {
			if body.Role != "gate" || body.JWT != "signed" {
				w.WriteHeader(400)
				return
			}
			v.token = fmt.Sprint("login-", v.logins.Add(1))
			fmt.Fprintf(w, `{"auth":{"client_token":%q}}`, v.token)
			return
		}
		if r.Header.Get("X-Vault-Token") != v.token {
			w.WriteHeader(403)
			return
		}
		of, key, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), "/v1/secret/"), "/my/acme/")
		c := cells[key]
		switch r.Method + " " + of {
		case "GET data":
			if c.value == nil {
				w.WriteHeader(404)
				io.WriteString(w, `{"errors":[]}`)
				return
			}
			fmt.Fprintf(w, `{"data":{"data":%s,"metadata":{"version":%d}}}`, c.value, c.version)
		case "POST data":
			if cas := body.Options.CAS; cas != nil && *cas != c.version {
				w.WriteHeader(400)
				io.WriteString(w, `{"errors":["check-and-set parameter did not match the current version"]}`)
				return
			}
			cells[key] = cell{body.Data, c.version + 1}
			fmt.Fprintf(w, `{"data":{"version":%d}}`, c.version+1)
		case "DELETE metadata":
			delete(cells, key)
			w.WriteHeader(204)
		default:
			w.WriteHeader(404)
		}
	}))
	t.Cleanup(v.Close)
	return v
}

// at are the fields that say where a server is.
func at(t *testing.T, s *httptest.Server, more schema.Record) schema.Record {
	host, port, err := net.SplitHostPort(s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.Atoi(port)
	out := schema.Record{"host": host, "port": float64(n), "kv_path": "my/acme", "timeout": 5000.0, "token": "tok"}
	for k, v := range more {
		out[k] = v
	}
	return out
}

func TestStorages(t *testing.T) {
	jwt := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(jwt, []byte("signed\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	kubernetes := schema.Record{"auth_method": "kubernetes", "auth_path": "my-k8s", "auth_role": "gate", "jwt_path": jwt}
	for name, config := range map[string]func(t *testing.T) schema.Record{
		"shm":    func(t *testing.T) schema.Record { return schema.Record{} },
		"redis":  func(t *testing.T) schema.Record { return redisConfig(t) },
		"consul": func(t *testing.T) schema.Record { return schema.Record{"consul": at(t, consul(t), nil)} },
		"vault":  func(t *testing.T) schema.Record { return schema.Record{"vault": at(t, newVault(t).Server, nil)} },
		"vault, kubernetes": func(t *testing.T) schema.Record {
			return schema.Record{"vault": at(t, newVault(t).Server, kubernetes)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			clock := gatewaytest.NewClock(time.Now())
			kind, _, _ := strings.Cut(name, ",")
			s := acme.NewStorage(schema.Record{"storage": kind, "storage_config": config(t)}, gateway.Env{Clock: clock})
			defer s.Close()
			ctx := t.Context()
			const key = "kong_acme:account:https://a.example/dir:YUBi+/=="
			expect := func(what, want string) {
				t.Helper()
				if got, ok, err := s.Get(ctx, key); err != nil || got != want || ok != (want != "") {
					t.Errorf("%s: %q %v %v", what, got, ok, err)
				}
			}
			add := func(value string, ttl time.Duration, want bool) {
				t.Helper()
				if added, err := s.Add(ctx, key, value, ttl); err != nil || added != want {
					t.Errorf("adding %s: %v %v", value, added, err)
				}
			}
			expect("at first", "")
			add("a", 0, true)
			add("b", 0, false)
			expect("added", "a")
			if err := s.Set(ctx, key, "c", 0); err != nil {
				t.Error(err)
			}
			expect("set", "c")
			if err := s.Remove(ctx, key); err != nil {
				t.Error(err)
			}
			expect("removed", "")
			ttl := time.Hour
			if kind == "redis" { // which has a clock of its own
				ttl = time.Millisecond
			}
			add("d", ttl, true)
			clock.Pass(ttl)
			for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
				if _, ok, _ := s.Get(ctx, key); !ok {
					break
				}
			}
			expect("ended", "")

			var won atomic.Int64
			var work sync.WaitGroup
			for range 8 {
				work.Go(func() {
					if added, err := s.Add(ctx, key, "e", 0); err != nil {
						t.Error(err)
					} else if added {
						won.Add(1)
					}
				})
			}
			if work.Wait(); won.Load() != 1 {
				t.Errorf("%d have won", won.Load())
			}
		})
	}
}

// TestStorageFails has servers that refuse, or are not there.
func TestStorageFails(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, config := range map[string]schema.Record{
		"consul": at(t, consul(t), schema.Record{"token": "s3cret"}),
		"vault":  at(t, newVault(t).Server, schema.Record{"token": "s3cret"}),
		"redis":  at(t, gone, schema.Record{"password": "s3cret"}),
	} {
		s := acme.NewStorage(schema.Record{"storage": name, "storage_config": schema.Record{name: config}}, gateway.Env{Clock: gatewaytest.NewClock(time.Now())})
		_, _, err := s.Get(t.Context(), "k")
		_, adds := s.Add(t.Context(), "k", "v", 0)
		for _, err := range []error{err, adds, s.Set(t.Context(), "k", "v", 0), s.Remove(t.Context(), "k")} {
			if err == nil || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %v", name, err)
			}
		}
		s.Close()
	}
}

// TestVaultLogsInAgain has another take the token away.
func TestVaultLogsInAgain(t *testing.T) {
	v := newVault(t)
	jwt := filepath.Join(t.TempDir(), "jwt")
	if err := os.WriteFile(jwt, []byte("signed"), 0o600); err != nil {
		t.Fatal(err)
	}
	config := at(t, v.Server, schema.Record{"auth_method": "kubernetes", "auth_path": "my-k8s", "auth_role": "gate", "jwt_path": jwt})
	s := acme.NewStorage(schema.Record{"storage": "vault", "storage_config": schema.Record{"vault": config}}, gateway.Env{Clock: gatewaytest.NewClock(time.Now())})
	defer s.Close()
	for range 2 {
		v.mu.Lock()
		v.token = "another"
		v.mu.Unlock()
		if err := s.Set(t.Context(), "k", "v", 0); err != nil {
			t.Error(err)
		}
	}
	if v.logins.Load() != 2 {
		t.Errorf("%d logins", v.logins.Load())
	}
}

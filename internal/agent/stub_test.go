package agent_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent"
)

// server is a C2 server that says what the test wants and keeps what comes.
type server struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	orders   []map[string]any
	beats    []map[string]any
	acks     []map[string]any
	files    map[string]string
	uploaded []byte
	loseAcks int    // answered by 503
	mode     string // of heartbeats
}

func newServer(t *testing.T) *server {
	s := &server{t: t, files: map[string]string{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *server) body(r *http.Request) map[string]any {
	in := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(r.Body)
		if err != nil {
			s.t.Error(err)
			return nil
		}
		in = z
	}
	out := map[string]any{}
	if err := json.NewDecoder(in).Decode(&out); err != nil {
		s.t.Error(err)
	}
	out["gzip"] = r.Header.Get("Content-Encoding") == "gzip"
	return out
}

func (s *server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.URL.Path {
	case "/efm/api/c2-protocol/heartbeat":
		s.beats = append(s.beats, s.body(r))
		switch s.mode {
		case "down":
			http.Error(w, "down", http.StatusBadGateway)
		case "garbage":
			_, _ = io.WriteString(w, "<html>")
		case "huge":
			_, _ = io.WriteString(w, `{"x":"`)
			_, _ = w.Write(bytes.Repeat([]byte("x"), 5<<20))
			_, _ = io.WriteString(w, `"}`)
		case "many":
			_, _ = io.WriteString(w, `{"requestedOperations":[`+string(bytes.Repeat([]byte(`{"identifier":"x","operation":"STOP","operand":"flow"},`), 200))+`{}]}`)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"requestedOperations": s.orders})
			s.orders = nil
		}
	case "/efm/api/c2-protocol/acknowledge":
		a := s.body(r)
		if s.loseAcks > 0 {
			s.loseAcks--
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		s.acks = append(s.acks, a)
	case "/efm/api/debug":
		if err := r.ParseMultipartForm(1 << 20); err != nil {
			s.t.Error(err)
			return
		}
		f, _, err := r.FormFile("file")
		if err != nil {
			s.t.Error(err)
			return
		}
		s.uploaded, _ = io.ReadAll(f)
	default:
		data, ok := s.files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, data)
	}
}

// order gives an operation and returns its acknowledgement.
func (s *server) order(id, operation, operand string, args map[string]any) map[string]any {
	s.t.Helper()
	s.mu.Lock()
	s.orders = append(s.orders, map[string]any{"identifier": id, "operation": operation, "operand": operand, "args": args})
	s.mu.Unlock()
	return s.ack(id)
}

// ack waits for the acknowledgement of an operation and takes it.
func (s *server) ack(id string) map[string]any {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		for i, a := range s.acks {
			if a["operationId"] == id {
				s.acks = append(s.acks[:i], s.acks[i+1:]...)
				s.mu.Unlock()
				return a
			}
		}
		s.mu.Unlock()
	}
	s.t.Fatalf("operation %s is not acknowledged", id)
	return nil
}

// beat waits for the next heartbeat.
func (s *server) beat() map[string]any {
	s.t.Helper()
	s.mu.Lock()
	n := len(s.beats)
	s.mu.Unlock()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s.mu.Lock()
		if len(s.beats) > n {
			defer s.mu.Unlock()
			return s.beats[n]
		}
		s.mu.Unlock()
	}
	s.t.Fatal("no heartbeat")
	return nil
}

func (s *server) set(mode string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mode = mode
}

func stateOf(a map[string]any) (state, details string) {
	m, _ := a["operationState"].(map[string]any)
	state, _ = m["state"].(string)
	details, _ = m["details"].(string)
	return state, details
}

// run runs an agent until the test ends or stop is called.
func run(t *testing.T, c agent.Config) (stop func()) {
	t.Helper()
	c.Heartbeat, c.Backoff = 30*time.Millisecond, 100*time.Millisecond
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- agent.Run(ctx, c, io.Discard, func() { close(ready) }) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return stop
}

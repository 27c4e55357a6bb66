package c2_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/c2"
	"sluice.dev/sluice/internal/api/console"
	"sluice.dev/sluice/internal/service/edge"
)

// heard passes on to a service and keeps what it was told.
type heard struct {
	*edge.Service
	beat   *edge.Heartbeat
	result *edge.Result
}

func (h *heard) Heartbeat(ctx context.Context, b *edge.Heartbeat, send func([]edge.Operation) error) error {
	h.beat = b
	return h.Service.Heartbeat(ctx, b, send)
}

func (h *heard) Acknowledge(ctx context.Context, r *edge.Result) error {
	h.result = r
	return h.Service.Acknowledge(ctx, r)
}

// twice sends a message to the front two times: it is taken or refused, in the protocol's
// shape and soon, and the same both times.
func twice(f *testing.F, n *node, path string) func(t *testing.T, body []byte) {
	log := slog.New(slog.NewTextHandler(f.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	h := &heard{Service: n.edge}
	front := c2.New(c2.Config{Context: "/efm"}, c2.Deps{Edge: h, Log: log, Agent: func(*http.Request) edge.Peer { return edge.Peer{} },
		Fail: func(w http.ResponseWriter, err error) { console.WriteError(w, log, err) }})
	return func(t *testing.T, body []byte) {
		var before heard
		status := 0
		for i := range 2 {
			h.beat, h.result = nil, nil
			began := time.Now()
			r := httptest.NewRequest("POST", "/efm/api/c2-protocol"+path, struct{ io.Reader }{strings.NewReader(string(body))})
			w := httptest.NewRecorder()
			front.ServeHTTP(w, r)
			if took := time.Since(began); took > 5*time.Second || w.Code >= 500 || !json.Valid(w.Body.Bytes()) {
				t.Fatalf("%d %s after %s", w.Code, w.Body, took)
			}
			if i > 0 && (w.Code != status || !reflect.DeepEqual(h.beat, before.beat) || !reflect.DeepEqual(h.result, before.result)) {
				t.Errorf("%d and %d, %+v and %+v", status, w.Code, before, h)
			}
			status, before = w.Code, heard{beat: h.beat, result: h.result}
		}
	}
}

func fuzzed(f *testing.F) *node {
	return start(f, "", "alone", false, edge.Config{MaxAgents: 500, MaxClasses: 1 << 30}, c2.Config{})
}

func FuzzHeartbeat(f *testing.F) {
	for _, d := range dialects {
		m := machine{id: "a", class: "c", hash: "h", flow: "f", resources: "r", created: 1_700_000_000_000}
		f.Add([]byte(d.beat(m)))
		m.hash, m.manifest = "h2", `{"identifier":"m","agentType":"cpp","version":"1","bundles":[{"group":"g","artifact":"a","version":"1","componentManifest":{"processors":[{"type":"T"}]}}],"supportedOperations":[{"type":"UPDATE","properties":{"configuration":{}}}]}`
		f.Add([]byte(d.beat(m)))
	}
	f.Add([]byte(`{"agentInfo":{"identifier":"a","agentClass":"c","agentManifest":null},"resourceInfo":null,"flowInfo":{"versionedFlowSnapshotURI":{"flowId":"\ud800"}},"created":1e3}`))
	f.Fuzz(twice(f, fuzzed(f), "/heartbeat"))
}

func FuzzAcknowledge(f *testing.F) {
	n := fuzzed(f)
	m := machine{id: "a", class: "c", hash: "h", manifest: dialects[0].manifest}
	n.beat(dialects[0].beat(m))
	if _, err := n.edge.Order(as(f, "root"), edge.Request{Operation: "TRANSFER", Operand: "debug", Agent: "a"}); err != nil {
		f.Fatal(err)
	}
	m.manifest = ""
	for _, o := range n.beat(dialects[0].beat(m)).Requested {
		for _, d := range dialects {
			f.Add([]byte(d.ack(o.Identifier, "FULLY_APPLIED", "")))
			f.Add([]byte(d.ack(o.Identifier, "NOT_APPLIED", m.agentInfo())))
		}
	}
	f.Add([]byte(`{"operationId":"00000000-0000-8000-8000-000000000000","operationState":{"state":"x","failureCause":{"exceptionMessage":"e","causedByMessages":["c"],"validationResults":[{"subject":"s","explanation":"e"}]}}}`))
	f.Fuzz(twice(f, n, "/acknowledge"))
}

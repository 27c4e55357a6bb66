package httplog_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/httplog"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// collector keeps what it is sent, and answers the first calls with other statuses.
type collector struct {
	*httptest.Server
	mu     sync.Mutex
	refuse []int
	bodies []string
	heads  []http.Header
}

func newCollector(t *testing.T, refuse ...int) *collector {
	c := &collector{refuse: refuse}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(c.refuse) > 0 {
			w.WriteHeader(c.refuse[0])
			c.refuse = c.refuse[1:]
			return
		}
		c.bodies = append(c.bodies, r.Method+" "+r.URL.Path+" "+string(body))
		c.heads = append(c.heads, r.Header)
	}))
	t.Cleanup(c.Close)
	return c
}

func TestRecordsArrive(t *testing.T) {
	c := newCollector(t, 500, 404, 302) // each of them means: again
	g, send := gatewaytest.Logged(t, httplog.New(httplog.Deps{}), schema.Record{
		"http_endpoint": strings.Replace(c.URL, "//", "//bob:secret@", 1) + "/logs", "method": "PUT", "headers": schema.Record{"X-Tag": "v"},
		"queue": schema.Record{"initial_retry_delay": 0.001},
	})
	send(200)
	send(503)
	g.Close()
	if len(c.bodies) != 2 {
		t.Fatalf("%d bodies", len(c.bodies))
	}
	for i, want := range []float64{200, 503} {
		raw, ok := strings.CutPrefix(c.bodies[i], "PUT /logs ")
		var record struct{ Response struct{ Status float64 } }
		if err := json.Unmarshal([]byte(raw), &record); !ok || err != nil || record.Response.Status != want {
			t.Errorf("body %d: %v in %s", i, err, c.bodies[i])
		}
	}
	h := c.heads[0]
	if h.Get("Content-Type") != "application/json" || h.Get("X-Tag") != "v" || h.Get("Authorization") != "Basic Ym9iOnNlY3JldA==" {
		t.Errorf("%v", h)
	}
}

func TestBatchesAreArrays(t *testing.T) {
	c := newCollector(t)
	g, send := gatewaytest.Logged(t, httplog.New(httplog.Deps{}), schema.Record{
		"http_endpoint": c.URL, "queue": schema.Record{"max_batch_size": 2.0, "max_coalescing_delay": 3600.0},
	})
	for range 3 {
		send(200)
	}
	g.Close() // does not wait for the delay
	total := 0
	for _, b := range c.bodies {
		var records []json.RawMessage
		if err := json.Unmarshal([]byte(strings.TrimPrefix(b, "POST / ")), &records); err != nil || len(records) > 2 {
			t.Errorf("%v in %s", err, b)
		}
		total += len(records)
	}
	if total != 3 || len(c.bodies) != 2 {
		t.Errorf("%d records in %d bodies", total, len(c.bodies))
	}
}

func TestConfiguration(t *testing.T) {
	config := httplog.New(httplog.Deps{}).Config
	for want, in := range map[string]schema.Record{
		"": {"http_endpoint": "https://a.example/x"},
		"schema violation (http_endpoint: required field missing)": {},
		"schema violation (http_endpoint: missing host in url)":    {"http_endpoint": "/x"},
		"schema violation (headers.host: cannot contain 'Host' header)": {"http_endpoint": "http://a", "headers": schema.Record{
			"host": "x"}},
		"schema violation (specifying both an 'Authorization' header and user info in 'http_endpoint' is not allowed)": {
			"http_endpoint": "http://u:p@a", "headers": schema.Record{"authorization": "x"}},
		"schema violation (queue.concurrency_limit: expected one of: -1, 1)": {"http_endpoint": "http://a", "queue": schema.Record{"concurrency_limit": 2.0}},
	} {
		got := ""
		if bad := config.Validate(config.Complete(in)); bad != nil {
			got = bad.String()
		}
		if got != want {
			t.Errorf("%v:\n got %s\nwant %s", in, got, want)
		}
	}
}

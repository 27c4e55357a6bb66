package acceptance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/s3"
)

var raceFor = flag.Duration("race-for", 2*time.Minute, "how long TestNoDataRaceUnderMixedLoad drives the node")

// TestNoDataRaceUnderMixedLoad builds the whole program with the race detector and drives
// one node by all of its protocols at once: the collector, AWS APIs, the Admin API, SQL and
// edge agents. The detector sees the node's own code and that of its SQL workers; DuckDB is
// C++ and not seen.
func TestNoDataRaceUnderMixedLoad(t *testing.T) {
	reports := filepath.Join(t.TempDir(), "race")
	n := plat.Start(t, plat.Options{Program: plat.Build(t, "-race"), Env: []string{"GORACE=log_path=" + reports + " halt_on_error=0"}})
	prepare(t, n)
	l := &ledger{events: map[string]bool{}, records: map[string]string{}, objects: map[string][]int64{}, tables: map[string][]int64{}}
	ctx, cancel := context.WithTimeout(t.Context(), *raceFor)
	defer cancel()
	moved := map[string]*atomic.Int64{}
	var load sync.WaitGroup
	drive := func(name string, run func(moved *atomic.Int64)) {
		if moved[name] == nil {
			moved[name] = new(atomic.Int64)
		}
		count := moved[name]
		load.Go(func() { run(count) })
	}
	for w := range 2 {
		drive("collector", func(moved *atomic.Int64) { collect(ctx, n, l, moved) })
		drive("kinesis", func(moved *atomic.Int64) { putRecords(ctx, n, l, moved) })
		drive("s3", func(moved *atomic.Int64) { putObjects(ctx, n, l, moved, w) })
		drive("s3 reads", func(moved *atomic.Int64) { readObjects(ctx, n, moved) })
		drive("sql", func(moved *atomic.Int64) { fillTables(ctx, n, l, moved, fmt.Sprintf("t%d", w)) })
		drive("admin", func(moved *atomic.Int64) { changeConfiguration(ctx, n, moved, w) })
		drive("edge", func(moved *atomic.Int64) { heartbeats(ctx, n, moved, w) })
		drive("status", func(moved *atomic.Int64) { watchStatus(ctx, n, moved) })
	}
	load.Wait()
	for name, count := range moved {
		if count.Load() == 0 {
			t.Errorf("no request of %s succeeded: its code was not driven", name)
		}
		t.Logf("%s: %d", name, count.Load())
	}
	if !n.Running() {
		t.Fatal("the node died")
	}
	checkRecords(t, n, l)
	checkTables(t, n, l)
	n.Terminate()
	code := n.Wait()
	found, err := filepath.Glob(reports + ".*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("%d data races; the first:\n%.6000s", bytes.Count(text, []byte("WARNING: DATA RACE")), text)
	}
	if strings.Contains(n.LogText(), "DATA RACE") {
		t.Error("a SQL worker reports a data race; see the node's log")
	}
	if code != 0 && len(found) == 0 {
		t.Errorf("exit status %d", code)
	}
}

func readObjects(ctx context.Context, n *plat.Node, moved *atomic.Int64) {
	c := n.AWS(n.Root).S3
	for ctx.Err() == nil {
		listed, err := c.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: new("bucket"), MaxKeys: new(int64(20))})
		if err != nil {
			continue
		}
		for _, o := range listed.Contents {
			got, err := c.GetObject(ctx, &s3.GetObjectInput{Bucket: new("bucket"), Key: o.Key})
			if err != nil {
				continue // overwritten or over
			}
			_, err = io.Copy(io.Discard, got.Body)
			if err = errors.Join(err, got.Body.Close()); err == nil {
				moved.Add(1)
			}
			if rand.IntN(10) == 0 {
				_, _ = c.HeadObject(ctx, &s3.HeadObjectInput{Bucket: new("bucket"), Key: o.Key}) // only driven
			}
		}
	}
}

// succeeds makes a request with a body of JSON, if there is one, and reports whether that succeeded.
func succeeds(ctx context.Context, client *http.Client, method, url string, body any) bool {
	var in io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return false
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, in)
	if err != nil {
		return false
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, res.Body)
	return errors.Join(err, res.Body.Close()) == nil && res.StatusCode/100 == 2
}

// changeConfiguration makes, changes, reads and deletes entities of the gateway; each change
// is audited and compiled.
func changeConfiguration(ctx context.Context, n *plat.Node, moved *atomic.Int64, writer int) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	type object = map[string]any
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("w%d-%d", writer, i%20)
		for _, step := range []struct {
			method, path string
			body         any
		}{
			{"PUT", "/services/" + name, object{"url": "http://127.0.0.1:9/" + name}},
			{"PUT", "/services/" + name + "/routes/" + name, object{"paths": []string{"/" + name}}},
			{"POST", "/services/" + name + "/plugins", object{"name": "request-termination", "config": object{"status_code": 403}}},
			{"PATCH", "/services/" + name, object{"retries": i % 7}},
			{"GET", "/routes", nil},
			{"GET", "/audit/objects", nil},
			{"DELETE", "/routes/" + name, nil},
			{"DELETE", "/services/" + name, nil},
		} {
			if succeeds(ctx, client, step.method, n.Endpoints.KongAdmin+step.path, step.body) {
				moved.Add(1)
			}
			if i%3 == 0 {
				succeeds(ctx, client, "GET", n.Endpoints.Proxy+"/"+name, nil) // 403, 502 or 404, as it comes
			}
		}
	}
}

func heartbeats(ctx context.Context, n *plat.Node, moved *atomic.Int64, writer int) {
	for i := 0; ctx.Err() == nil; i++ {
		a := &edgeAgent{id: fmt.Sprintf("agent-%d-%d", writer, i%30), class: fmt.Sprintf("class-%d", i%3)}
		if a.beat(n, n) == nil {
			moved.Add(1)
		}
		if i%10 == 0 {
			var agents any
			_ = n.Call("GET", "/efm/api/agents", nil, &agents) // only driven
		}
	}
}

func watchStatus(ctx context.Context, n *plat.Node, moved *atomic.Int64) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		for _, path := range []string{"/status/ready", "/metrics", "/status/jobs", "/status/deliveries"} {
			if succeeds(ctx, client, "GET", n.Endpoints.Status+path, nil) {
				moved.Add(1)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // a scraper is not the load
		}
	}
}

package delivery_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/delivery"
)

// allow lets everybody do everything.
type allow struct{}

func (allow) Authorize(context.Context, name.Action, name.ARN, ...name.Attr) error { return nil }

// log is a stream of one shard in memory.
type log struct {
	mu      sync.Mutex
	records []delivery.Record
	grown   chan struct{}
}

func newLog() *log { return &log{grown: make(chan struct{})} }

func (l *log) append(values ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range values {
		l.records = append(l.records, delivery.Record{Value: []byte(v), Time: time.Now(), Offset: int64(len(l.records))})
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *log) ID(context.Context, string) (string, int, error)    { return "source", 1, nil }
func (l *log) Source(string, int) (delivery.Source, error)        { return l, nil }
func (l *log) DeleteBuffer(context.Context, string, string) error { return nil }
func (l *log) Bounds() (oldest, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, int64(len(l.records))
}
func (l *log) EnsureBuffer(context.Context, string, string) (string, error) { return "source", nil }

func (l *log) AppendBuffer(_ context.Context, _, _ string, values [][]byte) error {
	for _, v := range values {
		l.append(string(v))
	}
	return nil
}

func (l *log) Wait(ctx context.Context, offset int64) error {
	for {
		l.mu.Lock()
		n, grown := int64(len(l.records)), l.grown
		l.mu.Unlock()
		if n > offset {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *log) Read(_ context.Context, from, before int64, _ int) ([]delivery.Record, int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := int64(len(l.records))
	if before > 0 {
		end = min(end, before)
	}
	end = min(end, from+7) // in small steps
	if from >= end {
		return nil, from, nil
	}
	return l.records[from:end], end, nil
}

// bucket keeps objects in memory and fails when it is told to.
type bucket struct {
	mu      sync.Mutex
	objects map[string]string
	puts    int
	fail    func(put int) (before, after error) // an error before, or after, the object is there
	changed chan struct{}
}

func newBucket() *bucket {
	return &bucket{objects: map[string]string{}, changed: make(chan struct{}, 1000)}
}

func (b *bucket) Writable(context.Context, string, string) error { return nil }

func (b *bucket) Put(ctx context.Context, _, key string, body io.Reader, _ map[string]string) error {
	if who, ok := caller.From(ctx); !ok || who.UserName != "maker" {
		return fmt.Errorf("written as %v", who)
	}
	raw, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	if strings.HasSuffix(key, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(raw))
		if err != nil {
			return err
		}
		if raw, err = io.ReadAll(z); err != nil {
			return err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.puts++
	var before, after error
	if b.fail != nil {
		before, after = b.fail(b.puts)
	}
	if before != nil {
		return before
	}
	b.objects[key] = string(raw)
	b.changed <- struct{}{}
	return after
}

// lines counts every record over all objects.
func (b *bucket) lines() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := map[string]int{}
	for _, o := range b.objects {
		for line := range strings.Lines(o) {
			n[line]++
		}
	}
	return n
}

// world is what survives a crash of the service.
type world struct {
	url   string
	store *store.Store
	index *kv.DB
	log   *log
	lake  *bucket
}

func newWorld(t *testing.T) *world {
	t.Helper()
	index, err := kv.Open(kv.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = index.Close() }) // the test is over
	return &world{url: "sqlite://" + filepath.Join(t.TempDir(), "c.db"), index: index, log: newLog(), lake: newBucket()}
}

func (w *world) service(t *testing.T) *delivery.Service {
	t.Helper()
	if w.store != nil {
		if err := w.store.Close(); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if w.store, err = store.Open(t.Context(), store.Config{URL: w.url}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() }) // the test is over
	s, err := delivery.New(delivery.Config{Account: "123456789012"}, delivery.Deps{Store: w.store, Index: w.index, Auth: allow{},
		Streams: w.log, Objects: w.lake, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) user(ctx context.Context) context.Context {
	return caller.WithRequest(caller.With(ctx, caller.Identity{Account: "123456789012", UserName: "maker"}), caller.Request{Region: "us-east-1"})
}

// run runs the service until every record is in the bucket.
func (w *world) run(t *testing.T, s *delivery.Service, want int) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	deadline := time.After(20 * time.Second)
	for len(w.lake.lines()) < want {
		select {
		case <-w.lake.changed:
		case <-deadline:
			t.Fatalf("%d of %d records arrived", len(w.lake.lines()), want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func (w *world) exactlyOnce(t *testing.T, want int) {
	t.Helper()
	lines := w.lake.lines()
	if len(lines) != want {
		t.Errorf("%d records, want %d", len(lines), want)
	}
	for line, n := range lines {
		if n != 1 {
			t.Errorf("%q is there %d times", line, n)
		}
	}
}

func records(from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("record %d\n", i))
	}
	return out
}

func TestEveryRecordArrivesOnceWhateverFails(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(put int) (before, after error)
	}{
		{"nothing fails", nil},
		{"the first puts fail", func(put int) (error, error) {
			if put <= 2 {
				return errors.New("no room"), nil
			}
			return nil, nil
		}},
		{"the object is there, and the answer is lost", func(put int) (error, error) {
			if put%2 == 1 {
				return nil, errors.New("connection lost")
			}
			return nil, nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.lake.fail = c.fail
			s := w.service(t)
			if _, err := s.CreateDelivery(w.user(t.Context()), delivery.Options{Name: "d", Source: "s", Role: "r", Bucket: "b", Prefix: "p/", GZIP: true, Interval: 0}); err != nil {
				t.Fatal(err)
			}
			w.log.append(records(0, 40)...)
			w.run(t, s, 40)
			w.log.append(records(40, 60)...)
			w.run(t, s, 60)
			w.exactlyOnce(t, 60)
		})
	}
}

// A crash between the object and the checkpoint is a service that never comes back from its put.
func TestACrashBetweenObjectAndCheckpointDoublesNothing(t *testing.T) {
	w := newWorld(t)
	s := w.service(t)
	if _, err := s.CreateDelivery(w.user(t.Context()), delivery.Options{Name: "d", Source: "s", Role: "r", Bucket: "b", Interval: 0}); err != nil {
		t.Fatal(err)
	}
	w.log.append(records(0, 5)...)
	ctx, crash := context.WithCancel(t.Context())
	w.lake.fail = func(int) (error, error) {
		crash() // the object is there; the service ends before it can note it
		return nil, errors.New("killed")
	}
	if err := s.Run(ctx); err != nil {
		t.Fatal(err)
	}
	w.exactlyOnce(t, 5)
	w.lake.fail = nil
	w.log.append(records(5, 12)...) // more came meanwhile: it must not join the object written before
	w.run(t, w.service(t), 12)
	w.exactlyOnce(t, 12)
}

func TestDirectPutsAndRefusals(t *testing.T) {
	w := newWorld(t)
	s := w.service(t)
	ctx := w.user(t.Context())
	if _, err := s.CreateDelivery(ctx, delivery.Options{Name: "direct", Role: "r", Bucket: "b", Prefix: "x/!{timestamp:yyyy}/", Interval: 0}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateDelivery(ctx, delivery.Options{Name: "direct", Role: "r", Bucket: "b"}); !delivery.DeliveryExists.Is(err) {
		t.Errorf("twice: %v", err)
	}
	if err := s.Put(ctx, "direct", [][]byte{[]byte("a\n"), []byte("b\n")}, "firehose:PutRecordBatch"); err != nil {
		t.Fatal(err)
	}
	w.run(t, s, 2)
	for key := range w.lake.objects {
		if want := fmt.Sprintf("x/%d/direct-1-", time.Now().UTC().Year()); !strings.HasPrefix(key, want) {
			t.Errorf("the object is called %s, want %s…", key, want)
		}
	}
	for what, o := range map[string]delivery.Options{
		"no name":            {Role: "r", Bucket: "b"},
		"a small buffer":     {Name: "n", Bucket: "b", Bytes: 1},
		"a long interval":    {Name: "n", Bucket: "b", Interval: time.Hour},
		"no bucket":          {Name: "n"},
		"unknown expression": {Name: "n", Bucket: "b", Prefix: "!{partitionKeyFromQuery:x}/"},
	} {
		if _, err := s.CreateDelivery(ctx, o); !delivery.InvalidArgument.Is(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.Put(ctx, "nobody", nil, "firehose:PutRecord"); !delivery.NoDelivery.Is(err) {
		t.Errorf("an unknown delivery: %v", err)
	}
}

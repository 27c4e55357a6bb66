package streams_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/streams"
)

// anyone lets everybody do everything.
type anyone struct{}

func (anyone) Authorize(context.Context, name.Action, name.ARN, ...name.Attr) error { return nil }

var errLocked = &fault.Reason{Kind: fault.Conflict, Name: "Locked"}

// keys wrap by putting the context in front. They can be locked.
type keys struct{ locked atomic.Bool }

func (k *keys) NewDataKey(_ context.Context, binding []byte) (plain [32]byte, wrapped []byte, err error) {
	if k.locked.Load() {
		return plain, nil, errLocked.New("locked")
	}
	_, _ = rand.Read(plain[:]) // never fails
	return plain, append(bytes.Clone(binding), plain[:]...), nil
}

func (k *keys) OpenDataKey(_ context.Context, wrapped, binding []byte) (plain [32]byte, err error) {
	if k.locked.Load() {
		return plain, errLocked.New("locked")
	}
	rest, ok := bytes.CutPrefix(wrapped, binding)
	if !ok || copy(plain[:], rest) != 32 {
		return plain, errors.New("a key opened in another context")
	}
	return plain, nil
}

// hand is a clock that tests turn.
type hand struct{ ns atomic.Int64 }

func newHand() *hand {
	h := new(hand)
	h.ns.Store(time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC).UnixNano())
	return h
}

func (h *hand) Now() time.Time          { return time.Unix(0, h.ns.Load()).UTC() }
func (h *hand) advance(d time.Duration) { h.ns.Add(int64(d)) }

// bench is a service on a directory that can be closed and opened again.
type bench struct {
	t     testing.TB
	dir   string
	keys  *keys
	clock *hand
	cfg   streams.Config

	logged strings.Builder // read it when the service is closed

	store *store.Store
	*streams.Service
}

const account = "123456789012"

func newBench(t testing.TB, change ...func(*streams.Config)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), keys: new(keys), clock: newHand()}
	b.cfg = streams.Config{Account: account, Dir: filepath.Join(b.dir, "streams")}
	for _, c := range change {
		c(&b.cfg)
	}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.store, err = store.Open(b.t.Context(), store.Config{URL: "sqlite://" + filepath.Join(b.dir, "control.db"), Key: [32]byte{1}}); err != nil {
		b.t.Fatal(err)
	}
	b.Service, err = streams.New(b.cfg, streams.Deps{Store: b.store, Auth: anyone{}, Keys: b.keys, Clock: b.clock,
		Log: slog.New(slog.NewTextHandler(&b.logged, nil)), Guard: segment.NewGuard(b.dir, 0, b.clock.Now, slog.New(slog.DiscardHandler))})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	if b.Service != nil {
		b.Service.Close()
		b.Service = nil
		if err := b.store.Close(); err != nil {
			b.t.Error(err)
		}
	}
}

// crashed makes a shard that was closed look like one that was not: it does not know what
// its last segment holds.
func (b *bench) crashed(shard int) {
	b.t.Helper()
	found, err := filepath.Glob(filepath.Join(b.cfg.Dir, "*", fmt.Sprintf("shardId-%012d", shard), "segments.json"))
	if err != nil {
		b.t.Fatal(err)
	}
	for _, path := range found {
		if err := os.Remove(path); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) reopen() {
	b.t.Helper()
	b.close()
	b.open()
}

func (b *bench) ctx() context.Context {
	return caller.WithRequest(context.Background(), caller.Request{Region: "us-east-1"})
}

func (b *bench) create(stream string, shards int) {
	b.t.Helper()
	if err := b.CreateStream(b.ctx(), stream, shards); err != nil {
		b.t.Fatal(err)
	}
}

// put puts one record and returns its offset.
func (b *bench) put(stream, key string, value []byte) int64 {
	b.t.Helper()
	placed, err := b.PutRecords(b.ctx(), stream, []streams.Put{{Key: key, Value: value}}, "kinesis:PutRecord")
	if err == nil {
		err = placed[0].Err
	}
	if err != nil {
		b.t.Fatal(err)
	}
	return placed[0].Offset
}

// readFrom reads a shard from an iterator on to its end.
func (b *bench) readFrom(stream string, shard int, from streams.From, offset int64, at time.Time) ([]streams.Record, error) {
	p, err := b.ShardIterator(b.ctx(), stream, fmt.Sprintf("shardId-%012d", shard), from, offset, at)
	if err != nil {
		return nil, err
	}
	var all []streams.Record
	for {
		got, err := b.GetRecords(b.ctx(), p, 0)
		if err != nil {
			return all, err
		}
		if len(got.Records) == 0 {
			return all, nil
		}
		all = append(all, got.Records...)
		p = got.Next
	}
}

func (b *bench) all(stream string, shard int) []streams.Record {
	b.t.Helper()
	records, err := b.readFrom(stream, shard, streams.Oldest, 0, time.Time{})
	if err != nil {
		b.t.Fatal(err)
	}
	return records
}

// files returns the segments of a stream's shard, oldest first.
func (b *bench) files(stream string, shard int) []string {
	b.t.Helper()
	d, err := b.DescribeStream(b.ctx(), stream, "kinesis:DescribeStream")
	if err != nil {
		b.t.Fatal(err)
	}
	paths, err := filepath.Glob(filepath.Join(b.cfg.Dir, d.ID, fmt.Sprintf("shardId-%012d", shard), "*.seg"))
	if err != nil {
		b.t.Fatal(err)
	}
	return paths
}

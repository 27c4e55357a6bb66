package objects_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/objects"
)

// anyone lets everybody do everything.
type anyone struct{}

func (anyone) Authorize(context.Context, name.Action, name.ARN, ...name.Attr) error { return nil }

var errLocked = &fault.Reason{Kind: fault.Conflict, Name: "Locked"}

// keys wrap by putting the context in front. They can be locked.
type keys struct{ locked atomic.Bool }

func (k *keys) NewDataKey(_ context.Context, _ string, binding []byte) (plain [32]byte, wrapped []byte, key name.ARN, err error) {
	if k.locked.Load() {
		return plain, nil, key, errLocked.New("locked")
	}
	_, _ = rand.Read(plain[:]) // never fails
	return plain, append(bytes.Clone(binding), plain[:]...), key, nil
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

// bench is a service on a directory that can be closed and opened again.
type bench struct {
	t     testing.TB
	dir   string
	keys  *keys
	cfg   objects.Config
	store *store.Store
	index *kv.DB
	*objects.Service
}

func newBench(t testing.TB, change ...func(*objects.Config)) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), keys: new(keys)}
	b.cfg = objects.Config{Account: "123456789012", Dir: filepath.Join(b.dir, "objects")}
	for _, c := range change {
		c(&b.cfg)
	}
	b.open()
	t.Cleanup(b.close)
	if err := b.CreateBucket(b.ctx(), "bucket", ""); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *bench) open() {
	b.t.Helper()
	var err error
	if b.store, err = store.Open(context.Background(), store.Config{URL: "sqlite://" + filepath.Join(b.dir, "control.db"), Key: [32]byte{1}}); err != nil {
		b.t.Fatal(err)
	}
	if b.index, err = kv.Open(kv.Config{Dir: filepath.Join(b.dir, "index"), Key: [32]byte{2}}); err != nil {
		b.t.Fatal(err)
	}
	b.Service, err = objects.New(b.cfg, objects.Deps{Store: b.store, Index: b.index, Auth: anyone{}, Keys: b.keys, Clock: clock.System{},
		Log: slog.New(slog.DiscardHandler), Guard: segment.NewGuard(b.dir, 0, time.Now, slog.New(slog.DiscardHandler))})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) close() {
	if b.Service == nil {
		return
	}
	b.Service.Close()
	b.Service = nil
	if err := errors.Join(b.index.Close(), b.store.Close()); err != nil {
		b.t.Error(err)
	}
}

func (b *bench) reopen() {
	b.t.Helper()
	b.close()
	b.open()
}

func (b *bench) ctx() context.Context { return context.Background() }

func (b *bench) put(key string, data []byte) error {
	_, err := b.Put(b.ctx(), "bucket", key, bytes.NewReader(data), objects.PutOptions{})
	return err
}

func (b *bench) get(key string, r objects.Range) ([]byte, error) {
	o, err := b.Open(b.ctx(), "bucket", key, r)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(o.Body)
	return data, errors.Join(err, o.Body.Close())
}

// files are the segments on the disk.
func (b *bench) files() []string {
	b.t.Helper()
	paths, err := filepath.Glob(filepath.Join(b.cfg.Dir, "*.seg"))
	if err != nil {
		b.t.Fatal(err)
	}
	return paths
}

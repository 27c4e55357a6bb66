package lease_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

const ttl = 600 * time.Millisecond

type count struct{ N int }

// member is a node of a cluster: a store and a keeper of its own.
type member struct {
	*lease.Keeper
	store  *store.Store
	counts *store.Collection[count]
	// stop ends the renewals, as kill -9 does.
	stop func()
}

func join(t *testing.T, url, name string, ttl time.Duration) *member {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Key: [32]byte{1}, Poll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	k, err := lease.New(t.Context(), lease.Config{Node: name, Owner: "owner of " + name, TTL: ttl},
		lease.Deps{Store: s, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	loops.Go(func() { _ = s.Run(ctx) })
	loops.Go(func() { _ = k.Run(ctx) })
	m := &member{Keeper: k, store: s, counts: store.Register[count](s, "counts"), stop: func() { cancel(); loops.Wait() }}
	t.Cleanup(func() {
		m.stop()
		_ = s.Close() // some tests stop the server before
	})
	return m
}

// add adds one to a document under a lease.
func (m *member) add(l *lease.Lease) error {
	return m.store.Update(context.Background(), func(tx *store.Tx) error {
		if err := l.Guard(tx); err != nil {
			return err
		}
		n := 0
		if c, ok := m.counts.Get(tx, "n"); ok {
			n = c.N
		}
		return m.counts.Put(tx, "n", &count{n + 1})
	})
}

func TestOneHoldsTheLease(t *testing.T) {
	url := dbtest.Postgres(t).URL
	var inside, rounds atomic.Int32
	var last atomic.Int64
	var all sync.WaitGroup
	var members []*member
	for i := range 3 {
		m := join(t, url, fmt.Sprintf("node-%d", i), ttl)
		members = append(members, m)
		for range 2 {
			all.Go(func() {
				for range 10 {
					l, err := m.Acquire(t.Context(), "the one")
					if err != nil {
						t.Error(err)
						return
					}
					if n := inside.Add(1); n != 1 {
						t.Errorf("%d hold the lease", n)
					}
					if before := last.Swap(l.Token()); before >= l.Token() {
						t.Errorf("token %d follows %d", l.Token(), before)
					}
					if err := m.add(l); err != nil {
						t.Error(err)
					}
					rounds.Add(1)
					inside.Add(-1)
					if err := l.Release(t.Context()); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
	if err := members[0].store.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, _ := members[0].counts.Get(members[0].store.Snapshot(), "n"); c == nil || c.N != 60 || rounds.Load() != 60 {
		t.Errorf("%+v after %d rounds", c, rounds.Load())
	}
}

func TestAHolderThatStopsIsReplacedAndFenced(t *testing.T) {
	url := dbtest.MariaDB(t).URL
	a, b := join(t, url, "a", ttl), join(t, url, "b", ttl)
	held, err := a.Acquire(t.Context(), "the one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.TryAcquire(t.Context(), "the one"); !lease.Held.Is(err) {
		t.Errorf("taking what another holds: %v", err)
	}
	if _, err := a.TryAcquire(t.Context(), "the one"); !lease.Held.Is(err) {
		t.Errorf("taking what this node holds: %v", err)
	}
	a.stop()
	stopped := time.Now()
	next, err := b.Acquire(t.Context(), "the one")
	if err != nil {
		t.Fatal(err)
	}
	if took := time.Since(stopped); took > 3*ttl {
		t.Errorf("the lease moved after %s", took)
	}
	select {
	case <-held.Context().Done():
	default:
		t.Error("the lease moved before its holder knew")
	}
	if next.Token() <= held.Token() {
		t.Errorf("token %d follows %d", next.Token(), held.Token())
	}
	if err := a.add(held); !lease.Lost.Is(err) {
		t.Errorf("a write of the holder before: %v", err)
	}
	if err := b.add(next); err != nil {
		t.Error(err)
	}
	// Who leaves in order leaves at once.
	c := join(t, url, "c", time.Minute)
	closed := time.Now()
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(t.Context(), "the one"); err != nil || time.Since(closed) > ttl {
		t.Errorf("after Close the lease moved in %s, %v", time.Since(closed), err)
	}
}

func TestLeasesOutliveTheDatabasesRestart(t *testing.T) {
	server := dbtest.Postgres(t)
	a := join(t, server.URL, "a", ttl)
	first, err := a.Acquire(t.Context(), "the one")
	if err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	stopped := time.Now()
	<-first.Context().Done()
	if took := time.Since(stopped); took > 2*ttl {
		t.Errorf("without the database the lease ended after %s", took)
	}
	server.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	again, err := a.Acquire(ctx, "the one")
	if err != nil || again.Token() <= first.Token() {
		t.Fatalf("%+v, %v", again, err)
	}
	if err := a.add(first); !lease.Lost.Is(err) {
		t.Errorf("a write under the lease before: %v", err)
	}
}

func TestASchedule(t *testing.T) {
	url := dbtest.Postgres(t).URL
	var runs atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	first := make(chan struct{}, 100)
	for i := range 3 {
		m := join(t, url, fmt.Sprintf("node-%d", i), ttl)
		all.Go(func() {
			_ = m.Every(ctx, "sweep", time.Hour, func(context.Context) error {
				runs.Add(1)
				first <- struct{}{}
				if i == 0 {
					return m.Close(context.Background()) // another node leads from here on
				}
				return nil
			})
		})
	}
	<-first
	late := join(t, url, "late", ttl)
	l, err := late.Acquire(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Release(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	all.Wait()
	if n := runs.Load(); n != 1 {
		t.Errorf("ran %d times in its period", n)
	}
}

func TestANodeAlone(t *testing.T) {
	url := "sqlite://" + filepath.Join(t.TempDir(), "control.db")
	a := join(t, url, "a", 0)
	l, err := a.Acquire(t.Context(), "the one")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.TryAcquire(t.Context(), "the one"); !lease.Held.Is(err) {
		t.Errorf("taking it twice: %v", err)
	}
	if err := a.add(l); err != nil {
		t.Error(err)
	}
	a.stop() // kill -9: the lease stays in the store
	if err := a.store.Close(); err != nil {
		t.Fatal(err)
	}
	b := join(t, url, "a", 0)
	again, err := b.Acquire(t.Context(), "the one")
	if err != nil || again.Token() <= l.Token() {
		t.Fatalf("%+v, %v", again, err)
	}
	if err := again.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(b.Holdings()) != 0 || len(b.Nodes()) != 0 {
		t.Errorf("%v, %v", b.Holdings(), b.Nodes())
	}
}

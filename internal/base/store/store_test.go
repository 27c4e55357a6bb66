package store_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"sluice.dev/sluice/internal/base/store"
)

type team struct{ Name string }

type member struct {
	Email string
	Team  string
	Role  string
}

type directory struct {
	s       *store.Store
	teams   *store.Collection[team]
	members *store.Collection[member]
}

func openDirectory(t testing.TB, url string, onDelete store.OnDelete) directory {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{URL: url, Key: [32]byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	d := directory{s: s}
	d.teams = store.Register[team](s, "teams")
	d.members = store.Register(s, "members",
		store.Unique("email", func(m *member) []string { return []string{m.Email} }),
		store.Index("role", func(m *member) []string { return []string{m.Role} }),
		store.Refers("team", "teams", func(m *member) []string { return []string{m.Team} }, onDelete))
	return d
}

func sqliteURL(t testing.TB) string { return "sqlite://" + filepath.Join(t.TempDir(), "control.db") }

func TestRulesHold(t *testing.T) {
	d := openDirectory(t, sqliteURL(t), store.Cascade)
	ctx := context.Background()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.s.Update(ctx, func(tx *store.Tx) error {
		if err := d.teams.Insert(tx, "a", &team{"A"}); err != nil {
			return err
		}
		return d.members.Insert(tx, "1", &member{"x@a", "a", "dev"})
	}))
	err := d.s.Update(ctx, func(tx *store.Tx) error { return d.members.Insert(tx, "2", &member{"x@a", "a", "dev"}) })
	if v, ok := errors.AsType[*store.Violation](err); !ok || v.Reason() != store.Duplicate || v.Rule != "email" {
		t.Fatalf("duplicate email: got %v", err)
	}
	err = d.s.Update(ctx, func(tx *store.Tx) error { return d.members.Insert(tx, "2", &member{"y@a", "nope", "dev"}) })
	if v, ok := errors.AsType[*store.Violation](err); !ok || v.Reason() != store.Dangling {
		t.Fatalf("dangling team: got %v", err)
	}
	before := d.s.Snapshot()
	must(d.s.Update(ctx, func(tx *store.Tx) error {
		_, err := d.teams.Delete(tx, "a")
		return err
	}))
	if d.members.Len(before) != 1 || d.members.Len(d.s.Snapshot()) != 0 {
		t.Fatalf("cascade: before %d, after %d", d.members.Len(before), d.members.Len(d.s.Snapshot()))
	}
	if _, _, ok := d.members.Lookup(d.s.Snapshot(), "email", "x@a"); ok {
		t.Fatal("a deleted member is still in the unique index")
	}
}

// A disk without room refuses what is written, not what is deleted, and forgets nothing.
func TestWritesNeedRoom(t *testing.T) {
	full := errors.New("less than 256 MiB would be left")
	var room error
	s, err := store.Open(t.Context(), store.Config{URL: sqliteURL(t), Key: [32]byte{1}, Room: func() error { return room }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	teams := store.Register[team](s, "teams")
	put := func(key string) error {
		return s.Update(t.Context(), func(tx *store.Tx) error { return teams.Put(tx, key, &team{key}) })
	}
	if err := errors.Join(put("a"), put("b")); err != nil {
		t.Fatal(err)
	}
	room = full
	if err := put("c"); !store.DiskFull.Is(err) || teams.Has(s.Snapshot(), "c") {
		t.Errorf("a write without room: %v", err)
	}
	if err := s.Update(t.Context(), func(tx *store.Tx) error { _, err := teams.Delete(tx, "a"); return err }); err != nil || teams.Has(s.Snapshot(), "a") {
		t.Errorf("a delete without room: %v", err)
	}
	room = nil
	if err := put("c"); err != nil || teams.Len(s.Snapshot()) != 2 {
		t.Errorf("with room again: %v, %d documents", err, teams.Len(s.Snapshot()))
	}
}

package kv_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/kv"
)

func open(t *testing.T, dir string) *kv.DB {
	t.Helper()
	db, err := kv.Open(kv.Config{Dir: dir, Key: [32]byte{7}})
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func TestValuesSurviveReopening(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	for round := range 3 { // logs are recycled and tables are written
		b := db.NewBatch()
		for i := range 20_000 {
			b.Set(fmt.Appendf(nil, "customer/%06d", i), fmt.Appendf(nil, "round %d of %d, confidential", round, i))
		}
		if err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = open(t, dir)
	}
	defer func() { _ = db.Close() }()
	n := 0
	for e, err := range db.Scan(t.Context(), kv.Prefix([]byte("customer/"))) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("round 2 of %d, confidential", n); string(e.Value) != want {
			t.Fatalf("entry %d is %q, want %q", n, e.Value, want)
		}
		n++
	}
	if n != 20_000 {
		t.Fatalf("%d entries, want 20000", n)
	}
}

func TestNothingIsReadableOnDisk(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	for i := range 2000 {
		if err := db.Set(fmt.Appendf(nil, "patient-name-%d", i), bytes.Repeat([]byte("diagnosis "), 50)); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), "patient-name") || strings.Contains(string(raw), "diagnosis") {
			t.Errorf("%s holds clear text", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWrongKeyIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	if err := db.Set([]byte("a"), []byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err := kv.Open(kv.Config{Dir: dir, Key: [32]byte{8}}); err == nil {
		_ = db.Close()
		t.Fatal("another key opened the map")
	}
}

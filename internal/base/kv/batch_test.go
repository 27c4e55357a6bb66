package kv_test

import (
	"fmt"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/base/kv"
)

// Pebble hands a released batch to the next caller of NewBatch. A Discard behind a Commit,
// which a defer easily is, must not reach into what that caller writes.
func TestFinishedBatchIsNotTouched(t *testing.T) {
	db := open(t, t.TempDir())
	defer func() { _ = db.Close() }()
	ends := map[string]func(*kv.Batch) error{
		"commit":   (*kv.Batch).Commit,
		"unsynced": (*kv.Batch).CommitUnsynced,
		"discard":  func(b *kv.Batch) error { b.Discard(); return nil },
	}
	for name, end := range ends {
		for n := range 100 { // the pool may hand out another one now and then
			b := db.NewBatch()
			b.Set([]byte("first"), []byte(name))
			if err := end(b); err != nil {
				t.Fatal(err)
			}
			next := db.NewBatch()
			key := fmt.Appendf(nil, "next/%s/%d", name, n)
			next.Set(key, []byte("kept"))
			b.Discard()
			b.Discard()
			if err := next.Commit(); err != nil {
				t.Fatal(err)
			}
			if v, ok, err := db.Get(key); err != nil || !ok || string(v) != "kept" {
				t.Fatalf("%s, round %d: %q is lost: a Discard of the batch before emptied the next one (%q, %v, %v)", name, n, key, v, ok, err)
			}
		}
	}
}

// A finished batch takes nothing more, and reports it.
func TestFinishedBatchRefusesUse(t *testing.T) {
	db := open(t, t.TempDir())
	defer func() { _ = db.Close() }()
	uses := map[string]func(*kv.Batch){
		"set":          func(b *kv.Batch) { b.Set([]byte("a"), []byte("b")) },
		"delete":       func(b *kv.Batch) { b.Delete([]byte("a")) },
		"delete range": func(b *kv.Batch) { b.DeleteRange([]byte("a"), []byte("b")) },
		"commit": func(b *kv.Batch) {
			if err := b.Commit(); err != nil {
				panic(err)
			}
		},
	}
	for name, use := range uses {
		t.Run(name, func(t *testing.T) {
			b := db.NewBatch()
			b.Set([]byte("k"), []byte("v"))
			if err := b.Commit(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if recover() == nil {
					t.Error("a finished batch was used again without a word")
				}
			}()
			use(b)
		})
	}
}

// Many goroutines commit and then discard, as the audit did: the race detector watches.
func TestConcurrentDiscardsAfterCommit(t *testing.T) {
	db := open(t, t.TempDir())
	defer func() { _ = db.Close() }()
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for n := range 200 {
				func() {
					b := db.NewBatch()
					defer b.Discard()
					b.Set(fmt.Appendf(nil, "%d/%d", w, n), []byte("v"))
					if err := b.CommitUnsynced(); err != nil {
						t.Error(err)
					}
				}()
			}
		})
	}
	writers.Wait()
	n := 0
	for _, err := range db.Scan(t.Context(), kv.Range{}) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 8*200 {
		t.Errorf("%d entries, want %d", n, 8*200)
	}
}

package streams_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/streams"
)

// A segment that is gone or was cut is reported by name, at the start and to readers;
// records around it are served, and no sequence number is given twice.
func TestLostSegments(t *testing.T) {
	const each = 5
	cut := func(t *testing.T, path string) {
		st, err := os.Stat(path)
		if err == nil {
			err = os.Truncate(path, st.Size()-60)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, path string) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
	empty := func(t *testing.T, path string) {
		if err := os.Truncate(path, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name   string
		harm   func(*testing.T, string)
		file   int
		killed bool // the last segment was not finished
		before int  // records that can be read from the oldest on
		behind int  // where records can be read again; -1 if nowhere
	}{
		{"first removed", remove, 0, false, 0, each},
		{"middle removed", remove, 1, false, each, 2 * each},
		{"last removed", remove, 2, false, 2 * each, -1},
		{"last removed after a kill", remove, 2, true, 2 * each, -1},
		{"first cut", cut, 0, false, each - 1, each},
		{"last cut", cut, 2, false, 3*each - 1, -1},
		{"first emptied", empty, 0, false, 0, each},
		{"last emptied", empty, 2, false, 2 * each, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			b.create("s", 1)
			n := 0
			var catalog []byte
			for range 3 {
				for range each {
					b.put("s", "k", fmt.Appendf(nil, "value %d", n))
					n++
				}
				var err error
				if catalog, err = os.ReadFile(filepath.Join(filepath.Dir(b.files("s", 0)[0]), "segments.json")); err != nil {
					t.Fatal(err)
				}
				b.reopen()
			}
			path := b.files("s", 0)[c.file]
			b.close()
			if c.killed {
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), "segments.json"), catalog, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			c.harm(t, path)
			b.open()
			got, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{})
			if fault.KindOf(err) != fault.Corrupt || !strings.Contains(err.Error(), filepath.Base(path)) {
				t.Errorf("reading: %v; want an error that names %s", err, filepath.Base(path))
			}
			checkValues(t, got, 0, c.before)
			if c.behind >= 0 {
				got, err := b.readFrom("s", 0, streams.AtOffset, int64(c.behind), time.Time{})
				if err != nil {
					t.Fatalf("what is behind: %v", err)
				}
				checkValues(t, got, c.behind, n)
			}
			next := b.put("s", "k", []byte("more"))
			if next < int64(n) {
				t.Errorf("the sequence number %d is given again; %d were", next, n)
			}
			got, err = b.readFrom("s", 0, streams.AtOffset, next, time.Time{})
			if err != nil || len(got) != 1 || string(got[0].Value) != "more" {
				t.Errorf("a record put afterwards: %d records, %v", len(got), err)
			}
			b.close()
			if !strings.Contains(b.logged.String(), path) {
				t.Errorf("the log does not name %s:\n%s", path, b.logged.String())
			}
			// What is lost expires like what is there.
			b.clock.advance(100 * time.Hour)
			b.open()
			if err := b.Expire(b.ctx()); err != nil {
				t.Fatal(err)
			}
			if _, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{}); err != nil {
				t.Errorf("after the retention: %v", err)
			}
		})
	}
}

// A catalog that is damaged says what to do: its segments are whole, and without it the shard
// works.
func TestDamagedCatalog(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	b.put("s", "k", []byte("value 0"))
	path := filepath.Join(filepath.Dir(b.files("s", 0)[0]), "segments.json")
	b.close()
	if err := os.WriteFile(path, []byte(`[{"base":`), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	_, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{})
	if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "restore it from a backup") || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("reading: %v; want an error that names %s and what to do", err, path)
	}
	b.close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	b.open()
	got, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	checkValues(t, got, 0, 1)
}

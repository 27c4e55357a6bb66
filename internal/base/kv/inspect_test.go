package kv_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sluice.dev/sluice/internal/base/kv"
)

const writes = 100

func entry(n int) []byte { return fmt.Appendf(nil, "object/%04d", n) }

// killed makes a map of which nothing was flushed, by rounds of opening, writing and power
// cuts, and returns its directory.
func killed(t *testing.T, rounds int) kv.Config {
	t.Helper()
	disk := vfs.NewCrashableMem()
	cfg := kv.Config{Dir: "/index", Key: [32]byte{7}}
	for round := range rounds {
		db, err := kv.OpenOn(disk, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for n := range writes {
			if err := db.Set(entry(round*writes+n), bytes.Repeat([]byte{byte(n)}, 700)); err != nil {
				t.Fatal(err)
			}
		}
		cut := disk.CrashClone(vfs.CrashCloneCfg{})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		disk = cut
	}
	cfg.Dir = filepath.Join(t.TempDir(), "index")
	if _, err := vfs.Clone(disk, vfs.Default, "/index", cfg.Dir); err != nil {
		t.Fatal(err)
	}
	cfg.Exists = true
	return cfg
}

func copied(t *testing.T, c kv.Config) kv.Config {
	t.Helper()
	c2 := c
	c2.Dir = filepath.Join(t.TempDir(), "index")
	if err := os.CopyFS(c2.Dir, os.DirFS(c.Dir)); err != nil {
		t.Fatal(err)
	}
	return c2
}

func one(t *testing.T, c kv.Config, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(c.Dir, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return found[len(found)-1]
}

func truncate(t *testing.T, path string, by int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, max(0, st.Size()-by))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, at int64) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[at] ^= 0x10
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

func listing(t *testing.T, dir string) (list []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}

func TestLostFilesAreNamed(t *testing.T) {
	whole := killed(t, 2)
	if damage, err := kv.Inspect(whole); damage != nil || err != nil {
		t.Fatalf("a map that is whole: %v, %v", damage, err)
	}
	for name, c := range map[string]struct {
		harm func(t *testing.T, c kv.Config)
		file string
	}{
		"empty manifest":          {func(t *testing.T, c kv.Config) { truncate(t, one(t, c, "MANIFEST-*"), 1<<30) }, "MANIFEST-"},
		"no manifest":             {func(t *testing.T, c kv.Config) { remove(t, one(t, c, "MANIFEST-*")) }, "MANIFEST-"},
		"flipped manifest":        {func(t *testing.T, c kv.Config) { flip(t, one(t, c, "MANIFEST-*"), 60) }, "MANIFEST-"},
		"flipped salt":            {func(t *testing.T, c kv.Config) { flip(t, one(t, c, "MANIFEST-*"), 12) }, "MANIFEST-"},
		"no manifest's marker":    {func(t *testing.T, c kv.Config) { remove(t, one(t, c, "marker.manifest.*")) }, "marker.manifest"},
		"no format's marker":      {func(t *testing.T, c kv.Config) { remove(t, one(t, c, "marker.format-version.*")) }, "marker.format-version"},
		"no log":                  {func(t *testing.T, c kv.Config) { remove(t, one(t, c, "*.log")) }, ".log"},
		"flipped salt of log":     {func(t *testing.T, c kv.Config) { flip(t, one(t, c, "*.log"), 12) }, ".log"},
		"list of logs cut":        {func(t *testing.T, c kv.Config) { truncate(t, one(t, c, "LOGS"), 7) }, "LOGS"},
		"flipped salt of options": {func(t *testing.T, c kv.Config) { flip(t, one(t, c, "OPTIONS-*"), 12) }, "OPTIONS-"},
		"emptied":                 {func(t *testing.T, c kv.Config) { removeAll(t, c.Dir); mkdir(t, c.Dir) }, "index"},
		"no directory":            {func(t *testing.T, c kv.Config) { removeAll(t, c.Dir) }, "index"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := copied(t, whole)
			c.harm(t, cfg)
			damage, err := kv.Inspect(cfg)
			if err != nil || damage == nil || !strings.Contains(filepath.Base(damage.File), c.file) {
				t.Errorf("%v, %v; want damage that names %s", damage, err, c.file)
			}
		})
	}
}

// No byte of a log that is flipped takes acknowledged writes away without a word, but for
// the end, which looks as a crash may leave it.
func TestFlippedByteInLog(t *testing.T) {
	whole := killed(t, 1)
	size := int64(0)
	if st, err := os.Stat(one(t, whole, "*.log")); err == nil {
		size = st.Size()
	}
	quiet := 0
	for at := int64(0); at < size; at += 499 {
		cfg := copied(t, whole)
		log := one(t, cfg, "*.log")
		flip(t, log, at)
		damage, err := kv.Inspect(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if damage == nil {
			if at < size-3*800 {
				t.Errorf("byte %d of %d: no damage was found", at, size)
			}
			quiet++
			continue
		}
		if damage.File != log || !damage.Partial() {
			t.Fatalf("byte %d: %v", at, damage)
		}
		if at%(499*16) != 0 {
			continue
		}
		aside := t.TempDir()
		if err := kv.Salvage(cfg, damage, aside); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(aside, filepath.Base(log))); err != nil {
			t.Error("the damaged log is not kept: ", err)
		}
		if left, err := kv.Inspect(cfg); left != nil || err != nil {
			t.Fatalf("byte %d: after Salvage: %v, %v", at, left, err)
		}
		db, err := kv.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		have := 0
		for _, err := range db.Scan(t.Context(), kv.Prefix([]byte("object/"))) {
			if err != nil {
				t.Fatal(err)
			}
			have++
		}
		if before := int(at * writes / size); have < before-2 || have > before+2 {
			t.Errorf("byte %d: %d entries are left, want those before it, about %d", at, have, before)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if quiet > 6 {
		t.Errorf("%d flips were taken for a torn end", quiet)
	}
}

// A manifest that lost its newest records names logs that are gone, and Pebble would remove
// the tables that they became.
func TestCutManifest(t *testing.T) {
	cfg := kv.Config{Dir: filepath.Join(t.TempDir(), "index"), Key: [32]byte{7}}
	for range 3 {
		db, err := kv.Open(cfg)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 200 { // more than a table in memory holds
			if err := db.Set(entry(n), bytes.Repeat([]byte{byte(n)}, 100_000)); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Exists = true
	if damage, err := kv.Inspect(cfg); damage != nil || err != nil {
		t.Fatalf("a map that is whole: %v, %v", damage, err)
	}
	st, err := os.Stat(one(t, cfg, "MANIFEST-*"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for cut := int64(10); cut < st.Size(); cut += 70 {
		c := copied(t, cfg)
		manifest := one(t, c, "MANIFEST-*")
		truncate(t, manifest, cut)
		damage, err := kv.Inspect(c)
		if err != nil {
			t.Fatal(err)
		}
		if damage != nil {
			if found++; damage.File != manifest {
				t.Errorf("%d bytes cut off: %v", cut, damage)
			}
			continue
		}
		db, err := kv.Open(c) // then nothing is lost, or Pebble itself finds a table missing
		if err != nil {
			continue
		}
		for n := range 200 {
			if _, ok, err := db.Get(entry(n)); !ok || err != nil {
				t.Fatalf("%d bytes of the manifest cut off: entry %d is lost without a word (%v)", cut, n, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if found == 0 {
		t.Error("no cut was found")
	}
}

// A log may end anywhere after a crash: wherever it is cut, that is no damage.
func TestTornLog(t *testing.T) {
	whole := killed(t, 1)
	st, err := os.Stat(one(t, whole, "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for cut := int64(1); cut < st.Size(); cut += 1777 {
		cfg := copied(t, whole)
		truncate(t, one(t, cfg, "*.log"), cut)
		if damage, err := kv.Inspect(cfg); damage != nil || err != nil {
			t.Fatalf("%d bytes cut off: %v, %v", cut, damage, err)
		}
	}
}

// A map that is known to exist is not made anew, and nothing of it is removed.
func TestOpenMakesNothingInThePlaceOfWhatExists(t *testing.T) {
	cfg := killed(t, 2)
	remove(t, one(t, cfg, "marker.manifest.*"))
	before := listing(t, cfg.Dir)
	if db, err := kv.Open(cfg); err == nil {
		_ = db.Close()
		t.Fatal("a map without its manifest's marker was opened")
	}
	after := strings.Join(listing(t, cfg.Dir), " ")
	for _, name := range before {
		if !strings.Contains(after, name) {
			t.Errorf("%s was removed", name)
		}
	}
}

// A damaged table fails the reads that need it, is named once, and leaves the rest to be
// read and written.
func TestFlippedByteInTable(t *testing.T) {
	cfg := killed(t, 2) // the second start has flushed the first one's entries
	table := one(t, cfg, "*.sst")
	flip(t, table, 32+2000)
	if damage, err := kv.Inspect(cfg); damage != nil || err != nil {
		t.Fatal(damage, err)
	}
	var logged bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
	db, err := kv.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	failed, served := 0, 0
	for n := range 2 * writes {
		_, ok, err := db.Get(entry(n))
		switch {
		case err == nil && ok:
			served++
		case kv.Corrupt.Is(err) && strings.Contains(err.Error(), filepath.Base(table)):
			failed++
		default:
			t.Errorf("entry %d: %v, %v; want an error that names %s", n, ok, err, filepath.Base(table))
		}
	}
	if failed == 0 || served < writes {
		t.Errorf("%d entries failed and %d were served", failed, served)
	}
	if err := db.Set([]byte("object/new"), []byte("v")); err != nil {
		t.Error(err)
	}
	time.Sleep(500 * time.Millisecond) // a compaction that fails would fail some seventy times
	if err := db.Close(); err != nil {
		t.Error(err)
	}
	if lines := strings.Count(logged.String(), "\n"); lines != 1 || !strings.Contains(logged.String(), filepath.Base(table)) {
		t.Errorf("%d lines were logged, want one that names the file:\n%s", lines, logged.String())
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func removeAll(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, path string) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
}

// What is not of the entries is repaired without the loss of one: the list of the logs and
// Pebble's options are set aside, and made anew.
func TestSalvageOfWhatHoldsNoEntries(t *testing.T) {
	whole := killed(t, 2)
	for pattern, harm := range map[string]func(t *testing.T, path string){
		"LOGS":      func(t *testing.T, path string) { truncate(t, path, 7) },
		"OPTIONS-*": func(t *testing.T, path string) { flip(t, path, 12) },
	} {
		cfg := copied(t, whole)
		path := one(t, cfg, pattern)
		harm(t, path)
		damage, err := kv.Inspect(cfg)
		if err != nil || damage == nil || !damage.Partial() {
			t.Fatalf("%s: %v, %v", pattern, damage, err)
		}
		aside := t.TempDir()
		if err := kv.Salvage(cfg, damage, aside); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(aside, filepath.Base(path))); err != nil {
			t.Errorf("what was damaged is not kept: %v", err)
		}
		db, err := kv.Open(cfg)
		if err != nil {
			t.Fatalf("%s: %v", pattern, err)
		}
		for n := range 2 * writes {
			if _, ok, err := db.Get(entry(n)); !ok || err != nil {
				t.Fatalf("%s: entry %d: %v", pattern, n, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

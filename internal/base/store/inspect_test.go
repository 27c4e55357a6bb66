package store_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/store"
)

// killedStore makes a store of n teams, one transaction each, and returns its files as a
// kill leaves them.
func killedStore(t *testing.T, n int) map[string][]byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.db")
	d := openDirectory(t, "sqlite://"+path, store.Cascade)
	for i := range n {
		err := d.s.Update(t.Context(), func(tx *store.Tx) error {
			return d.teams.Insert(tx, fmt.Sprint(i), &team{strings.Repeat("x", i*37%3000)})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	files := map[string][]byte{}
	for _, suffix := range []string{"", "-wal"} {
		raw, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		files["control.db"+suffix] = raw
	}
	return files
}

func written(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, raw := range files {
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "control.db")
}

// No flipped byte of the log takes an acknowledged transaction away without a word, but of
// the last one, which looks as a crash may leave it.
func TestFlippedByteInSQLiteLog(t *testing.T) {
	const n = 40
	files := killedStore(t, n)
	if damage, err := store.Inspect(written(t, files)); damage != nil || err != nil {
		t.Fatalf("a store that is whole: %v, %v", damage, err)
	}
	wal := files["control.db-wal"]
	var at []int
	for i := range 56 { // the header, and that of the first frame
		at = append(at, i)
	}
	for i := 56; i < len(wal); i += 4001 {
		at = append(at, i)
	}
	frame := 24 + 4096
	for f := 32; f+frame <= len(wal); f += 5 * frame { // headers of frames
		for i := 0; i < 24; i += 3 {
			at = append(at, f+i)
		}
	}
	found := 0
	for _, i := range at {
		wal[i] ^= 4
		path := written(t, files)
		wal[i] ^= 4
		damage, err := store.Inspect(path)
		if err != nil {
			t.Fatal(err)
		}
		if damage != nil {
			if found++; damage.File != path+"-wal" || !damage.Partial() {
				t.Errorf("byte %d: %v", i, damage)
			}
			continue
		}
		d := openDirectory(t, "sqlite://"+path, store.Cascade)
		if have := d.teams.Len(d.s.Snapshot()); have < n-1 {
			t.Errorf("byte %d of %d: %d of %d transactions are left, and no damage was found", i, len(wal), have, n)
		}
		if err := d.s.Close(); err != nil {
			t.Error(err)
		}
	}
	if found < len(at)*3/4 {
		t.Errorf("damage was found for %d of %d bytes", found, len(at))
	}
}

// A log may end anywhere after a crash, and what is written of the last transaction may be
// there in part: neither is damage.
func TestTornSQLiteLog(t *testing.T) {
	files := killedStore(t, 20)
	wal := files["control.db-wal"]
	for cut := 1; cut < len(wal); cut += 3333 {
		files["control.db-wal"] = wal[:len(wal)-cut]
		if damage, err := store.Inspect(written(t, files)); damage != nil || err != nil {
			t.Fatalf("%d bytes cut off: %v, %v", cut, damage, err)
		}
	}
}

func TestLostStoreIsNamed(t *testing.T) {
	files := killedStore(t, 20)
	main := files["control.db"]
	for name, c := range map[string]struct{ main, wal []byte }{
		"missing": {nil, files["control.db-wal"]},
		"empty":   {[]byte{}, nil},
		"cut":     {closedStore(t)[:8192], nil},
		"foreign": {append([]byte("not a database   "), main[17:]...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string][]byte{}
			if c.main != nil {
				files["control.db"] = c.main
			}
			if c.wal != nil {
				files["control.db-wal"] = c.wal
			}
			path := written(t, files)
			damage, err := store.Inspect(path)
			if err != nil || damage == nil || damage.File != path || damage.Partial() {
				t.Errorf("%v, %v; want damage that names %s", damage, err, path)
			}
			if _, err := os.Stat(path); c.main == nil && err == nil {
				t.Error("looking made the file")
			}
		})
	}
}

// closedStore is the file of a store that was closed in good order.
func closedStore(t *testing.T) []byte {
	t.Helper()
	path := written(t, killedStore(t, 20))
	d := openDirectory(t, "sqlite://"+path, store.Cascade)
	if err := d.s.Close(); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

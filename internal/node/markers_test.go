package node

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store"
)

// started opens the base of a node and closes it again, and returns what the log says.
func started(t *testing.T, dir string, accept ...string) (string, error) {
	t.Helper()
	c := Defaults()
	c.Data, c.AcceptDataLoss = dir, accept
	if err := c.complete(); err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	undo := new(undo)
	defer undo.run()
	b, err := openBase(context.WithoutCancel(t.Context()), c, clock.System{}, slog.New(slog.NewTextHandler(&logged, nil)), undo)
	if err == nil {
		_, err = openAuthority(t.Context(), b.store, b.clock) // its key is the first document
	}
	return logged.String(), err
}

func mustStart(t *testing.T, dir string, accept ...string) string {
	t.Helper()
	logged, err := started(t, dir, accept...)
	if err != nil {
		t.Fatal(err)
	}
	return logged
}

// files are the sizes of all files below a directory.
func files(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		out[strings.TrimPrefix(path, dir)] = st.Size()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func glob(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("no %s: %v", pattern, err)
	}
	return found[len(found)-1]
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A store that is missing, cut or of another directory stops the start, and nothing is
// changed; the switch that names it, and no other, goes on.
func TestLostStores(t *testing.T) {
	for name, c := range map[string]struct {
		harm  func(t *testing.T, dir string)
		store string
		words []string
	}{
		"control store removed": {func(t *testing.T, dir string) {
			for _, f := range []string{"control.db", "control.db-wal", "control.db-shm"} {
				if err := os.Remove(filepath.Join(dir, f)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			}
		}, controlStore, []string{"control.db", "missing", "keys"}},
		"control store emptied": {func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, "control.db"), 0))
		}, controlStore, []string{"control.db", "empty"}},
		"control store cut": {func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, "control.db"), 8192))
		}, controlStore, []string{"control.db", "cut"}},
		"control store of another directory": {func(t *testing.T, dir string) {
			other := t.TempDir()
			mustStart(t, other)
			raw, err := os.ReadFile(filepath.Join(other, "control.db"))
			must(t, err, os.WriteFile(filepath.Join(dir, "control.db"), raw, 0o600))
		}, controlStore, []string{"control.db", "another data directory"}},
		"index removed": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, indexStore)))
		}, indexStore, []string{"index", "missing", "objects"}},
		"index emptied": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, indexStore)), os.Mkdir(filepath.Join(dir, indexStore), 0o700))
		}, indexStore, []string{"index", "missing"}},
		"index of another directory": {func(t *testing.T, dir string) {
			other := t.TempDir()
			mustStart(t, other)
			must(t, os.RemoveAll(filepath.Join(dir, indexStore)), os.CopyFS(filepath.Join(dir, indexStore), os.DirFS(filepath.Join(other, indexStore))))
		}, indexStore, []string{"index", "another data directory"}},
		"manifest cut": {func(t *testing.T, dir string) {
			must(t, os.Truncate(glob(t, dir, "index/MANIFEST-*"), 40))
		}, indexStore, []string{"MANIFEST-", "cut"}},
		"manifest's marker removed": {func(t *testing.T, dir string) {
			must(t, os.Remove(glob(t, dir, "index/marker.manifest.*")))
		}, indexStore, []string{"marker.manifest", "missing"}},
		"objects removed": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, objectsStore)))
		}, objectsStore, []string{"objects", "missing"}},
		"objects emptied": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, objectsStore)), os.Mkdir(filepath.Join(dir, objectsStore), 0o700))
		}, objectsStore, []string{"objects", "emptied"}},
		"streams removed": {func(t *testing.T, dir string) {
			must(t, os.RemoveAll(filepath.Join(dir, streamsStore)))
		}, streamsStore, []string{"streams", "missing"}},
		"streams' marker cut": {func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, streamsStore, markerFile), 40))
		}, streamsStore, []string{markerFile, "damaged"}},
		"index's marker overwritten": {func(t *testing.T, dir string) {
			must(t, os.WriteFile(filepath.Join(dir, indexStore, markerFile), []byte("[\xff]"), 0o600))
		}, indexStore, []string{markerFile, "damaged"}},
		"list of the logs cut": {func(t *testing.T, dir string) {
			must(t, os.Truncate(filepath.Join(dir, indexStore, "LOGS"), 5))
		}, indexStore, []string{"LOGS", "damaged"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustStart(t, dir)
			mustStart(t, dir)
			c.harm(t, dir)
			before := files(t, dir)
			_, err := started(t, dir)
			if err == nil {
				t.Fatal("the node started")
			}
			for _, w := range append(c.words, "--accept-data-loss="+c.store, "backup") {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not speak of %q", err, w)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			for _, other := range Stores() {
				if other != c.store {
					if _, err := started(t, dir, other); err == nil {
						t.Errorf("--accept-data-loss=%s was taken for %s", other, c.store)
					}
				}
			}
			after := files(t, dir)
			for path, size := range before {
				if after[path] != size {
					t.Errorf("a refused start changed %s from %d bytes to %d", path, size, after[path])
				}
			}
			if logged := mustStart(t, dir, c.store); !strings.Contains(logged, c.store) {
				t.Errorf("the log does not name the loss: %s", logged)
			}
			mustStart(t, dir)
		})
	}
}

// A directory from before the markers is taken over once, if all of its stores are there.
func TestDirectoryFromBeforeTheMarkers(t *testing.T) {
	before := func(t *testing.T) string {
		dir := t.TempDir()
		mustStart(t, dir)
		for _, pattern := range []string{"*/" + markerFile, "index/LOGS"} {
			found, err := filepath.Glob(filepath.Join(dir, pattern))
			must(t, err)
			for _, path := range found {
				must(t, os.Remove(path))
			}
		}
		d := &dataDir{path: dir}
		f, _, err := d.readRoot()
		must(t, err)
		_, err = store.NoteDirectory(t.Context(), "sqlite://"+filepath.Join(dir, "control.db"), f.Directory, "")
		must(t, err)
		d.root, err = f.open("")
		must(t, err)
		raw, err := sealRoot(d.root, "", marker{})
		must(t, err, os.WriteFile(filepath.Join(dir, rootKeyFile), raw, 0o600))
		return dir
	}
	dir := before(t)
	mustStart(t, dir)
	must(t, os.RemoveAll(filepath.Join(dir, indexStore)))
	if _, err := started(t, dir); err == nil {
		t.Error("the directory was taken over, and its index is not missed")
	}
	for _, name := range []string{indexStore, objectsStore, "control.db"} {
		dir := before(t)
		must(t, os.RemoveAll(filepath.Join(dir, name)))
		if _, err := started(t, dir); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("a directory without %s was taken over: %v", name, err)
		}
	}
}

// Losing what others depend on sets those aside: a service that does not find its metadata
// would remove what it holds.
func TestAcceptedLossRemovesNothing(t *testing.T) {
	dir := t.TempDir()
	mustStart(t, dir)
	segment := filepath.Join(dir, objectsStore, "0000000000000001.seg")
	must(t, os.WriteFile(segment, []byte("bytes"), 0o600))
	must(t, os.Remove(glob(t, dir, "index/marker.manifest.*")))
	before := files(t, dir)
	mustStart(t, dir, indexStore)
	after := slices.Collect(maps.Keys(files(t, dir)))
	for path := range before {
		if !strings.HasPrefix(path, "/index/") && !strings.HasPrefix(path, "/objects/") {
			continue
		}
		dir, file := filepath.Split(path)
		if !slices.ContainsFunc(after, func(p string) bool {
			return strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+".lost-") && filepath.Base(p) == file
		}) {
			t.Errorf("%s is not kept", path)
		}
	}
}

// A damaged root key opens nothing, so that each store looks damaged: the start names the key,
// and no store whose loss would be accepted in vain.
func TestDamagedRootKey(t *testing.T) {
	dir := t.TempDir()
	mustStart(t, dir)
	mustStart(t, dir)
	path := filepath.Join(dir, rootKeyFile)
	whole, err := os.ReadFile(path)
	must(t, err)
	var f rootFile
	must(t, json.Unmarshal(whole, &f))
	f.Key[7] ^= 1
	flipped, err := json.Marshal(f)
	must(t, err)
	for name, raw := range map[string][]byte{"flipped": flipped, "cut": whole[:30], "empty": nil} {
		must(t, os.WriteFile(path, raw, 0o600))
		before := files(t, dir)
		for _, accept := range [][]string{nil, {indexStore}, Stores()} {
			_, err := started(t, dir, accept...)
			if err == nil || !strings.Contains(err.Error(), rootKeyFile) || !strings.Contains(err.Error(), "backup") || strings.Contains(err.Error(), "accept-data-loss") {
				t.Errorf("%s, accepting %v: %v", name, accept, err)
			}
		}
		if after := files(t, dir); !maps.Equal(before, after) {
			t.Errorf("%s: the refused starts changed %v to %v", name, before, after)
		}
	}
	// A key from before the check gets it with the next start.
	f.Key[7] ^= 1
	f.Check = nil
	raw, err := json.Marshal(f)
	must(t, err, os.WriteFile(path, raw, 0o600))
	mustStart(t, dir)
	raw, err = os.ReadFile(path)
	must(t, err, json.Unmarshal(raw, &f))
	if len(f.Check) == 0 {
		t.Error("the root key has no check")
	}
}

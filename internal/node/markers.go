package node

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
)

// The stores of a data directory, by the names that --accept-data-loss takes. All but the
// control store are directories of that name.
const (
	controlStore = "control"
	indexStore   = "index"
	streamsStore = "streams"
	objectsStore = "objects"
)

// Stores returns the stores whose loss can be accepted.
func Stores() []string { return []string{controlStore, indexStore, streamsStore, objectsStore} }

// lostWith says what cannot be read without a store.
var lostWith = map[string]string{ //nolint:gochecknoglobals // a table
	controlStore: "identities, keys, buckets, streams, routes and tables, and all that their keys seal",
	indexStore:   "all objects and tables, the progress of deliveries, reference data and audit entries",
	streamsStore: "the records of all streams",
	objectsStore: "the contents of all objects and tables",
}

// aside are the stores that are of no use without another one. Where that is lost they are
// kept aside: a service that does not find its metadata would remove what it holds.
var aside = map[string][]string{ //nolint:gochecknoglobals // a table
	controlStore: {indexStore, streamsStore, objectsStore},
	indexStore:   {objectsStore},
}

// marker is what a data directory's root key, its database and each of its stores know of
// it: its id, and which stores were made.
type marker struct {
	Directory string   `json:"directory,omitempty"`
	Stores    []string `json:"stores,omitempty"`
}

// markerFile is in each store that is a directory.
const markerFile = "directory.json"

func (m marker) knows(name string) bool { return slices.Contains(m.Stores, name) }

func (d *dataDir) dir(name string) string { return filepath.Join(d.path, name) }

// errMarkerDamaged: of which directory the store is cannot be read.
var errMarkerDamaged = errors.New("the marker of a store is damaged")

func (d *dataDir) readMarker(name string) (m marker, err error) {
	raw, err := os.ReadFile(filepath.Join(d.dir(name), markerFile))
	if errors.Is(err, os.ErrNotExist) || err == nil && len(raw) == 0 {
		return m, nil
	}
	if err == nil && json.Unmarshal(raw, &m) != nil {
		return marker{}, errMarkerDamaged
	}
	if err != nil {
		return m, fmt.Errorf("cannot read %s: %w", filepath.Join(d.dir(name), markerFile), err)
	}
	return m, nil
}

// loss is a store that is not as it was left.
type loss struct {
	store string // whose loss is to be accepted
	file  string
	what  string
}

func (l *loss) Error() string {
	return fmt.Sprintf("%s %s. Nothing was changed: restore it from a backup of the data directory and start again; --accept-data-loss=%s starts without it, and with it go %s",
		l.file, strings.TrimSuffix(l.what, "."), l.store, lostWith[l.store])
}

// check refuses a data directory of which a store is missing, damaged, or of another
// directory, before anything is opened that would make a new one in its place. It changes
// nothing that --accept-data-loss does not name.
func (d *dataDir) check(ctx context.Context, c *Config, log *slog.Logger) error {
	for _, name := range c.AcceptDataLoss {
		if !slices.Contains(Stores(), name) {
			return config.Invalid.Field("accept-data-loss", "--accept-data-loss names a store: %s, not %q", strings.Join(Stores(), ", "), name)
		}
	}
	seen := d.mark
	others := map[string]int{}
	for _, name := range []string{indexStore, streamsStore, objectsStore} {
		m, err := d.readMarker(name)
		if errors.Is(err, errMarkerDamaged) {
			continue // it is found with its store
		}
		if err != nil {
			return err
		}
		others[m.Directory]++
		if seen.Directory == "" {
			seen.Directory = m.Directory // root.key is of a backup from before the markers
		}
		if m.Directory == seen.Directory {
			seen.Stores = append(seen.Stores, m.Stores...)
		}
	}
	delete(others, "")
	if mine := d.mark.Directory; mine != "" && others[mine] == 0 && len(others) == 1 {
		for id := range others {
			return fmt.Errorf("%s holds the root key of another data directory (%s), and the stores beside it are of %s: restore the root key of that one, without it nothing can be read",
				d.dir(rootKeyFile), mine, id)
		}
	}
	slices.Sort(seen.Stores)
	seen.Stores = slices.Compact(seen.Stores)
	if seen.Directory == "" {
		seen.Stores = d.before(c)
		seen.Directory = rand.Text()
		log.Info("the data directory is from before the markers: its stores are marked as they are found", "directory", d.path)
		d.mark.Stores = seen.Stores
	}
	adopt := d.mark.Directory == ""
	d.mark = seen
	for _, name := range Stores() {
		for range 2 + maxSalvage { // again after each repair
			l, err := d.lost(ctx, c, name, adopt)
			if err != nil {
				return err
			}
			if l == nil {
				break
			}
			if !slices.Contains(c.AcceptDataLoss, l.store) {
				return l
			}
			if err := d.accept(ctx, c, l, log); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxSalvage bounds how many logs of an index are repaired.
const maxSalvage = 64

// before returns the stores that a directory from before the markers must have: all of
// them, but for those that come with the first stream or object.
func (d *dataDir) before(c *Config) []string {
	stores := []string{indexStore}
	if c.local() {
		stores = append(stores, controlStore, objectsStore)
	}
	if there(d.dir(streamsStore)) {
		stores = append(stores, streamsStore)
	}
	return stores
}

func there(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// lost looks at one store.
func (d *dataDir) lost(ctx context.Context, c *Config, name string, adopt bool) (*loss, error) {
	if name == controlStore {
		return d.lostControl(ctx, c)
	}
	m, err := d.readMarker(name)
	dir := d.dir(name)
	if errors.Is(err, errMarkerDamaged) {
		return &loss{name, filepath.Join(dir, markerFile), "is damaged: of which data directory the store is cannot be read"}, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case m.Directory != "" && m.Directory != d.mark.Directory:
		return &loss{name, dir, "is of another data directory (" + m.Directory + ", and this one is " + d.mark.Directory + ")"}, nil
	case !d.mark.knows(name):
		return nil, nil
	case !there(dir):
		return &loss{name, dir, "is missing"}, nil
	case m.Directory == "" && !adopt:
		return &loss{name, filepath.Join(dir, markerFile), "is missing: the directory was emptied, or is another one"}, nil
	case name != indexStore:
		return nil, nil
	}
	found, err := kv.Inspect(d.index(nil))
	if found == nil || err != nil {
		return nil, err
	}
	return &loss{name, found.File, found.What}, nil
}

func (d *dataDir) lostControl(ctx context.Context, c *Config) (*loss, error) {
	path := store.Path(c.Store.URL)
	known := d.mark.knows(controlStore)
	if path != "" {
		if !known && !there(path) {
			return nil, nil // a first start
		}
		if known || there(path+"-wal") {
			found, err := store.Inspect(path)
			if err != nil {
				return nil, err
			}
			if found != nil && (known || found.Partial()) && !slices.Contains(d.accepted, found.File) {
				return &loss{controlStore, found.File, found.What}, nil
			}
		}
	}
	if !c.local() {
		return nil, nil // what the database describes is on another node
	}
	id, err := store.Identify(ctx, c.Store.URL, nil)
	if err != nil {
		return nil, err
	}
	where := cmp.Or(path, "the database of store.url")
	switch {
	case id.Directory == "" && !id.Used && known:
		return &loss{controlStore, where, "is empty, and this directory's stores were written with one that was not"}, nil
	case id.Directory != "" && id.Directory != d.mark.Directory && c.Cluster.Enabled:
		missing := []string{indexStore, streamsStore, objectsStore}
		if !slices.ContainsFunc(missing, func(s string) bool { return !slices.Contains(c.AcceptDataLoss, s) }) {
			return nil, d.noteControl(ctx, c.Store.URL, true)
		}
		return nil, fmt.Errorf("the cluster's catalogue was written over the data directory %s, and %s is %s: the objects, records and tables that it lists are not here. Set cluster.data_node to the node that has that directory, or move the directory to this one; --accept-data-loss=%s starts without them",
			id.Directory, d.path, d.mark.Directory, strings.Join(missing, ","))
	case id.Directory != "" && id.Directory != d.mark.Directory:
		return &loss{controlStore, where, "is of another data directory (" + id.Directory + ", and this one is " + d.mark.Directory + ")"}, nil
	case id.Directory == "" && id.Describes && !there(d.dir(indexStore)) && !slices.Contains(c.AcceptDataLoss, indexStore):
		return nil, fmt.Errorf("the control store lists buckets or streams, and %s holds none of their contents. Start on the data directory that has them; --accept-data-loss=%s starts without %s",
			d.path, indexStore, lostWith[indexStore])
	}
	return nil, nil
}

// noteControl notes this directory in the control store.
func (d *dataDir) noteControl(ctx context.Context, url string, replace bool) error {
	id, err := store.Identify(ctx, url, nil)
	if err != nil || id.Directory == d.mark.Directory {
		return err
	}
	if id.Directory != "" && !replace {
		return fmt.Errorf("the control store has been taken by the data directory %s meanwhile", id.Directory)
	}
	noted, err := store.NoteDirectory(ctx, url, id.Directory, d.mark.Directory)
	if err == nil && !noted {
		err = errors.New("the control store was taken by another data directory at this moment: start again")
	}
	return err
}

// accept makes the directory usable without what is lost. It removes nothing: what is in
// the way is renamed.
func (d *dataDir) accept(ctx context.Context, c *Config, l *loss, log *slog.Logger) error {
	suffix := ".lost-" + time.Now().UTC().Format("20060102T150405")
	log.Warn("starting with a loss of data, as --accept-data-loss says", "store", l.store, "file", l.file, "loss", l.what)
	if l.store == controlStore {
		path := store.Path(c.Store.URL)
		if path != "" && there(path) {
			if found, err := store.Inspect(path); err != nil {
				return err
			} else if found != nil && found.Partial() {
				d.accepted = append(d.accepted, found.File) // SQLite goes on to what is bad
				return keepCopy(found.File, found.File+suffix)
			}
		}
		for _, p := range []string{path, path + "-wal", path + "-shm", d.dir("credentials")} {
			if err := setAside(p, suffix); err != nil {
				return err
			}
		}
		if path == "" {
			if err := d.noteControl(ctx, c.Store.URL, true); err != nil {
				return err
			}
		}
	}
	if l.store == indexStore && there(d.dir(indexStore)) {
		found, err := kv.Inspect(d.index(nil))
		if err != nil {
			return err
		}
		if found != nil && found.Partial() {
			keep := d.dir(indexStore + suffix)
			if err := segment.MakeDir(keep); err != nil {
				return err
			}
			return kv.Salvage(d.index(nil), found, keep)
		}
	}
	for _, name := range append([]string{l.store}, aside[l.store]...) {
		if name != controlStore {
			if err := setAside(d.dir(name), suffix); err != nil {
				return err
			}
		}
		d.mark.Stores = slices.DeleteFunc(d.mark.Stores, func(s string) bool { return s == name })
	}
	return d.writeMarkers()
}

func setAside(path, suffix string) error {
	if !there(path) {
		return nil
	}
	if err := os.Rename(path, path+suffix); err != nil {
		return fmt.Errorf("cannot set %s aside: %w", path, err)
	}
	return segment.SyncDir(filepath.Dir(path))
}

func keepCopy(from, to string) error {
	raw, err := os.ReadFile(from)
	if err == nil {
		err = writeFile(to, raw)
	}
	return err
}

// index is how the index of this directory is opened.
func (d *dataDir) index(log *slog.Logger) kv.Config {
	return kv.Config{Dir: d.dir(indexStore), Key: d.key("index"), Log: log, Exists: d.mark.knows(indexStore)}
}

// openIndex opens the index for a command, which accepts no loss of it.
func (d *dataDir) openIndex() (*kv.DB, error) {
	c := d.index(nil)
	if c.Exists {
		found, err := kv.Inspect(c)
		if err != nil {
			return nil, err
		}
		if found != nil {
			return nil, &loss{indexStore, found.File, found.What}
		}
	}
	return kv.Open(c)
}

// unopened is the error of a store that could not be opened.
func (d *dataDir) unopened(name string, err error) error {
	if kv.Corrupt.Is(err) {
		return &loss{name, d.dir(name), "cannot be opened: " + err.Error()}
	}
	return err
}

// opened marks the stores that are open, and makes the directories of the others.
func (d *dataDir) opened(ctx context.Context, c *Config) error {
	made := []string{indexStore}
	if c.local() {
		if err := d.noteControl(ctx, c.Store.URL, false); err != nil {
			return err
		}
		made = append(made, controlStore, streamsStore, objectsStore)
		for _, name := range []string{streamsStore, objectsStore} {
			if err := segment.MakeDir(d.dir(name)); err != nil {
				return err
			}
		}
	}
	return d.keep(made...)
}

// keep marks stores as made.
func (d *dataDir) keep(names ...string) error {
	for _, name := range names {
		if !d.mark.knows(name) {
			d.mark.Stores = append(d.mark.Stores, name)
		}
	}
	slices.Sort(d.mark.Stores)
	return d.writeMarkers()
}

// writeMarkers brings all markers up to date; those that are stay as they are.
func (d *dataDir) writeMarkers() error {
	for _, name := range []string{indexStore, streamsStore, objectsStore} { // before root.key makes them known
		if !d.mark.knows(name) {
			continue
		}
		have, err := d.readMarker(name)
		if err != nil {
			return err
		}
		if have.Directory == d.mark.Directory && slices.Equal(have.Stores, d.mark.Stores) {
			continue
		}
		raw, err := json.Marshal(d.mark)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(d.dir(name), markerFile), raw); err != nil {
			return err
		}
	}
	path := filepath.Join(d.path, rootKeyFile)
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read the root key: %w", err)
	}
	var f rootFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return errRootDamaged
	}
	if f.Directory == d.mark.Directory && slices.Equal(f.Stores, d.mark.Stores) && len(f.Check) > 0 {
		return nil
	}
	f.marker, f.Check = d.mark, checkOf(d.root)
	if raw, err = json.Marshal(f); err != nil {
		return err
	}
	return writeFile(path, raw)
}

// startRoom is what must be free to start: the index and the control store write a little
// when they are opened.
const startRoom = 4 << 20

// roomToStart refuses to start on a disk that is full, where each part of the node would
// fail for itself.
func roomToStart(dir string) error {
	free, err := segment.Free(dir)
	if err != nil {
		return err
	}
	if free < startRoom {
		return fmt.Errorf("the disk of the data directory %s is full: %d KiB are free, and a start needs %d; free some space or enlarge the file system", dir, free>>10, startRoom>>10)
	}
	return nil
}

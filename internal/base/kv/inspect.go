package kv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"

	"sluice.dev/sluice/internal/base/segment"
)

// Damage is what is wrong with the files of a map that is not open.
type Damage struct {
	File string // its path
	What string // is wrong, and what that costs
	// cut is the byte of the contents of a log where what is good of it ends; -1 if the map
	// cannot be opened at all.
	cut int64
	// spare says that the file holds no entries, and that the map opens without it.
	spare bool
}

func (d *Damage) Error() string { return d.File + " " + d.What }

// Partial reports whether Salvage makes the map usable again, with a part of its entries.
func (d *Damage) Partial() bool { return d.spare || d.cut >= 0 }

// Inspect looks at the files of a map that is known to exist, and changes nothing. Pebble
// itself takes a missing or a cut manifest for a map that is new or old, and then removes
// the files that only the lost part knew.
func Inspect(c Config) (*Damage, error) { return inspectOn(vfs.Default, c) }

func inspectOn(disk vfs.FS, c Config) (*Damage, error) {
	k, err := c.keys()
	if err != nil {
		return nil, err
	}
	i := inspection{disk: disk, fs: &cryptFS{FS: disk, key: k.files}, dir: c.Dir}
	return i.run()
}

type inspection struct {
	disk vfs.FS
	fs   *cryptFS
	dir  string
}

const lostAll = "nothing of the index can be read without it: object names and versions, delivery progress, reference data and audit entries"

func (i *inspection) run() (*Damage, error) {
	names, err := i.disk.List(i.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("kv: %w", err)
	}
	if len(names) == 0 {
		return &Damage{i.dir, "is missing or empty: " + lostAll, -1, false}, nil
	}
	for _, marker := range []string{"manifest", "format-version"} {
		value, err := atomicfs.ReadMarker(i.disk, i.dir, marker)
		if err != nil || value == "" {
			return &Damage{filepath.Join(i.dir, "marker."+marker+".*"), "is missing: " + lostAll, -1, false}, nil //nolint:nilerr // a name that cannot be parsed is damage
		}
		if marker != "manifest" {
			continue
		}
		path := filepath.Join(i.dir, value)
		if d, err := i.manifest(path, names); d != nil || err != nil {
			return d, err
		}
	}
	return i.options(names)
}

// options looks at the newest file of Pebble's options, which it reads.
func (i *inspection) options(names []string) (*Damage, error) {
	newest := ""
	for _, name := range names {
		if strings.HasPrefix(name, "OPTIONS-") && name > newest {
			newest = name
		}
	}
	if newest == "" {
		return nil, nil
	}
	path := filepath.Join(i.dir, newest)
	f, err := i.fs.Open(path)
	if errors.Is(err, errForeign) {
		return &Damage{path, "has a damaged header: no entry of the index is in it, but the index cannot be opened while it is there", -1, true}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("kv: %w", err)
	}
	return nil, f.Close()
}

// contents reads a whole file.
func (i *inspection) contents(path string) ([]byte, error) {
	f, err := i.fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	return io.ReadAll(f)
}

// unread is the damage of a file that cannot be read, or an error if the disk is to blame.
func unread(path string, err error) (*Damage, error) {
	if errors.Is(err, os.ErrNotExist) {
		return &Damage{path, "is missing: " + lostAll, -1, false}, nil
	}
	if errors.Is(err, errForeign) {
		return &Damage{path, "has a damaged header: " + lostAll, -1, false}, nil
	}
	return nil, fmt.Errorf("kv: %w", err)
}

func (i *inspection) manifest(path string, names []string) (*Damage, error) {
	raw, err := i.contents(path)
	if err != nil {
		return unread(path, err)
	}
	m := read(raw, 0, true)
	switch {
	case len(m.records) == 0:
		return &Damage{path, "is empty, cut or damaged: " + lostAll, -1, false}, nil
	case m.proof >= 0:
		return &Damage{path, fmt.Sprintf("is damaged at byte %d, with valid records behind: %s", m.bad+headSize, lostAll), -1, false}, nil
	}
	least := minLog(m.records)
	logs := logsOf(names)
	known, err := readLogs(i.disk, i.dir)
	if errors.Is(err, errNoLogs) {
		return &Damage{filepath.Join(i.dir, logsFile), "is damaged: no entry of the index is in it, but without it nothing notices a log that is missing", -1, true}, nil
	}
	if err != nil {
		return nil, err
	}
	if known.Gone >= least && known.Gone > 0 {
		return &Damage{path, fmt.Sprintf("is cut at byte %d: it names logs that were not needed any more, and does not name the tables that they became; Pebble would remove those", len(raw)+headSize), -1, false}, nil
	}
	for _, n := range known.Logs {
		if n < least || slices.Contains(logs, n) {
			continue
		}
		if m.bad >= 0 {
			return &Damage{path, fmt.Sprintf("is cut at byte %d: it does not name the tables that its newest logs became; Pebble would remove those", m.bad+headSize), -1, false}, nil
		}
		return &Damage{filepath.Join(i.dir, logName(n)), "is missing: the writes to the index that only it holds are lost, and objects, deliveries and reference data with them", 0, false}, nil
	}
	logs = slices.DeleteFunc(logs, func(n uint64) bool { return n < least })
	for k, n := range logs {
		if d, err := i.log(n, k == len(logs)-1); d != nil || err != nil {
			return d, err
		}
	}
	return nil, nil
}

func (i *inspection) log(n uint64, newest bool) (*Damage, error) {
	path := filepath.Join(i.dir, logName(n))
	raw, err := i.contents(path)
	if errors.Is(err, errForeign) {
		return &Damage{path, "has a damaged header: the newest writes to the index are lost, and objects, deliveries and reference data with them", 0, false}, nil
	}
	if err != nil {
		return unread(path, err)
	}
	r := read(raw, uint32(n), false)
	if r.bad < 0 || r.proof < 0 && newest {
		return nil, nil // closed, or torn by a crash: what is bad was never acknowledged
	}
	return &Damage{path, fmt.Sprintf("is damaged at byte %d: acknowledged writes to the index at and behind it cannot be read, and objects, deliveries and reference data with them", r.bad+headSize), int64(r.good), false}, nil
}

func logName(n uint64) string { return fmt.Sprintf("%06d.log", n) }

// logsOf returns the numbers of the logs among a directory's files, in order.
func logsOf(names []string) (logs []uint64) {
	for _, name := range names {
		if digits, ok := strings.CutSuffix(name, ".log"); ok {
			if n, err := strconv.ParseUint(digits, 10, 64); err == nil {
				logs = append(logs, n)
			}
		}
	}
	slices.Sort(logs)
	return logs
}

// Salvage makes a map with partial damage usable, for what can still be read of it: it puts
// the damaged log into the directory aside, and leaves the good part in its place.
func Salvage(c Config, d *Damage, aside string) error {
	if !d.Partial() {
		return errors.New("kv: " + d.Error())
	}
	name := filepath.Base(d.File)
	raw, err := os.ReadFile(d.File)
	if errors.Is(err, os.ErrNotExist) { // an empty one takes its place
		return segment.ReplaceFile(d.File, nil)
	}
	if err != nil {
		return fmt.Errorf("kv: %w", err)
	}
	if err := segment.ReplaceFile(filepath.Join(aside, name), raw); err != nil {
		return fmt.Errorf("kv: %w", err)
	}
	if d.spare {
		if err := os.Remove(d.File); err != nil {
			return fmt.Errorf("kv: %w", err)
		}
		return segment.SyncDir(filepath.Dir(d.File))
	}
	if d.cut == 0 {
		return os.Truncate(d.File, 0)
	}
	return os.Truncate(d.File, d.cut+headSize)
}

// logsFile holds what is known of the map's logs.
const logsFile = "LOGS"

// logs is what is written before a new log takes its first entry.
type logs struct {
	Logs []uint64 `json:"logs"` // those there were
	Gone uint64   `json:"gone"` // the newest that was there once and is not needed any more
}

// errNoLogs says that the list of the logs cannot be read.
var errNoLogs = errors.New("the list of the index's logs is damaged")

func readLogs(disk vfs.FS, dir string) (l logs, err error) {
	f, err := disk.Open(disk.PathJoin(dir, logsFile))
	if errors.Is(err, os.ErrNotExist) {
		return l, nil // of a version before
	}
	if err != nil {
		return l, fmt.Errorf("kv: %w", err)
	}
	defer func() { _ = f.Close() }() // read only
	raw, err := io.ReadAll(f)
	if err == nil && json.Unmarshal(raw, &l) != nil {
		err = errNoLogs
	}
	if err != nil {
		return l, fmt.Errorf("kv: reading %s: %w", disk.PathJoin(dir, logsFile), err)
	}
	return l, nil
}

func writeLogs(disk vfs.FS, dir string, l logs) error {
	raw, err := json.Marshal(l)
	if err != nil {
		return err
	}
	path := disk.PathJoin(dir, logsFile)
	f, err := disk.Create(path+".new", vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := disk.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := disk.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// noteLog is what Pebble calls when it has made a log and before it writes to it. A log
// that Pebble removed meanwhile was not needed: a manifest that needs it is an old one.
func (db *DB) noteLog(disk vfs.FS, dir string, info pebble.WALCreateInfo) {
	if info.Err != nil {
		return
	}
	names, err := disk.List(dir)
	if err == nil {
		var l logs
		if l, err = readLogs(disk, dir); err == nil {
			there := logsOf(names)
			for _, n := range l.Logs {
				if !slices.Contains(there, n) {
					l.Gone = max(l.Gone, n)
				}
			}
			l.Logs = there
			err = writeLogs(disk, dir, l)
		}
	}
	if err != nil {
		db.log.Warn("index: cannot note a new log; if it were lost, that would not be noticed", "log", logName(uint64(info.FileNum)), "error", err)
	}
}

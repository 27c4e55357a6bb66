package kv

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sluice.dev/sluice/internal/base/fault"
)

// Faults of this package.
var (
	Corrupt  = &fault.Reason{Kind: fault.Corrupt, Name: "CorruptIndex"}
	DiskFull = &fault.Reason{Kind: fault.Exhausted, Name: "DiskFull"}
)

// Config says where the map is.
type Config struct {
	Dir   string
	Key   [32]byte
	Cache int64 // bytes of block cache; 16 MiB if zero
	Log   *slog.Logger
	// Exists says that the map was made before: Open then makes no new one in its place.
	Exists bool
}

// DB is an open map. It is safe for concurrent use.
type DB struct {
	p    *pebble.DB
	aead cipher.AEAD
	log  *slog.Logger
	stop func()

	mu      sync.Mutex
	damaged map[string]bool // paths of files that Pebble found damaged
}

// Open opens the map, or creates it unless it is known to exist. Inspect one that does
// before.
func Open(c Config) (*DB, error) { return openOn(vfs.Default, c) }

type keys struct{ files, values []byte }

func (c Config) keys() (k keys, err error) {
	if k.files, err = hkdf.Key(sha256.New, c.Key[:], nil, "sluice kv files", 32); err != nil {
		return k, err
	}
	k.values, err = hkdf.Key(sha256.New, c.Key[:], nil, "sluice kv values", 32)
	return k, err
}

func openOn(disk vfs.FS, c Config) (*DB, error) {
	if c.Cache == 0 {
		c.Cache = 16 << 20
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	k, err := c.keys()
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k.values)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	db := &DB{aead: aead, log: c.Log, damaged: map[string]bool{}}
	ctx, stop := context.WithCancel(context.Background())
	db.stop = stop
	pace := newPace(c.Log)
	opts := &pebble.Options{
		FS:               &slowFS{&cryptFS{FS: disk, key: k.files}, pace, ctx},
		CacheSize:        c.Cache,
		MemTableSize:     8 << 20,
		Logger:           logger{c.Log},
		ErrorIfNotExists: c.Exists,
		EventListener: &pebble.EventListener{
			WALCreated:     func(info pebble.WALCreateInfo) { db.noteLog(disk, c.Dir, info) },
			DataCorruption: db.noteDamage, // Pebble's own would end the process
		},
	}
	pace.listen(opts.EventListener)
	opts.Levels[0].FilterPolicy = bloom.FilterPolicy(10)
	opts.FormatMajorVersion = pebble.FormatNewest
	// The first log of a new map does not tell what is durable, as its format is raised only
	// when it is there: such a map is closed and opened again.
	desc, err := pebble.Peek(c.Dir, opts.FS)
	fresh := err != nil || !desc.Exists
	opts.Experimental.CompactionScheduler = newScheduler(pace)
	if db.p, err = pebble.Open(c.Dir, opts); err == nil && fresh {
		if err = db.p.Close(); err == nil {
			opts.Experimental.CompactionScheduler = newScheduler(pace)
			db.p, err = pebble.Open(c.Dir, opts)
		}
	}
	if err != nil {
		stop()
		return nil, fmt.Errorf("kv: opening the index %s: %w", c.Dir, db.classify(err))
	}
	return db, nil
}

// noteDamage reports a damaged file, once. What is read from it is an error; the rest of
// the map is served.
func (db *DB) noteDamage(info pebble.DataCorruptionInfo) {
	db.mu.Lock()
	known := db.damaged[info.Path]
	db.damaged[info.Path] = true
	db.mu.Unlock()
	if !known {
		db.log.Error("the index is damaged: entries in this file cannot be read, and what needs them fails; the rest is served. Restore the data directory from a backup, or delete and write again what fails",
			"file", info.Path, "error", fmt.Sprint(info.Details))
	}
}

// Damaged returns the files that were found damaged since the map was opened.
func (db *DB) Damaged() []string {
	db.mu.Lock()
	defer db.mu.Unlock()
	return slices.Sorted(maps.Keys(db.damaged))
}

// Close flushes and closes.
func (db *DB) Close() error {
	db.stop() // before: it waits for the flush under way
	return db.p.Close()
}

func (db *DB) seal(key, value []byte) []byte {
	out := make([]byte, 12, 12+len(value)+16)
	_, _ = rand.Read(out) // never fails
	return db.aead.Seal(out, out, value, key)
}

func (db *DB) open(key, sealed []byte) ([]byte, error) {
	if len(sealed) < 12 {
		return nil, Corrupt.New("an entry of the index is cut short")
	}
	plain, err := db.aead.Open(nil, sealed[:12], sealed[12:], key)
	if err != nil {
		return nil, Corrupt.Wrap(err, "an entry of the index is damaged")
	}
	return plain, nil
}

// Get returns the value under key.
func (db *DB) Get(key []byte) (value []byte, ok bool, err error) {
	sealed, closer, err := db.p.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, db.classify(err)
	}
	value, err = db.open(key, sealed)
	return value, err == nil, errors.Join(err, closer.Close())
}

// Range bounds a scan: keys of [Low, High), or from the end with Reverse.
type Range struct {
	Low, High []byte
	Reverse   bool
}

// Prefix is the range of all keys that begin with p.
func Prefix(p []byte) Range { return Range{Low: p, High: After(p)} }

// After returns the smallest key greater than every key with prefix p, nil if there is none.
func After(p []byte) []byte {
	for i := len(p) - 1; i >= 0; i-- {
		if p[i] < 0xff {
			next := append([]byte(nil), p[:i+1]...)
			next[i]++
			return next
		}
	}
	return nil
}

// Entry is a key with its value. Key is valid until the scan goes on; Value is the receiver's.
type Entry struct{ Key, Value []byte }

// Scan yields the entries of r as they were when it began. An error ends it.
func (db *DB) Scan(ctx context.Context, r Range) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		it, err := db.p.NewIterWithContext(ctx, &pebble.IterOptions{LowerBound: r.Low, UpperBound: r.High})
		if err != nil {
			yield(Entry{}, db.classify(err))
			return
		}
		defer func() { _ = it.Close() }() // it.Error below is the one that counts
		step, ok := it.Next, false
		if r.Reverse {
			step, ok = it.Prev, it.Last()
		} else {
			ok = it.First()
		}
		for ; ok; ok = step() {
			sealed, err := it.ValueAndErr()
			if err != nil {
				yield(Entry{}, db.classify(err))
				return
			}
			value, err := db.open(it.Key(), sealed)
			if !yield(Entry{Key: it.Key(), Value: value}, err) || err != nil {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Entry{}, db.classify(err))
		}
	}
}

// Batch is a set of writes that happen together. It is not safe for concurrent use. It ends
// with Commit, CommitUnsynced or Discard; a Discard of a batch that has ended does nothing.
type Batch struct {
	db *DB
	b  *pebble.Batch // nil once the batch has ended: Pebble then gives it to the next caller
}

// errEnded is the mistake of a caller that writes through a batch after its end.
var errEnded = errors.New("kv: the batch has ended: it was committed or discarded")

// NewBatch returns an empty batch. Every batch ends with Commit or Discard.
func (db *DB) NewBatch() *Batch { return &Batch{db: db, b: db.p.NewBatch()} }

// pebble returns the batch to write to.
func (b *Batch) pebble() *pebble.Batch {
	if b.b == nil {
		panic(errEnded)
	}
	return b.b
}

// take ends the batch for its owner: whoever calls this is the last to use what it returns.
func (b *Batch) take() *pebble.Batch {
	p := b.b
	b.b = nil
	return p
}

// Set puts value under key.
func (b *Batch) Set(key, value []byte) {
	_ = b.pebble().Set(key, b.db.seal(key, value), nil) // a plain batch in memory never fails
}

// Delete removes key if it is there.
func (b *Batch) Delete(key []byte) { _ = b.pebble().Delete(key, nil) } // never fails, as Set

// DeleteRange removes the keys of [low, high).
func (b *Batch) DeleteRange(low, high []byte) { _ = b.pebble().DeleteRange(low, high, nil) } // never fails, as Set

// Commit applies the batch; it is durable on return.
func (b *Batch) Commit() error { return b.finish(pebble.Sync) }

// CommitUnsynced applies the batch without waiting for the disk: a crash may undo it.
func (b *Batch) CommitUnsynced() error { return b.finish(pebble.NoSync) }

func (b *Batch) finish(o *pebble.WriteOptions) error {
	p := b.take()
	if p == nil {
		return errEnded
	}
	err := p.Commit(o)
	return b.db.classify(errors.Join(err, p.Close()))
}

// Discard drops the batch, unless it has ended: it may be deferred before a Commit.
func (b *Batch) Discard() {
	if p := b.take(); p != nil {
		_ = p.Close() // nothing was written
	}
}

// Set puts one value durably.
func (db *DB) Set(key, value []byte) error {
	b := db.NewBatch()
	b.Set(key, value)
	return b.Commit()
}

// Delete removes one key durably.
func (db *DB) Delete(key []byte) error {
	b := db.NewBatch()
	b.Delete(key)
	return b.Commit()
}

func (db *DB) classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC):
		return DiskFull.Wrap(err, "the disk is full: nothing was written")
	case pebble.IsCorruptionError(err):
		if files := db.Damaged(); len(files) > 0 {
			return Corrupt.New("the index is damaged: entries in %s cannot be read", strings.Join(files, ", "))
		}
		text, _, _ := strings.Cut(err.Error(), "\n") // Pebble's details are for its developers
		return Corrupt.New("the index is damaged: %s", text)
	}
	return err
}

// logger passes on what Pebble has to say, which is detail except for errors.
type logger struct{ log *slog.Logger }

func (l logger) Infof(format string, args ...any) {
	l.log.Debug("kv", "event", fmt.Sprintf(format, args...))
}
func (l logger) Errorf(format string, args ...any) {
	l.log.Error("kv", "event", fmt.Sprintf(format, args...))
}

// Fatalf is what Pebble calls when its log can no longer be written; going on would
// acknowledge what is not durable.
func (l logger) Fatalf(format string, args ...any) {
	l.log.Error("kv: cannot go on", "event", fmt.Sprintf(format, args...))
	panic("kv: " + fmt.Sprintf(format, args...))
}

package streams

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/segment"
)

// maxFrame is where entries of one group stop sharing a batch.
const maxFrame = 1 << 20

// beginsGroup is the flag of the first frame of those that were made durable together. A
// write that a power cut tore is the last group of its file; a bad frame before the
// beginning of another group was durable once, and is damage.
const beginsGroup = 1

// rollAfter is how long a segment is written to at most, so that its records can expire.
const rollAfter = time.Hour

// indexEvery is how many bytes of a segment lie between two entries of its index.
const indexEvery = 64 << 10

// shard is one open log.
type shard struct {
	s   *Service
	id  shardID
	dir string

	commits *segment.Committer[*entry]

	mu       sync.RWMutex
	segments []*logFile    // by base offset; the last one may be the active one
	end      int64         // the next offset; everything below is durable
	grown    chan struct{} // closed and replaced when end grows
	gone     chan struct{} // closed when the shard is
	closing  sync.Once

	// Owned by the committer's goroutine.
	active *segment.File
	begun  time.Time // the active segment
	key    *segment.Key
	frame  []byte
	batch  []byte
}

// entry is one call's records on their way to the disk. One without records begins a new
// segment, so that the present one can expire.
type entry struct {
	records []*Record
	bytes   int64
	catalog bool // it only has the catalog written
}

func (sh *shard) context() []byte {
	return []byte("stream " + sh.id.stream + "/" + strconv.Itoa(sh.id.index))
}

// openShard finds where the log ends. It reads the last segment only.
func openShard(s *Service, id shardID, dir string) (*shard, error) {
	if err := segment.MakeDir(dir); err != nil {
		return nil, fmt.Errorf("streams: %w", err)
	}
	sh := &shard{s: s, id: id, dir: dir, grown: make(chan struct{}), gone: make(chan struct{})}
	entries, err := os.ReadDir(dir) // sorted by name, which is by base offset
	if err != nil {
		return nil, fmt.Errorf("streams: %w", err)
	}
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), ".seg")
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(base, 10, 64)
		if err != nil {
			continue
		}
		sh.segments = append(sh.segments, &logFile{base: n, path: filepath.Join(dir, e.Name())})
	}
	list, err := readCatalog(dir)
	if err != nil {
		return nil, err
	}
	for len(sh.segments) > 0 {
		last := sh.segments[len(sh.segments)-1]
		if slices.ContainsFunc(list, func(l listed) bool { return l.Base == last.base && l.End > 0 }) {
			// It was finished, so no crash has left it: what is wrong with it is damage.
			if _, err := last.open(); err != nil {
				s.deps.Log.Error("streams: a segment cannot be opened: its records are lost, and reading them is an error until they would have expired; restore it from a backup of the data directory",
					"segment", last.path, "error", err)
				last.lost = true
				break
			}
		}
		end, torn, err := last.recover()
		if err != nil && errors.Is(err, errHeaderless) && len(sh.segments) > 0 {
			// The crash came before the header was durable, so nothing in it was acknowledged.
			if err := os.Remove(last.path); err != nil {
				return nil, fmt.Errorf("streams: %w", err)
			}
			sh.segments = sh.segments[:len(sh.segments)-1]
			sh.end = last.base
			continue
		}
		if err != nil {
			return nil, err
		}
		if torn > 0 {
			s.deps.Log.Info("streams: cut off what a crash left unfinished", "segment", last.path, "bytes", torn)
		}
		sh.end = max(sh.end, end)
		break
	}
	sh.compare(list)
	sh.end = max(sh.end, sh.listedEnd())
	sh.commits = segment.NewCommitter[*entry](segment.LogConfig{}, sh)
	return sh, nil
}

// Write is the committer's target: it gives the entries their offsets, seals them as
// frames, and makes them durable.
func (sh *shard) Write(entries []*entry) error {
	bytes, roll := int64(0), false
	for _, e := range entries {
		bytes += e.bytes
		roll = roll || len(e.records) == 0 && !e.catalog
	}
	if slices.ContainsFunc(entries, func(e *entry) bool { return e.catalog }) {
		if err := sh.writeCatalog(); err != nil {
			return err
		}
		if entries = slices.DeleteFunc(entries, func(e *entry) bool { return e.catalog }); len(entries) == 0 {
			return nil
		}
	}
	if err := sh.s.deps.Guard.Take(bytes); err != nil {
		return err
	}
	now := sh.s.deps.Clock.Now()
	if sh.active != nil && (roll || sh.active.Size() >= sh.s.cfg.SegmentBytes || now.Sub(sh.begun) > rollAfter) {
		sh.finish()
	}
	entries = slices.DeleteFunc(entries, func(e *entry) bool { return len(e.records) == 0 })
	if sh.active == nil {
		if err := sh.begin(); err != nil {
			return err
		}
	} else if err := sh.unlocked(); err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	sh.mu.RLock()
	lf, next := sh.segments[len(sh.segments)-1], sh.end
	sh.mu.RUnlock()

	start := sh.active.Size()
	type placed struct {
		h  segment.Header
		at int64
	}
	var frames []placed
	sh.frame = sh.frame[:0]
	for i := 0; i < len(entries); {
		records, bytes := entries[i].records, entries[i].bytes
		j := i + 1
		for ; j < len(entries) && bytes+entries[j].bytes <= maxFrame; j++ {
			if j == i+1 {
				records = slices.Clone(records)
			}
			records = append(records, entries[j].records...)
			bytes += entries[j].bytes
		}
		i = j
		newest := int64(0)
		for k, r := range records {
			r.Offset = next + int64(k)
			if r.Time.IsZero() {
				r.Time = now
			}
			newest = max(newest, r.Time.UnixMilli())
		}
		sh.batch = appendBatch(sh.batch[:0], next, records)
		h := segment.Header{Seq: uint64(next), Time: newest, Count: uint32(len(records))}
		if len(frames) == 0 {
			h.Flags = beginsGroup
		}
		at := start + int64(len(sh.frame))
		sh.frame = sh.key.Append(sh.frame, h, sh.context(), sh.batch)
		frames = append(frames, placed{h, at})
		next += int64(len(records))
	}
	_, err := sh.active.Append(sh.frame)
	if err == nil {
		err = sh.active.Sync()
	}
	if err != nil {
		sh.abandon(lf, start)
		return err
	}
	lf.mu.Lock()
	for _, p := range frames {
		lf.note(p.h, p.at)
	}
	lf.size = sh.active.Size()
	lf.mu.Unlock()
	sh.mu.Lock()
	sh.end = next
	close(sh.grown)
	sh.grown = make(chan struct{})
	sh.mu.Unlock()
	if cap(sh.frame) > 4<<20 { // one huge group must not hold its memory for ever
		sh.frame, sh.batch = nil, nil
	}
	return nil
}

// unlocked fails if the active segment's data key may no longer be used.
func (sh *shard) unlocked() error {
	sh.mu.RLock()
	lf := sh.segments[len(sh.segments)-1]
	sh.mu.RUnlock()
	_, err := sh.s.deps.Keys.OpenDataKey(context.Background(), lf.wrapped, sh.context())
	return err
}

// begin makes a new active segment with a new data key.
func (sh *shard) begin() error {
	plain, wrapped, err := sh.s.deps.Keys.NewDataKey(context.Background(), sh.context())
	if err != nil {
		return err
	}
	sh.mu.RLock()
	base := sh.end
	sh.mu.RUnlock()
	path := filepath.Join(sh.dir, segmentName(base))
	sh.mu.Lock()
	if n := len(sh.segments); n > 0 && sh.segments[n-1].base == base {
		// An empty segment of an earlier start: no acknowledged record is in it.
		old := sh.segments[n-1]
		sh.segments = sh.segments[:n-1]
		old.close()
		if err := os.Remove(path); err != nil {
			sh.mu.Unlock()
			return segment.Broken.Wrap(err, "the disk did not take the write")
		}
	}
	sh.mu.Unlock()
	w, err := segment.Create(path, wrapped, 0)
	if err != nil {
		return err
	}
	now := sh.s.deps.Clock.Now()
	lf := &logFile{listed: listed{Base: base, Begun: now.UnixMilli()}, base: base, path: path, indexed: true, size: w.Size()}
	if _, err := lf.open(); err != nil {
		return errors.Join(err, w.Discard())
	}
	sh.mu.Lock()
	sh.segments = append(sh.segments, lf)
	sh.mu.Unlock()
	if err := sh.writeCatalog(); err != nil {
		sh.mu.Lock()
		sh.segments = sh.segments[:len(sh.segments)-1]
		sh.mu.Unlock()
		lf.close()
		return errors.Join(err, w.Discard())
	}
	sh.active, sh.begun, sh.key = w, now, segment.NewKey(plain)
	return nil
}

// finish closes the active segment; the next write begins another.
func (sh *shard) finish() {
	if err := sh.active.Finish(); err != nil {
		sh.s.deps.Log.Error("streams: closing a segment", "dir", sh.dir, "error", err)
	} else {
		sh.mu.Lock()
		lf := sh.segments[len(sh.segments)-1]
		lf.listed.Size, lf.listed.End = sh.active.Size(), sh.end
		sh.mu.Unlock()
		if err := sh.writeCatalog(); err != nil {
			sh.s.deps.Log.Warn("streams: cannot note a finished segment; if its end were lost, that would not be noticed", "segment", lf.path, "error", err)
		}
	}
	sh.active, sh.key = nil, nil
}

// abandon gives up the active segment after a failed write, cut back to what is durable.
func (sh *shard) abandon(lf *logFile, size int64) {
	if err := sh.active.CutBack(size); err != nil {
		sh.s.deps.Log.Error("streams: cannot cut back a failed write; what it left is not acknowledged", "segment", lf.path, "error", err)
	}
	sh.finish()
}

func (sh *shard) append(ctx context.Context, records []*Record) error {
	e := &entry{records: records}
	for _, r := range records {
		e.bytes += int64(len(r.Key)+len(r.Value)) + 32
	}
	return sh.commits.Append(ctx, e, e.bytes)
}

// bounds returns the oldest offset that is kept and the next one.
func (sh *shard) bounds() (oldest, end int64) {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if len(sh.segments) == 0 {
		return sh.end, sh.end
	}
	return sh.segments[0].base, sh.end
}

// wait returns when the shard's end is past offset, or when ctx or the shard ends.
func (sh *shard) wait(ctx context.Context, offset int64) error {
	for {
		sh.mu.RLock()
		end, grown := sh.end, sh.grown
		sh.mu.RUnlock()
		if end > offset {
			return nil
		}
		select {
		case <-grown:
		case <-sh.gone:
			return segment.Closed.New("the shard is closed")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expire removes the segments whose newest record is older than before.
func (sh *shard) expire(ctx context.Context, before time.Time) error {
	for {
		sh.mu.RLock()
		n, end := len(sh.segments), sh.end
		var lf *logFile
		if n > 0 {
			lf = sh.segments[0]
		}
		sh.mu.RUnlock()
		if lf == nil {
			return nil
		}
		newest, err := lf.newestTime()
		if err != nil {
			return err
		}
		if !time.UnixMilli(newest).Before(before) || n == 1 && lf.base == end {
			return nil
		}
		if n == 1 {
			// The last segment tells where the shard ends: another one must do so first.
			if err := sh.commits.Append(ctx, &entry{}, 0); err != nil {
				return err
			}
			continue
		}
		sh.mu.Lock()
		sh.segments = sh.segments[1:]
		sh.mu.Unlock()
		lf.close()
		// The catalog first: a segment that it does not list is not missed.
		if err := sh.commits.Append(ctx, &entry{catalog: true}, 0); err != nil {
			return err
		}
		if err := os.Remove(lf.path); err != nil && !(lf.lost && errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("streams: %w", err)
		}
	}
}

// close writes what is queued and closes the files. It returns when that is done, also when
// another call does it.
func (sh *shard) close() {
	sh.closing.Do(func() {
		sh.commits.Close()
		if sh.active != nil {
			sh.finish()
		}
		close(sh.gone)
		sh.mu.Lock()
		defer sh.mu.Unlock()
		for _, lf := range sh.segments {
			lf.close()
		}
	})
}

package streams

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	// Owned by the committer's goroutine.
	active *segment.File
	key    *segment.Key
	frame  []byte
	batch  []byte
}

// entry is one call's records on their way to the disk.
type entry struct {
	records []*Record
	bytes   int64
}

// logFile is a segment as readers see it.
type logFile struct {
	base    int64
	path    string
	wrapped []byte // its data key
	first   int64  // position of the first frame

	mu      sync.Mutex
	f       *os.File // open while it is read
	indexed bool
	index   []mark
	size    int64 // of the written part, for the active segment
	newest  int64 // time of the newest record, milliseconds
}

// mark is a place in a segment: at position, a frame begins with offset.
type mark struct {
	offset   int64
	position int64
	time     int64 // of the newest record up to here
}

func (sh *shard) context() []byte {
	return []byte("stream " + sh.id.stream + "/" + strconv.Itoa(sh.id.index))
}

// openShard finds where the log ends. It reads the last segment only.
func openShard(s *Service, id shardID, dir string) (*shard, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("streams: %w", err)
	}
	sh := &shard{s: s, id: id, dir: dir, grown: make(chan struct{})}
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
	for len(sh.segments) > 0 {
		last := sh.segments[len(sh.segments)-1]
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
	sh.commits = segment.NewCommitter[*entry](segment.LogConfig{}, sh)
	return sh, nil
}

var errHeaderless = errors.New("streams: segment without a header")

// recover reads a segment through, checks every frame and cuts off a torn end.
func (lf *logFile) recover() (end, torn int64, err error) {
	f, err := lf.open()
	if err != nil {
		if st, serr := os.Stat(lf.path); serr == nil && st.Size() < 64 {
			return 0, 0, errHeaderless
		}
		if empty, rerr := zeroed(lf.path); rerr == nil && empty {
			return 0, 0, errHeaderless
		}
		return 0, 0, err
	}
	end = lf.base
	at := lf.first
	var buf []byte
	for {
		h, frame, err := segment.ReadFrame(f, at, buf)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// A torn write is the last thing in a file. Whole frames behind it mean damage instead:
			// keep the place, so that reading it says so and what follows is served.
			if next, herr := segment.ReadHeader(f, at); herr == nil && lf.wholeAt(f, at+next.Len(), next) {
				h, frame = next, nil
			} else {
				break
			}
		}
		if frame != nil {
			buf = frame
		}
		lf.note(h, at)
		end = int64(h.Seq) + int64(h.Count)
		at += h.Len()
	}
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	lf.size, lf.indexed = at, true
	if st.Size() > at {
		// Truncating also gives back what was allocated and not used.
		if err := os.Truncate(lf.path, at); err != nil {
			return 0, 0, fmt.Errorf("streams: %w", err)
		}
		if h, err := segment.ReadHeader(f, at); err == nil {
			torn = h.Len()
		}
	}
	return end, torn, nil
}

// wholeAt reports whether a valid frame that follows prev stands at off.
func (lf *logFile) wholeAt(f *os.File, off int64, prev segment.Header) bool {
	h, _, err := segment.ReadFrame(f, off, nil)
	return err == nil && h.Seq == prev.Seq+uint64(prev.Count)
}

func zeroed(path string) (bool, error) {
	b := make([]byte, 64)
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // read only
	if _, err := io.ReadFull(f, b); err != nil {
		return false, err
	}
	return !slices.ContainsFunc(b, func(c byte) bool { return c != 0 }), nil
}

// open opens the file and reads its header, once.
func (lf *logFile) open() (*os.File, error) {
	if lf.f != nil {
		return lf.f, nil
	}
	f, meta, first, err := segment.Open(lf.path)
	if err != nil {
		return nil, err
	}
	lf.f, lf.first, lf.wrapped = f, first, append([]byte(nil), meta...)
	return f, nil
}

// note adds a frame to the index if the last entry is far enough back.
func (lf *logFile) note(h segment.Header, at int64) {
	lf.newest = max(lf.newest, h.Time)
	if n := len(lf.index); n == 0 || at-lf.index[n-1].position >= indexEvery {
		lf.index = append(lf.index, mark{offset: int64(h.Seq), position: at, time: lf.newest})
	}
}

// Write is the committer's target: it gives the entries their offsets, seals them as
// frames, and makes them durable.
func (sh *shard) Write(entries []*entry) error {
	if err := sh.s.deps.Guard.Check(); err != nil {
		return err
	}
	if sh.active != nil && sh.active.Size() >= sh.s.cfg.SegmentBytes {
		sh.finish()
	}
	if sh.active == nil {
		if err := sh.begin(); err != nil {
			return err
		}
	} else if err := sh.unlocked(); err != nil {
		return err
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
	now := sh.s.deps.Clock.Now()
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
	path := filepath.Join(sh.dir, fmt.Sprintf("%020d.seg", base))
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
	lf := &logFile{base: base, path: path, indexed: true, size: w.Size()}
	if _, err := lf.open(); err != nil {
		return errors.Join(err, w.Discard())
	}
	sh.active, sh.key = w, segment.NewKey(plain)
	sh.mu.Lock()
	sh.segments = append(sh.segments, lf)
	sh.mu.Unlock()
	return nil
}

// finish closes the active segment; the next write begins another.
func (sh *shard) finish() {
	if err := sh.active.Finish(); err != nil {
		sh.s.deps.Log.Error("streams: closing a segment", "dir", sh.dir, "error", err)
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

// wait returns when the shard's end is past offset, or when ctx ends.
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
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// expire removes the segments whose newest record is older than before.
func (sh *shard) expire(before time.Time) error {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for len(sh.segments) > 1 {
		lf := sh.segments[0]
		newest, err := lf.newestTime()
		if err != nil {
			return err
		}
		if !time.UnixMilli(newest).Before(before) {
			return nil
		}
		if err := os.Remove(lf.path); err != nil {
			return fmt.Errorf("streams: %w", err)
		}
		lf.close()
		sh.segments = sh.segments[1:]
	}
	return nil
}

func (lf *logFile) newestTime() (int64, error) {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if err := lf.load(); err != nil {
		return 0, err
	}
	return lf.newest, nil
}

func (lf *logFile) close() {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if lf.f != nil {
		_ = lf.f.Close() // read only
		lf.f = nil
	}
}

func (sh *shard) close() {
	sh.commits.Close()
	if sh.active != nil {
		sh.finish()
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for _, lf := range sh.segments {
		lf.close()
	}
}

package streams

import (
	"context"
	"errors"
	"io"
	"os"
	"sort"

	"sluice.dev/sluice/internal/base/segment"
)

// load builds the index of a segment that an earlier start wrote, from its frame headers.
// The caller holds lf.mu.
func (lf *logFile) load() error {
	f, err := lf.open()
	if err != nil || lf.indexed {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	for at := lf.first; at < st.Size(); {
		h, err := segment.ReadHeader(f, at)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return segment.Damage(err, lf.path, at)
		}
		lf.note(h, at)
		at += h.Len()
		lf.size = at
	}
	lf.indexed = true
	return nil
}

// seek returns where to begin to look for offset.
func (lf *logFile) seek(offset int64) (f *os.File, at, size int64, err error) {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if err := lf.load(); err != nil {
		return nil, 0, 0, err
	}
	i := sort.Search(len(lf.index), func(i int) bool { return lf.index[i].offset > offset })
	at = lf.first
	if i > 0 {
		at = lf.index[i-1].position
	}
	return lf.f, at, lf.size, nil
}

// seekTime returns a position at or before the first record of time t or later.
func (lf *logFile) seekTime(t int64) (f *os.File, at, size int64, err error) {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if err := lf.load(); err != nil {
		return nil, 0, 0, err
	}
	i := sort.Search(len(lf.index), func(i int) bool { return lf.index[i].time >= t })
	at = lf.first
	if i > 0 {
		at = lf.index[i-1].position
	}
	return lf.f, at, lf.size, nil
}

// bounds of one read.
type readLimit struct {
	records int
	bytes   int
	before  int64 // stop at this offset; 0 for the end
}

// read returns records from offset on, at least one if there is one, and the offset to
// go on from. It passes over nothing: a damaged frame is an error.
func (sh *shard) read(ctx context.Context, offset int64, limit readLimit) (out []Record, next int64, err error) {
	next = offset
	bytes := 0
	for {
		lf, end := sh.fileOf(next)
		if lf == nil || next >= end {
			return out, next, nil
		}
		if limit.before > 0 {
			end = min(end, limit.before)
		}
		key, err := sh.s.deps.Keys.OpenDataKey(ctx, lf.wrappedKey(), sh.context())
		if err != nil {
			return nil, offset, err
		}
		f, at, size, err := lf.seek(next)
		if err != nil {
			return nil, offset, err
		}
		sealed := segment.NewKey(key)
		for at < size && next < end {
			h, err := segment.ReadHeader(f, at)
			if err == nil && int64(h.Seq)+int64(h.Count) <= next {
				at += h.Len()
				continue
			}
			records, err := sh.readFrame(f, lf, at, sealed)
			if err != nil {
				if len(out) > 0 {
					return out, next, nil // what came before is good; the next read says it
				}
				return nil, offset, err
			}
			at += h.Len()
			for _, r := range records {
				if r.Offset < next {
					continue
				}
				if r.Offset >= end || len(out) > 0 && (len(out) == limit.records || bytes+len(r.Key)+len(r.Value) > limit.bytes) {
					return out, next, nil
				}
				out = append(out, r)
				bytes += len(r.Key) + len(r.Value)
				next = r.Offset + 1
			}
		}
		if next >= end {
			return out, next, nil
		}
		if following := sh.fileBehind(lf); following > next {
			next = following // the offsets between were never acknowledged
		} else {
			return out, next, nil
		}
	}
}

func (sh *shard) readFrame(f *os.File, lf *logFile, at int64, key *segment.Key) ([]Record, error) {
	_, frame, err := segment.ReadFrame(f, at, nil)
	if err != nil {
		return nil, segment.Damage(err, lf.path, at)
	}
	batch, err := key.Open(nil, frame, sh.context())
	if err != nil {
		return nil, segment.Damage(err, lf.path, at)
	}
	records, err := readBatch(batch)
	if err != nil {
		return nil, segment.Damage(err, lf.path, at)
	}
	return records, nil
}

func (lf *logFile) wrappedKey() []byte {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if _, err := lf.open(); err != nil {
		return nil // seek says it
	}
	return lf.wrapped
}

// fileOf returns the segment that holds offset, or the oldest one behind it.
func (sh *shard) fileOf(offset int64) (*logFile, int64) {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if len(sh.segments) == 0 {
		return nil, sh.end
	}
	i := sort.Search(len(sh.segments), func(i int) bool { return sh.segments[i].base > offset })
	return sh.segments[max(i-1, 0)], sh.end
}

// fileBehind returns the base offset of the segment behind lf, 0 if there is none.
func (sh *shard) fileBehind(lf *logFile) int64 {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	for i, other := range sh.segments {
		if other == lf && i+1 < len(sh.segments) {
			return sh.segments[i+1].base
		}
	}
	return 0
}

// offsetAt returns the offset of the first record of time t (milliseconds) or later.
func (sh *shard) offsetAt(ctx context.Context, t int64) (int64, error) {
	sh.mu.RLock()
	segments, end := append([]*logFile(nil), sh.segments...), sh.end
	sh.mu.RUnlock()
	for _, lf := range segments {
		newest, err := lf.newestTime()
		if err != nil {
			return 0, err
		}
		if newest < t {
			continue
		}
		key, err := sh.s.deps.Keys.OpenDataKey(ctx, lf.wrappedKey(), sh.context())
		if err != nil {
			return 0, err
		}
		f, at, size, err := lf.seekTime(t)
		if err != nil {
			return 0, err
		}
		for at < size {
			h, err := segment.ReadHeader(f, at)
			if err != nil {
				return 0, segment.Damage(err, lf.path, at)
			}
			if h.Time >= t {
				records, err := sh.readFrame(f, lf, at, segment.NewKey(key))
				if err != nil {
					return 0, err
				}
				for _, r := range records {
					if r.Time.UnixMilli() >= t {
						return r.Offset, nil
					}
				}
			}
			at += h.Len()
		}
	}
	return end, nil
}

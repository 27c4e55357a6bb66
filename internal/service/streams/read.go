package streams

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"

	"sluice.dev/sluice/internal/base/segment"
)

// bounds of one read.
type readLimit struct {
	records int
	bytes   int
	before  int64 // stop at this offset; 0 for the end
}

// read returns records from offset on, at least one if there is one, and the offset to
// go on from. It passes over nothing: a damaged or missing frame is an error.
func (sh *shard) read(ctx context.Context, offset int64, limit readLimit) (out []Record, next int64, err error) {
	next = offset
	for size := 0; ; {
		lf, until, end := sh.fileOf(next)
		if limit.before > 0 {
			end = min(end, limit.before)
		}
		if lf == nil || next >= end {
			return out, next, nil
		}
		next = max(next, lf.base) // what was before it has expired
		full := false
		err := sh.readFile(ctx, lf, next, min(until, end), func(r Record) bool {
			if len(out) > 0 && (len(out) == limit.records || size+len(r.Key)+len(r.Value) > limit.bytes) {
				full = true
				return false
			}
			out = append(out, r)
			size += len(r.Key) + len(r.Value)
			next = r.Offset + 1
			return true
		})
		switch {
		case errors.Is(err, errGone) && !sh.closed():
			continue // it expired meanwhile
		case errors.Is(err, errGone):
			return nil, offset, segment.Closed.New("the shard is closed")
		case err != nil && len(out) == 0:
			return nil, offset, err
		case err != nil || full:
			return out, next, nil // what came before is good; the next read says what is wrong
		}
	}
}

// readFile gives the records of [next, until), all of which the segment should have, to
// take until it has enough.
func (sh *shard) readFile(ctx context.Context, lf *logFile, next, until int64, take func(Record) bool) error {
	v, err := lf.view(func(m mark) bool { return m.offset <= next })
	if err != nil {
		return err
	}
	defer v.release()
	raw, err := sh.s.deps.Keys.OpenDataKey(ctx, v.wrapped, sh.context())
	if err != nil {
		return err
	}
	key := segment.NewKey(raw)
	at, offset := v.at, v.offset // of the frame to read
	for offset < until {
		h, err := segment.ReadHeader(v.f, at)
		if at >= v.size || err == nil && int64(h.Seq) != offset {
			err = fmt.Errorf("the records from %d on are not where they belong", offset)
		}
		if err != nil {
			return segment.Damage(err, lf.path, at)
		}
		behind := offset + int64(h.Count)
		if behind > next {
			records, err := sh.readFrame(v.f, lf, at, key)
			if err != nil {
				return err
			}
			for _, r := range records {
				if r.Offset >= next && r.Offset < until && !take(r) {
					return nil
				}
			}
		}
		at, offset = at+h.Len(), behind
	}
	return nil
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

// fileOf returns the segment that holds offset, or the oldest one behind it, the offset
// up to which it should have records, and the shard's end.
func (sh *shard) fileOf(offset int64) (lf *logFile, until, end int64) {
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if len(sh.segments) == 0 {
		return nil, sh.end, sh.end
	}
	i := sort.Search(len(sh.segments), func(i int) bool { return sh.segments[i].base > offset })
	i = max(i-1, 0)
	until = sh.end
	if i+1 < len(sh.segments) {
		until = sh.segments[i+1].base
	}
	return sh.segments[i], until, sh.end
}

func (sh *shard) closed() bool {
	select {
	case <-sh.gone:
		return true
	default:
		return false
	}
}

// offsetAt returns the offset of the first record of time t (milliseconds) or later.
func (sh *shard) offsetAt(ctx context.Context, t int64) (int64, error) {
	sh.mu.RLock()
	segments, end := slices.Clone(sh.segments), sh.end
	sh.mu.RUnlock()
	for _, lf := range segments {
		offset, found, err := sh.offsetIn(ctx, lf, t)
		if errors.Is(err, errGone) {
			continue // it expired meanwhile
		}
		if err != nil || found {
			return offset, err
		}
	}
	return end, nil
}

func (sh *shard) offsetIn(ctx context.Context, lf *logFile, t int64) (offset int64, found bool, err error) {
	newest, err := lf.newestTime()
	if err != nil || newest < t {
		return 0, false, err
	}
	v, err := lf.view(func(m mark) bool { return m.time < t })
	if err != nil {
		return 0, false, err
	}
	defer v.release()
	raw, err := sh.s.deps.Keys.OpenDataKey(ctx, v.wrapped, sh.context())
	if err != nil {
		return 0, false, err
	}
	key := segment.NewKey(raw)
	for at := v.at; at < v.size; {
		h, err := segment.ReadHeader(v.f, at)
		if err != nil {
			return 0, false, segment.Damage(err, lf.path, at)
		}
		if h.Time >= t {
			records, err := sh.readFrame(v.f, lf, at, key)
			if err != nil {
				return 0, false, err
			}
			for _, r := range records {
				if r.Time.UnixMilli() >= t {
					return r.Offset, true, nil
				}
			}
		}
		at += h.Len()
	}
	return 0, false, nil
}

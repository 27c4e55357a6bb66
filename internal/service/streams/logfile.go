package streams

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"

	"sluice.dev/sluice/internal/base/segment"
)

// logFile is a segment as readers see it.
type logFile struct {
	listed  listed // guarded by the shard's lock
	base    int64
	lost    bool  // it is in the catalog and not on the disk
	latest  int64 // when it was written to at the latest, milliseconds; 0 if that is not known
	path    string
	wrapped []byte // its data key
	first   int64  // position of the first frame

	mu      sync.Mutex
	f       *os.File
	readers int
	gone    bool // closed as soon as nobody reads it
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

// errGone says that a segment expired, or that its shard was closed.
var errGone = errors.New("streams: the segment is gone")

var errHeaderless = errors.New("streams: segment without a header")

// recover reads a segment through, checks every frame and cuts off a torn end. Damage
// before it keeps its place, so that reading it says so and what is behind is served.
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
	st, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	var buf []byte
	at, end := lf.walk(f, st.Size(), true, func(at int64) (h segment.Header, err error) {
		var frame []byte
		if h, frame, err = segment.ReadFrame(f, at, buf); err == nil {
			buf = frame
		}
		return h, err
	})
	if st.Size() > at {
		if h, err := segment.ReadHeader(f, at); err == nil {
			torn = h.Len()
		}
		// Truncating also gives back what was allocated and not used.
		if err := os.Truncate(lf.path, at); err != nil {
			return 0, 0, fmt.Errorf("streams: %w", err)
		}
	}
	return end, torn, nil
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

// walk reads frames from the first on and indexes them, and returns where the last one ends
// and which offset comes next. A frame that read does not accept, or that does not follow
// the one before it, is passed over to the next good one. In the last file of a shard, open,
// the file ends there unless a group begins behind it: then it is not torn but damaged.
func (lf *logFile) walk(f *os.File, size int64, open bool, read func(at int64) (segment.Header, error)) (at, next int64) {
	type place struct{ at, next, marks int64 }
	var doubt *place // where what is not known to be damage begins
	at, next = lf.first, lf.base
	prev, last := at-1, next-1 // the frame before: only its header may have been read, and its length be wrong
	for at < size {
		h, err := read(at)
		if err != nil || int64(h.Seq) != next || at+h.Len() > size {
			if open && doubt == nil {
				doubt = &place{at, next, int64(len(lf.index))}
			}
			found, header, ok := segment.Find(f, prev+1, size, func(h segment.Header) bool {
				return h.Flags <= beginsGroup && h.Count > 0 && int64(h.Seq) > last && int64(h.Seq)-last < 1<<40
			})
			if !ok {
				break
			}
			at, next, h = found, int64(header.Seq), header
			lf.index = append(lf.index, mark{offset: next, position: at, time: max(lf.newest, h.Time)})
		}
		if h.Flags&beginsGroup != 0 {
			doubt = nil
		}
		lf.note(h, at)
		prev, last = at, next
		next += int64(h.Count)
		at += h.Len()
	}
	if doubt != nil {
		at, next, lf.index = doubt.at, doubt.next, lf.index[:doubt.marks]
	}
	lf.size, lf.indexed = at, true
	return at, next
}

// load indexes a segment that an earlier start wrote, from its frame headers. The caller
// holds lf.mu.
func (lf *logFile) load() error {
	f, err := lf.open()
	if err != nil || lf.indexed {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	lf.walk(f, st.Size(), false, func(at int64) (segment.Header, error) { return segment.ReadHeader(f, at) })
	return nil
}

// open opens the file and reads its header, once. The caller holds lf.mu, or is alone.
func (lf *logFile) open() (*os.File, error) {
	if lf.gone {
		return nil, errGone
	}
	if lf.lost {
		return nil, segment.Corrupt.New("segment %s is missing, and its records are lost", filepath.Base(lf.path))
	}
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

// view is a place in a segment that is being read. Release it.
type view struct {
	lf      *logFile
	f       *os.File
	wrapped []byte
	at      int64 // where to begin
	offset  int64 // of the frame there
	size    int64 // of the written part
}

// view opens the segment at the last mark that before accepts; marks are in order.
func (lf *logFile) view(before func(mark) bool) (view, error) {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if err := lf.load(); err != nil {
		return view{}, err
	}
	v := view{lf: lf, f: lf.f, wrapped: lf.wrapped, at: lf.first, offset: lf.base, size: lf.size}
	if i := sort.Search(len(lf.index), func(i int) bool { return !before(lf.index[i]) }); i > 0 {
		v.at, v.offset = lf.index[i-1].position, lf.index[i-1].offset
	}
	lf.readers++
	return v, nil
}

func (v view) release() {
	v.lf.mu.Lock()
	defer v.lf.mu.Unlock()
	v.lf.readers--
	v.lf.closeUnread()
}

func (lf *logFile) newestTime() (int64, error) {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	if lf.lost {
		return lf.latest, nil
	}
	err := lf.load()
	if segment.Corrupt.Is(err) && lf.latest > 0 {
		return lf.latest, nil // what cannot be read expires with what was written beside it
	}
	return lf.newest, err
}

// close closes the file as soon as nobody reads it. It is not opened again.
func (lf *logFile) close() {
	lf.mu.Lock()
	defer lf.mu.Unlock()
	lf.gone = true
	lf.closeUnread()
}

func (lf *logFile) closeUnread() {
	if lf.gone && lf.readers == 0 && lf.f != nil {
		_ = lf.f.Close() // read only
		lf.f = nil
	}
}

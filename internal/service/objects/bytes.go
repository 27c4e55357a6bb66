package objects

import (
	"bytes"
	"context"
	"crypto/hkdf"
	"crypto/md5" //nolint:gosec // S3's ETag is an MD5; it protects nothing
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"sluice.dev/sluice/internal/base/segment"
)

const (
	frameBytes = 64 << 10 // of clear text in one frame
	ownAbove   = 1 << 20  // a part larger than this has a segment of its own
)

// bytesLog is where the frames of objects are: numbered segments, of which the newest
// common one is written to.
type bytesLog struct {
	dir     string
	max     int64
	deps    Deps
	commits *segment.Committer[*smallPart]

	clear sync.Pool // of *[ownAbove]byte: what uploads read into

	mu     sync.Mutex
	next   uint64
	pins   map[uint64]int  // segments being written, being read, or not yet in any metadata
	doomed map[uint64]bool // to be removed when their last pin goes

	// Owned by the committer's goroutine.
	active   *segment.File
	activeID uint64
	buf      []byte
}

// smallPart is the sealed frames of a part on their way into the common log.
type smallPart struct {
	frames  []byte
	segment uint64
	offset  int64
	fate    atomic.Int32
}

// The fates of a small part. One that was placed has a pin on its segment, which belongs to
// who waited for it; one that was left by its owner before that has none.
const (
	pending = iota
	placed
	left
)

func openBytes(c Config, d Deps) (*bytesLog, error) {
	l := &bytesLog{dir: c.Dir, max: c.SegmentBytes, deps: d, pins: map[uint64]int{}, doomed: map[uint64]bool{},
		clear: sync.Pool{New: func() any { return new([ownAbove]byte) }}}
	ids, err := l.segments()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		l.next = max(l.next, id)
	}
	l.next++ // a segment of an earlier start is never appended to
	l.commits = segment.NewCommitter[*smallPart](segment.LogConfig{}, l)
	return l, nil
}

func (l *bytesLog) path(id uint64) string { return filepath.Join(l.dir, fmt.Sprintf("%016x.seg", id)) }

func (l *bytesLog) segments() ([]uint64, error) {
	entries, err := os.ReadDir(l.dir)
	if err != nil {
		return nil, fmt.Errorf("objects: %w", err)
	}
	var ids []uint64
	for _, e := range entries {
		if hexID, ok := strings.CutSuffix(e.Name(), ".seg"); ok {
			if id, err := strconv.ParseUint(hexID, 16, 64); err == nil {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// claim numbers a new segment and pins it.
func (l *bytesLog) claim() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	id := l.next
	l.next++
	l.pins[id]++
	return id
}

// pin keeps segments from being removed until unpin.
func (l *bytesLog) pin(parts ...part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range parts {
		l.pins[p.Segment]++
	}
}

// unpin gives up pins of pin, claim or write. What was dropped meanwhile goes with the last.
func (l *bytesLog) unpin(parts ...part) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range parts {
		if l.pins[p.Segment]--; l.pins[p.Segment] > 0 {
			continue
		}
		delete(l.pins, p.Segment)
		if l.doomed[p.Segment] {
			delete(l.doomed, p.Segment)
			l.remove(p.Segment)
		}
	}
}

// pinned returns the segments that have a pin now.
func (l *bytesLog) pinned() map[uint64]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.pins)
}

// Write is the committer's target: small parts into the common log.
func (l *bytesLog) Write(parts []*smallPart) error {
	total := int64(0)
	for _, p := range parts {
		total += int64(len(p.frames))
	}
	if err := l.deps.Guard.Take(total); err != nil {
		return err
	}
	if l.active != nil && l.active.Size() >= l.max {
		l.finish()
	}
	if l.active == nil {
		id := l.claim()
		w, err := segment.Create(l.path(id), nil, 0)
		if err != nil {
			l.unpin(part{Segment: id})
			return err
		}
		l.active, l.activeID = w, id
	}
	start := l.active.Size()
	l.buf = l.buf[:0]
	for _, p := range parts {
		p.segment, p.offset = l.activeID, start+int64(len(l.buf))
		l.buf = append(l.buf, p.frames...)
	}
	_, err := l.active.Append(l.buf)
	if err == nil {
		err = l.active.Sync()
	}
	if err != nil {
		if cut := l.active.CutBack(start); cut != nil {
			l.deps.Log.Error("objects: cannot cut back a failed write", "error", cut)
		}
		l.finish()
		return err
	}
	for _, p := range parts {
		l.pin(part{Segment: p.segment})
		if !p.fate.CompareAndSwap(pending, placed) {
			l.unpin(part{Segment: p.segment})
		}
	}
	return nil
}

func (l *bytesLog) finish() {
	if err := l.active.Finish(); err != nil {
		l.deps.Log.Error("objects: closing a segment", "error", err)
	}
	l.unpin(part{Segment: l.activeID})
	l.active = nil
}

func (l *bytesLog) close() {
	l.commits.Close()
	if l.active != nil {
		l.finish()
	}
}

// partAEAD derives the key that seals a part's frames.
func partAEAD(dataKey [32]byte, salt []byte) (*segment.Key, error) {
	raw, err := hkdf.Key(sha256.New, dataKey[:], salt, "sluice object part", 32)
	if err != nil {
		return nil, err
	}
	return segment.NewKey([32]byte(raw)), nil
}

// written is a part that is on the disk and not yet in any metadata.
type written struct {
	part part
	md5  [md5.Size]byte
}

// write receives a body, seals it and makes it durable. The reader's own error, which a
// failed checksum or signature is, comes back as it is. The part is pinned: unpin it when
// metadata refers to it or it was dropped.
func (l *bytesLog) write(ctx context.Context, dataKey [32]byte, body io.Reader, limit int64) (w written, err error) {
	w.part.Salt = make([]byte, 16)
	_, _ = rand.Read(w.part.Salt) // never fails
	key, err := partAEAD(dataKey, w.part.Salt)
	if err != nil {
		return w, err
	}
	digest := md5.New() //nolint:gosec // see the import
	buffer := l.clear.Get().(*[ownAbove]byte)
	defer l.clear.Put(buffer)
	clear := buffer[:]
	var sealed []byte
	var own *segment.File
	var seq uint64
	fail := func(err error) (written, error) {
		if own != nil {
			err = errors.Join(err, own.Discard())
			l.unpin(w.part)
		}
		return w, err
	}
	for {
		n, done, err := fill(body, clear)
		if err != nil {
			return fail(err)
		}
		if !done && own == nil { // a body of just the buffer's size is not larger than it
			var next [1]byte
			m, _, err := fill(body, next[:])
			if err != nil {
				return fail(err)
			}
			if done = m == 0; !done {
				body = io.MultiReader(bytes.NewReader(next[:]), body)
			}
		}
		if err := ctx.Err(); err != nil {
			return fail(err)
		}
		if w.part.Size += int64(n); w.part.Size > limit {
			return fail(TooLarge.New("Your proposed upload exceeds the maximum allowed size"))
		}
		_, _ = digest.Write(clear[:n]) // never fails
		sealed = slices.Grow(sealed[:0], int(frameLength(int64(n))))
		for at := 0; at < n; at += frameBytes {
			sealed = key.Append(sealed, segment.Header{Seq: seq}, w.part.Salt, clear[at:min(at+frameBytes, n)])
			seq++
		}
		if done && own == nil {
			break
		}
		if own == nil {
			if err := l.deps.Guard.Check(); err != nil {
				return fail(err)
			}
			w.part.Own, w.part.Segment = true, l.claim()
			if own, err = segment.CreateUnsynced(l.path(w.part.Segment), nil, 0); err != nil {
				l.unpin(w.part)
				return w, err
			}
			w.part.Offset = own.Size()
		}
		if len(sealed) > 0 {
			if err := l.deps.Guard.Take(int64(len(sealed))); err != nil {
				return fail(err)
			}
			if _, err := own.Append(sealed); err != nil {
				return fail(err)
			}
		}
		if done {
			break
		}
	}
	if own != nil {
		if err := own.Finish(); err != nil {
			return fail(segment.Broken.Wrap(err, "the disk did not take the write"))
		}
	} else if w.part.Size > 0 {
		p := &smallPart{frames: sealed}
		if err := l.place(ctx, p); err != nil {
			return w, err
		}
		w.part.Segment, w.part.Offset = p.segment, p.offset
	} else {
		w.part.Segment = l.claim() // nothing is written; every part has its pin
	}
	digest.Sum(w.md5[:0])
	return w, nil
}

// place appends a small part to the common log and leaves it pinned.
func (l *bytesLog) place(ctx context.Context, p *smallPart) error {
	err := l.commits.Append(ctx, p, int64(len(p.frames)))
	if err != nil && !p.fate.CompareAndSwap(pending, left) {
		l.unpin(part{Segment: p.segment}) // it was placed after all, and nobody will refer to it
	}
	return err
}

// fill reads until p is full or the body ends. Only io.EOF itself is an end: a body that was
// cut off says io.ErrUnexpectedEOF, which io.ReadFull could not tell from a short one.
func fill(body io.Reader, p []byte) (n int, done bool, err error) {
	for idle := 0; n < len(p); {
		m, err := body.Read(p[n:])
		n += m
		switch {
		case err == io.EOF:
			return n, true, nil
		case err != nil:
			return n, false, err
		case m > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return n, false, io.ErrNoProgress
			}
		}
	}
	return n, false, nil
}

// drop removes a part's own segment, as soon as nobody reads it any more.
func (l *bytesLog) drop(p part) {
	if !p.Own {
		return // the reclaimer gives back the space of the common log
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pins[p.Segment] > 0 {
		l.doomed[p.Segment] = true
		return
	}
	l.remove(p.Segment)
}

// remove deletes a segment's file. A crash before it leaves it to the reclaimer.
func (l *bytesLog) remove(id uint64) {
	if err := os.Remove(l.path(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		l.deps.Log.Error("objects: cannot remove a segment", "segment", filepath.Base(l.path(id)), "error", err)
	}
}

func etagOf(sum [md5.Size]byte) string { return hex.EncodeToString(sum[:]) }

// reader streams the bytes [from, to) of a run of parts, which it has pinned: an object that
// is replaced or deleted is read to its end by who began before.
type reader struct {
	l       *bytesLog
	name    string // of the object, for errors
	dataKey [32]byte
	pins    []part // given up by Close
	parts   []part
	from    int64 // what is left of the range, relative to parts[0]
	left    int64

	f     *os.File
	key   *segment.Key
	frame []byte // read buffer
	clear []byte // decrypted buffer
	ready []byte // what of clear is not given out yet
}

// read takes over the caller's pins of the parts.
func (l *bytesLog) read(object string, dataKey [32]byte, parts []part, from, length int64) *reader {
	pins := parts
	for len(parts) > 0 && from >= parts[0].Size {
		from -= parts[0].Size
		parts = parts[1:]
	}
	return &reader{l: l, name: object, dataKey: dataKey, pins: pins, parts: parts, from: from, left: length}
}

// Read gives out the next bytes.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.left == 0 {
		return 0, io.EOF
	}
	if len(r.ready) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.ready[:min(int64(len(r.ready)), r.left)])
	r.ready = r.ready[n:]
	r.left -= int64(n)
	return n, nil
}

// fill decrypts the frame that holds the next byte.
func (r *reader) fill() error {
	for r.from == r.parts[0].Size {
		r.parts, r.from = r.parts[1:], 0
		if err := r.closeFile(); err != nil {
			return err
		}
	}
	p := r.parts[0]
	if r.f == nil {
		var err error
		if r.f, err = os.Open(r.l.path(p.Segment)); err != nil {
			return segment.Corrupt.Wrap(err, "%s cannot be read: segment %s is missing", r.name, filepath.Base(r.l.path(p.Segment)))
		}
		if r.key, err = partAEAD(r.dataKey, p.Salt); err != nil {
			return err
		}
	}
	index := r.from / frameBytes
	at := p.Offset + index*(frameBytes+segment.Overhead)
	h, frame, err := segment.ReadFrame(r.f, at, r.frame)
	if err == nil && h.Seq != uint64(index) {
		err = fmt.Errorf("frame %d where %d belongs", h.Seq, index)
	}
	if err == nil {
		r.frame = frame
		r.clear, err = r.key.Open(r.clear[:0], frame, p.Salt)
	}
	if err != nil {
		return segment.Corrupt.Wrap(segment.Damage(err, r.l.path(p.Segment), at), "%s is damaged", r.name)
	}
	skip := r.from - index*frameBytes
	if skip >= int64(len(r.clear)) {
		return segment.Corrupt.New("%s is damaged: frame %d is too short", r.name, index)
	}
	r.ready = r.clear[skip:]
	r.from += int64(len(r.ready))
	return nil
}

// Close ends the reading.
func (r *reader) Close() error {
	r.l.unpin(r.pins...)
	r.pins = nil
	return r.closeFile()
}

func (r *reader) closeFile() error {
	if r.f == nil {
		return nil
	}
	err := r.f.Close()
	r.f = nil
	return err
}

package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Damage is what is wrong with the files of a SQLite control store that is not open.
type Damage struct {
	File string // its path
	What string // is wrong, and what that costs
	// partial: SQLite opens the store, without what is lost.
	partial bool
}

func (d *Damage) Error() string { return d.File + " " + d.What }

// Partial reports whether the store can be opened, with a part of what it held.
func (d *Damage) Partial() bool { return d.partial }

// Path is the file of a SQLite control store, "" for another database.
func Path(url string) string {
	path, ok := strings.CutPrefix(url, "sqlite://")
	if !ok {
		return ""
	}
	path, _, _ = strings.Cut(path, "?")
	return path
}

const lostStore = "identities, keys, buckets, streams, routes and tables are in it, and without the keys no object, record or row can be read"

// Inspect looks at the files of a SQLite control store that is known to exist, and changes
// nothing. SQLite itself makes a new database where there is none, takes a log that begins
// badly for an empty one, and ends at the first bad frame of it, whatever lies behind.
func Inspect(path string) (*Damage, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &Damage{path, "is missing: " + lostStore, false}, nil
	case err != nil:
		return nil, fmt.Errorf("control store: %w", err)
	case st.Size() == 0:
		return &Damage{path, "is empty: " + lostStore, false}, nil
	}
	wal, err := os.ReadFile(path + "-wal")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("control store: %w", err)
	}
	head := make([]byte, 100)
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("control store: %w", err)
	}
	_, err = io.ReadFull(f, head)
	_ = f.Close() // read only
	if err != nil || string(head[:16]) != "SQLite format 3\x00" {
		return &Damage{path, "is damaged: its header is not a database's; " + lostStore, false}, nil //nolint:nilerr // shorter than a header
	}
	page := int64(binary.BigEndian.Uint16(head[16:]))
	if page == 1 {
		page = 64 << 10
	}
	pages := int64(binary.BigEndian.Uint32(head[28:]))
	valid := binary.BigEndian.Uint32(head[24:]) == binary.BigEndian.Uint32(head[92:])
	// A checkpoint that a crash cut off writes the first page last: then the log has the rest.
	if valid && st.Size() < pages*page && len(wal) < walHeader {
		return &Damage{path, fmt.Sprintf("is cut: it has %d bytes of %d; %s", st.Size(), pages*page, lostStore), false}, nil
	}
	if at, ok := damagedWAL(wal); ok {
		return &Damage{filepath.Clean(path + "-wal"), fmt.Sprintf("is damaged at byte %d: changes to the control store at and behind it were acknowledged and cannot be read, among them keys, buckets and routes", at), true}, nil
	}
	return nil, nil
}

// SQLite's write-ahead log: a header, and frames of a header and a page each. A frame's
// checksum goes on from that of the frame before, and its header repeats the log's salts,
// which change whenever the log begins anew: what is left of earlier rounds has others.
const (
	walHeader   = 32
	frameHeader = 24
)

type walFrames struct {
	b     []byte
	order binary.ByteOrder // of the checksums' input
	size  int              // of a frame
}

func (w walFrames) count() int           { return (len(w.b) - walHeader) / w.size }
func (w walFrames) frame(i int) []byte   { return w.b[walHeader+i*w.size:][:w.size] }
func (w walFrames) sum(i int) [2]uint32  { return pair(w.frame(i)[16:]) }
func (w walFrames) salt(i int) [2]uint32 { return pair(w.frame(i)[8:]) }
func (w walFrames) commits(i int) bool   { return binary.BigEndian.Uint32(w.frame(i)[4:]) != 0 }

func pair(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// follows reports whether frame i is whole if the checksum before it was seed.
func (w walFrames) follows(i int, seed [2]uint32) bool {
	f := w.frame(i)
	return w.add(w.add(seed, f[:8]), f[frameHeader:]) == w.sum(i)
}

func (w walFrames) add(s [2]uint32, b []byte) [2]uint32 {
	for ; len(b) >= 8; b = b[8:] {
		s[0] += w.order.Uint32(b) + s[1]
		s[1] += w.order.Uint32(b[4:]) + s[0]
	}
	return s
}

// damagedWAL returns where a log is damaged. The frames of a transaction are durable before
// the next one writes its first. So what is bad was durable if behind it a transaction ends
// and another one begins, and is else what a crash may have left.
func damagedWAL(b []byte) (at int, damaged bool) {
	if len(b) < walHeader {
		return 0, false
	}
	w := walFrames{b: b, order: binary.LittleEndian}
	if b[3]&1 == 1 {
		w.order = binary.BigEndian
	}
	page := int(binary.BigEndian.Uint32(b[8:]))
	whole := (binary.BigEndian.Uint32(b)|1) == 0x377f0683 && w.add([2]uint32{}, b[:24]) == pair(b[24:])
	if !whole { // the page's size and the order are what they always are
		page, w.order = walPage, binary.LittleEndian
		if b[3]&1 == 1 {
			w.order = binary.BigEndian
		}
	}
	if page < 512 || page > 64<<10 {
		return 0, false
	}
	w.size = frameHeader + page
	bad, n := 0, w.count()
	var salt [2]uint32
	switch {
	case whole:
		salt = pair(b[16:])
		for seed := pair(b[24:]); bad < n && w.salt(bad) == salt && w.follows(bad, seed); bad++ {
			seed = w.sum(bad)
		}
		at = walHeader + bad*w.size
	case n > 1:
		salt = w.salt(0)
		if w.salt(1) != salt { // the salt of one of them may be what is bad
			salt = w.salt(n - 1)
		}
	}
	ended := false
	for i := bad + 1; i < n; i++ {
		if w.salt(i) != salt || w.salt(i-1) != salt && !whole {
			continue
		}
		if !w.follows(i, w.sum(i-1)) {
			if w.commits(i-1) && i-1 >= bad {
				ended = true
			}
			continue
		}
		if ended || w.commits(i-1) {
			return at, true
		}
		ended = ended || w.commits(i)
	}
	return 0, false
}

// walPage is the size of a page that SQLite uses unless told otherwise.
const walPage = 4096

package streams_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/service/streams"
)

// frames returns where the frames of a segment begin, and where the last one ends.
func frames(t *testing.T, path string) (at []int64) {
	t.Helper()
	f, _, first, err := segment.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for next := first; ; {
		h, err := segment.ReadHeader(f, next)
		at = append(at, next)
		if err != nil {
			return at
		}
		next += h.Len()
	}
}

// values checks that records are those of put n to m, in order and at their offsets.
func checkValues(t *testing.T, records []streams.Record, from, to int) {
	t.Helper()
	if len(records) != to-from {
		t.Fatalf("%d records, want %d", len(records), to-from)
	}
	for i, r := range records {
		if want := fmt.Sprintf("value %d", from+i); string(r.Value) != want || r.Offset != int64(from+i) {
			t.Fatalf("record %d is %q at offset %d, want %q", i, r.Value, r.Offset, want)
		}
	}
}

func TestRecoveryAfterATornTailAtEveryByte(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	for i := range 5 {
		b.put("s", "k", fmt.Appendf(nil, "value %d", i))
	}
	path := b.files("s", 0)[0]
	b.close()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := frames(t, path)
	for _, fillZeros := range []bool{false, true} {
		for cut := at[4] + 1; cut < at[5]; cut++ {
			torn := bytes.Clone(whole[:cut])
			if fillZeros { // as a file system does with what was allocated and not written
				torn = append(torn, make([]byte, 70_000)...)
			}
			if err := os.WriteFile(path, torn, 0o600); err != nil {
				t.Fatal(err)
			}
			b.crashed(0)
			b.open()
			checkValues(t, b.all("s", 0), 0, 4)
			if cut == at[4]+40 { // and the log goes on
				if off := b.put("s", "k", []byte("value 4")); off != 4 {
					t.Fatalf("the next offset is %d, want 4", off)
				}
				checkValues(t, b.all("s", 0), 0, 5)
				files := b.files("s", 0)
				b.close()
				if err := os.Remove(files[1]); err != nil {
					t.Fatal(err)
				}
			}
			b.close()
		}
	}
}

func TestCutHeaderIsNoSegment(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	b.put("s", "k", []byte("value 0"))
	b.reopen()
	b.put("s", "k", []byte("value 1"))
	second := b.files("s", 0)[1]
	b.close()
	for _, content := range [][]byte{nil, make([]byte, 10), make([]byte, 1<<16)} {
		if err := os.WriteFile(second, content, 0o600); err != nil {
			t.Fatal(err)
		}
		b.crashed(0)
		b.open()
		checkValues(t, b.all("s", 0), 0, 1)
		if off := b.put("s", "k", []byte("value 1")); off != 1 {
			t.Fatalf("the next offset is %d, want 1", off)
		}
		checkValues(t, b.all("s", 0), 0, 2)
		b.close()
	}
}

// Each byte of a frame in the middle is damaged in turn: of the last file, whose end a
// restart must find, and of an older one.
func TestDamageIsToldAndHidesNothing(t *testing.T) {
	for _, older := range []bool{false, true} {
		t.Run(fmt.Sprintf("older %v", older), func(t *testing.T) {
			b := newBench(t)
			b.create("s", 1)
			const n = 8
			for i := range n {
				b.put("s", "k", fmt.Appendf(nil, "value %d", i))
			}
			total := n
			path := b.files("s", 0)[0]
			if older {
				b.reopen()
				b.put("s", "k", fmt.Appendf(nil, "value %d", total))
				total++
			}
			b.close()
			at := frames(t, path)
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			const bad = 3
			for pos := at[bad]; pos < at[bad+1]; pos++ {
				for _, flip := range []byte{0x01, 0x80} {
					damaged := bytes.Clone(whole)
					damaged[pos] ^= flip
					if err := os.WriteFile(path, damaged, 0o600); err != nil {
						t.Fatal(err)
					}
					b.crashed(0)
					b.open()
					got, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{})
					if fault.KindOf(err) != fault.Corrupt {
						t.Fatalf("byte %d: got %v, want damage", pos-at[bad], err)
					}
					checkValues(t, got, 0, bad)
					got, err = b.readFrom("s", 0, streams.AtOffset, bad+1, time.Time{})
					if err != nil {
						t.Fatalf("byte %d: what is behind the damage: %v", pos-at[bad], err)
					}
					checkValues(t, got, bad+1, total)
					if off := b.put("s", "k", []byte("more")); off != int64(total) {
						t.Fatalf("byte %d: the next offset is %d, want %d", pos-at[bad], off, total)
					}
					files := b.files("s", 0)
					b.close()
					if err := os.Remove(files[len(files)-1]); err != nil { // the put's: a start never appends to an older file
						t.Fatal(err)
					}
				}
			}
		})
	}
}

// A file that lost its end tells so, and does not skip to the next file.
func TestMissingEndOfAnOlderFile(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	for i := range 4 {
		b.put("s", "k", fmt.Appendf(nil, "value %d", i))
	}
	path := b.files("s", 0)[0]
	b.reopen()
	b.put("s", "k", []byte("value 4"))
	b.close()
	if err := os.Truncate(path, frames(t, path)[2]); err != nil {
		t.Fatal(err)
	}
	b.open()
	got, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{})
	if fault.KindOf(err) != fault.Corrupt || len(got) != 2 {
		t.Fatalf("got %d records and %v, want 2 and damage", len(got), err)
	}
	got, err = b.readFrom("s", 0, streams.AtOffset, 4, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	checkValues(t, got, 4, 5)
}

// A frame of another stream is no frame here, though it is whole.
func TestFramesCannotBeMoved(t *testing.T) {
	b := newBench(t)
	for _, s := range []string{"a", "b"} {
		b.create(s, 1)
		for range 3 {
			b.put(s, "k", []byte("of "+s))
		}
	}
	from, to := b.files("a", 0)[0], b.files("b", 0)[0]
	b.close()
	at := frames(t, from)
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	copy(other[at[1]:], raw[at[1]:at[2]])
	if err := os.WriteFile(to, other, 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	got, err := b.readFrom("b", 0, streams.Oldest, 0, time.Time{})
	if fault.KindOf(err) != fault.Corrupt || len(got) != 1 {
		t.Fatalf("got %d records and %v, want 1 and damage", len(got), err)
	}
}

func TestReopeningManyTimes(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	n := 0
	for range 30 {
		for range 3 {
			if off := b.put("s", "k", fmt.Appendf(nil, "value %d", n)); off != int64(n) {
				t.Fatalf("offset %d, want %d", off, n)
			}
			n++
		}
		b.reopen()
	}
	checkValues(t, b.all("s", 0), 0, n)
}

func TestSegmentsRoll(t *testing.T) {
	b := newBench(t, func(c *streams.Config) { c.SegmentBytes = 4096 })
	b.create("s", 1)
	for i := range 200 {
		b.put("s", "k", fmt.Appendf(nil, "value %d", i))
	}
	if n := len(b.files("s", 0)); n < 4 {
		t.Fatalf("%d segments, want some", n)
	}
	checkValues(t, b.all("s", 0), 0, 200)
	b.reopen()
	checkValues(t, b.all("s", 0), 0, 200)
	for from := range 200 {
		got, err := b.readFrom("s", 0, streams.AtOffset, int64(from), time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		checkValues(t, got, from, 200)
	}
}

func TestFindPassesOverGarbage(t *testing.T) {
	key := segment.NewKey([32]byte{9})
	frame := key.Append(nil, segment.Header{Seq: 7, Count: 1}, nil, []byte("payload"))
	for _, before := range []int{0, 1, 31, 1<<20 - 20, 1<<20 + 3} {
		file := make([]byte, before, before+len(frame)+100)
		for i := range file {
			file[i] = byte(i * 31)
		}
		file = append(append(file, frame...), make([]byte, 100)...)
		at, h, ok := segment.Find(bytes.NewReader(file), 0, int64(len(file)), func(h segment.Header) bool { return h.Seq == 7 })
		if !ok || at != int64(before) || h.Seq != 7 {
			t.Fatalf("behind %d bytes: %d %+v %v", before, at, h, ok)
		}
		binary.BigEndian.PutUint64(file[before+16:], 1) // its checksum is wrong now
		if _, _, ok := segment.Find(bytes.NewReader(file), 0, int64(len(file)), func(h segment.Header) bool { return h.Seq == 7 }); ok {
			t.Fatal("a damaged frame was found")
		}
	}
}

package segment_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/segment"
)

func TestFramesRoundTripAndDamageIsFound(t *testing.T) {
	path := filepath.Join(t.TempDir(), "1.seg")
	key := segment.NewKey([32]byte{1})
	w, err := segment.Create(path, []byte("meta"), 0)
	if err != nil {
		t.Fatal(err)
	}
	var positions []int64
	for i := range 5 {
		off, err := w.Append(key.Append(nil, segment.Header{Seq: uint64(i), Time: 42, Count: 1}, []byte("ctx"), []byte("payload of a frame")))
		if err != nil {
			t.Fatal(err)
		}
		positions = append(positions, off)
	}
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	f, meta, first, err := segment.Open(path)
	if err != nil || string(meta) != "meta" || first != positions[0] {
		t.Fatalf("open: %v, meta %q, first %d", err, meta, first)
	}
	defer func() { _ = f.Close() }()
	next := first
	for i := range 5 {
		h, frame, err := segment.ReadFrame(f, next, nil)
		if err != nil || h.Seq != uint64(i) || h.Time != 42 {
			t.Fatalf("frame %d: %v %+v", i, err, h)
		}
		if p, err := key.Open(nil, frame, []byte("ctx")); err != nil || string(p) != "payload of a frame" {
			t.Fatalf("frame %d: %q %v", i, p, err)
		}
		if _, err := key.Open(nil, frame, []byte("other")); err == nil {
			t.Fatal("a frame opened in another context")
		}
		next += h.Len()
	}
	// The rest of the file is allocated and not written.
	if _, _, err := segment.ReadFrame(f, next, nil); !errors.Is(err, io.EOF) {
		t.Fatalf("behind the last frame: %v, want EOF", err)
	}
	raw, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = raw.Close() }()
	for at := positions[2]; at < positions[3]; at++ { // every byte of the frame matters
		var b [1]byte
		if _, err := raw.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		if _, err := raw.WriteAt([]byte{b[0] ^ 0x40}, at); err != nil {
			t.Fatal(err)
		}
		if _, frame, err := segment.ReadFrame(f, positions[2], nil); err == nil {
			if _, err := key.Open(nil, frame, []byte("ctx")); err == nil {
				t.Fatalf("a flipped bit at %d went unnoticed", at-positions[2])
			}
		}
		if _, err := raw.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
}

// slow is a target that holds its first group until it is let go.
type slow struct {
	entered chan struct{}
	gate    chan struct{}
	once    sync.Once
	groups  [][]int
}

func (s *slow) Write(entries []int) error {
	s.once.Do(func() { close(s.entered) })
	<-s.gate
	s.groups = append(s.groups, append([]int(nil), entries...))
	return nil
}

func TestAppendsThatWaitShareACommit(t *testing.T) {
	target := &slow{entered: make(chan struct{}), gate: make(chan struct{})}
	c := segment.NewCommitter(segment.LogConfig{MaxQueued: 100}, target)
	errs := make(chan error, 50)
	add := func(i int) { errs <- c.Append(t.Context(), i, 1) }
	go add(0)
	<-target.entered
	for i := range 49 {
		go add(i + 1)
	}
	for c.Waiting() < 49 {
		runtime.Gosched()
	}
	close(target.gate)
	for range 50 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	c.Close()
	if len(target.groups) != 2 || len(target.groups[1]) != 49 {
		t.Fatalf("groups %v, want one entry and then the other 49", target.groups)
	}
	if err := c.Append(context.Background(), 1, 1); fault.KindOf(err) != fault.Unavailable {
		t.Fatalf("append after close: %v", err)
	}
}

// A segment that was created without a sync is a segment like others when it is finished, and
// leaves nothing when it is discarded.
func TestUnsyncedSegmentIsFinishedOrDiscarded(t *testing.T) {
	for _, end := range []func(*segment.File) error{(*segment.File).Finish, (*segment.File).Discard} {
		path := filepath.Join(t.TempDir(), "1.seg")
		w, err := segment.CreateUnsynced(path, []byte("meta"), 0)
		if err != nil {
			t.Fatal(err)
		}
		key := segment.NewKey([32]byte{1})
		if _, err := w.Append(key.Append(nil, segment.Header{Count: 1}, nil, []byte("payload"))); err != nil {
			t.Fatal(err)
		}
		if err := end(w); err != nil {
			t.Fatal(err)
		}
		f, meta, first, err := segment.Open(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // discarded
		}
		if err != nil || string(meta) != "meta" {
			t.Fatalf("meta %q, %v", meta, err)
		}
		_, frame, err := segment.ReadFrame(f, first, nil)
		if clear, opened := key.Open(nil, frame, nil); err != nil || opened != nil || string(clear) != "payload" {
			t.Errorf("%q, %v, %v", clear, err, opened)
		}
		_ = f.Close() // only read
	}
}

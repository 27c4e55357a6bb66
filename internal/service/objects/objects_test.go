package objects_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/iotest"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/objects"
)

// noise is n bytes that do not compress and that a seed makes again.
func noise(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// sizes lie around the borders of frames and of segments of their own.
var sizes = []int{0, 1, 100, 64<<10 - 1, 64 << 10, 64<<10 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 2 << 20, 2<<20 + 12345}

func TestEverySizeAndRange(t *testing.T) {
	b := newBench(t)
	for i, n := range sizes {
		data := noise(uint64(i), n)
		key := fmt.Sprint(n)
		// Readers of every temper: at once, byte by byte, and with the end told late.
		for _, body := range []io.Reader{bytes.NewReader(data), iotest.HalfReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			if _, err := b.Put(b.ctx(), "bucket", key, body, objects.PutOptions{}); err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			if got, err := b.get(key, objects.Range{}); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes: read %d, %v", n, len(got), err)
			}
		}
		for range 30 {
			if n == 0 {
				break
			}
			from := rand.IntN(n)
			to := from + rand.IntN(n-from)
			got, err := b.get(key, objects.Range{Set: true, From: int64(from), To: int64(to)})
			if err != nil || !bytes.Equal(got, data[from:to+1]) {
				t.Fatalf("%d bytes, [%d,%d]: read %d, %v", n, from, to, len(got), err)
			}
		}
		if got, err := b.get(key, objects.Range{Set: true, Suffix: 10}); n > 0 && (err != nil || !bytes.Equal(got, data[max(0, n-10):])) {
			t.Fatalf("%d bytes: the last ten: %d, %v", n, len(got), err)
		}
		if _, err := b.get(key, objects.Range{Set: true, From: int64(n), To: -1}); !objects.InvalidRange.Is(err) {
			t.Fatalf("%d bytes: behind the end: %v", n, err)
		}
	}
	b.reopen()
	for i, n := range sizes {
		if got, err := b.get(fmt.Sprint(n), objects.Range{}); err != nil || !bytes.Equal(got, noise(uint64(i), n)) {
			t.Fatalf("reopened, %d bytes: read %d, %v", n, len(got), err)
		}
	}
}

// A segment of its own costs a file and two syncs, so that only what is larger than the bound
// has one: a body of just 1 MiB, a usual size, shares the common log's.
func TestOnlyLargerBodiesHaveASegmentOfTheirOwn(t *testing.T) {
	b := newBench(t)
	for _, tc := range []struct{ size, files int }{{1, 1}, {1<<20 - 1, 1}, {1 << 20, 1}, {1<<20 + 1, 2}} {
		if err := b.put(fmt.Sprint(tc.size), noise(1, tc.size)); err != nil {
			t.Fatal(err)
		}
		if got := len(b.files()); got != tc.files {
			t.Errorf("with %d bytes there are %d segments, want %d", tc.size, got, tc.files)
		}
	}
}

// Random calls, and the same calls of a map.
func TestAgainstAMap(t *testing.T) {
	b := newBench(t, func(c *objects.Config) { c.SegmentBytes = 1 << 20 })
	model := map[string][]byte{}
	for step := range 600 {
		key := fmt.Sprintf("k%02d", rand.IntN(20))
		switch rand.IntN(10) {
		case 0, 1, 2, 3:
			data := noise(uint64(step), sizes[rand.IntN(len(sizes))]/(1+rand.IntN(4)))
			if err := b.put(key, data); err != nil {
				t.Fatal(err)
			}
			model[key] = data
		case 4:
			if err := b.Delete(b.ctx(), "bucket", key, objects.DeleteCondition{}); err != nil {
				t.Fatal(err)
			}
			delete(model, key)
		case 5:
			if step%10 == 0 {
				b.reopen()
			} else if err := b.Reclaim(b.ctx()); err != nil {
				t.Fatal(err)
			}
		default:
			got, err := b.get(key, objects.Range{})
			want, ok := model[key]
			if ok && (err != nil || !bytes.Equal(got, want)) || !ok && !objects.NoObject.Is(err) {
				t.Fatalf("step %d, %s: %d bytes, %v; want %d, %v", step, key, len(got), err, len(want), ok)
			}
		}
	}
	for key := range model {
		if err := b.Delete(b.ctx(), "bucket", key, objects.DeleteCondition{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Reclaim(b.ctx()); err != nil {
		t.Fatal(err)
	}
	if left := b.files(); len(left) > 1 {
		t.Fatalf("%d segments are left of nothing: %v", len(left), left)
	}
}

// Who began to read an object reads it to its end, whatever becomes of it.
func TestReadersKeepWhatTheyOpened(t *testing.T) {
	for _, what := range []string{"overwritten", "deleted", "reclaimed"} {
		b := newBench(t)
		const n = 8 << 20
		data := noise(1, n)
		if err := b.put("k", data); err != nil {
			t.Fatal(err)
		}
		o, err := b.Open(b.ctx(), "bucket", "k", objects.Range{})
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 100)
		if _, err := io.ReadFull(o.Body, head); err != nil {
			t.Fatal(err)
		}
		switch what {
		case "overwritten":
			err = b.put("k", noise(2, n))
		default:
			err = b.Delete(b.ctx(), "bucket", "k", objects.DeleteCondition{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if what == "reclaimed" {
			if err := errors.Join(b.Reclaim(b.ctx()), b.Reclaim(b.ctx())); err != nil {
				t.Fatal(err)
			}
		}
		rest, err := io.ReadAll(o.Body)
		if err != nil || !bytes.Equal(append(head, rest...), data) {
			t.Fatalf("%s: read %d bytes, %v", what, len(rest)+100, err)
		}
		before := len(b.files())
		if err := o.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if after := len(b.files()); after != before-1 {
			t.Errorf("%s: %d segments before the last reader closed, %d after", what, before, after)
		}
	}
}

func TestReadersWritersAndTheReclaimer(t *testing.T) {
	b := newBench(t, func(c *objects.Config) { c.SegmentBytes = 256 << 10 })
	stop, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	for w := range 3 {
		work.Go(func() {
			for i := 0; i < 60; i++ {
				key := fmt.Sprintf("k%d", (w+i)%5)
				n := []int{1000, 50_000, 1_200_000}[i%3]
				data := bytes.Repeat([]byte{byte(1 + (w*7+i)%250)}, n)
				if err := b.put(key, data); err != nil {
					t.Error(err)
				}
				if i%7 == 0 {
					if err := b.Delete(b.ctx(), "bucket", key, objects.DeleteCondition{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	var background sync.WaitGroup
	background.Go(func() {
		for stop.Err() == nil {
			if err := b.Reclaim(stop); err != nil && stop.Err() == nil {
				t.Error(err)
			}
		}
	})
	for r := range 2 {
		background.Go(func() {
			for i := r; stop.Err() == nil; i++ {
				data, err := b.get(fmt.Sprintf("k%d", i%5), objects.Range{})
				if objects.NoObject.Is(err) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if n := len(data); n != 1000 && n != 50_000 && n != 1_200_000 || bytes.Count(data, data[:1]) != n {
					t.Errorf("%d bytes of more than one writer", n)
				}
			}
		})
	}
	work.Wait()
	cancel()
	background.Wait()
}

// Uploads complete side by side, whichever locks their names share.
func TestManyUploadsComplete(t *testing.T) {
	b := newBench(t)
	var work sync.WaitGroup
	for w := range 8 {
		work.Go(func() {
			for i := range 150 {
				key := fmt.Sprintf("k%d-%d", w, i)
				u, err := b.CreateUpload(b.ctx(), "bucket", key, objects.UploadOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				etag, _, err := b.PutPart(b.ctx(), "bucket", key, u.ID, 1, bytes.NewReader([]byte(key)), nil)
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := b.CompleteUpload(b.ctx(), "bucket", key, u.ID, objects.Completion{Parts: []objects.Completed{{Number: 1, ETag: etag}}, Size: -1}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	work.Wait()
}

func TestUploadOfParts(t *testing.T) {
	b := newBench(t)
	u, err := b.CreateUpload(b.ctx(), "bucket", "k", objects.UploadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var whole []byte
	var list []objects.Completed
	for i, n := range []int{5 << 20, 5<<20 + 77, 6 << 20, 100} {
		data := noise(uint64(i), n)
		// Sent twice: the second one counts.
		if _, _, err := b.PutPart(b.ctx(), "bucket", "k", u.ID, i+1, bytes.NewReader(noise(99, n)), nil); err != nil {
			t.Fatal(err)
		}
		etag, _, err := b.PutPart(b.ctx(), "bucket", "k", u.ID, i+1, bytes.NewReader(data), nil)
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, data...)
		list = append(list, objects.Completed{Number: i + 1, ETag: etag})
	}
	if _, _, err := b.PutPart(b.ctx(), "bucket", "k", u.ID, 9, bytes.NewReader(noise(5, 2<<20)), nil); err != nil { // left out
		t.Fatal(err)
	}
	made, err := b.CompleteUpload(b.ctx(), "bucket", "k", u.ID, objects.Completion{Parts: list, Size: int64(len(whole))})
	if err != nil {
		t.Fatal(err)
	}
	b.reopen()
	if got, err := b.get("k", objects.Range{}); err != nil || !bytes.Equal(got, whole) {
		t.Fatalf("read %d bytes of %d, %v", len(got), len(whole), err)
	}
	for range 50 {
		from := rand.IntN(len(whole))
		to := from + rand.IntN(min(len(whole)-from, 3<<20))
		if got, err := b.get("k", objects.Range{Set: true, From: int64(from), To: int64(to)}); err != nil || !bytes.Equal(got, whole[from:to+1]) {
			t.Fatalf("[%d,%d]: read %d bytes, %v", from, to, len(got), err)
		}
	}
	// The answer may have been lost: completing again returns the object, as long as it is the upload's.
	if again, err := b.CompleteUpload(b.ctx(), "bucket", "k", u.ID, objects.Completion{Parts: list, Size: -1}); err != nil || again.ETag != made.ETag {
		t.Fatalf("completing again: %q and %v, want %q", again.ETag, err, made.ETag)
	}
	if _, err := b.CompleteUpload(b.ctx(), "bucket", "other", u.ID, objects.Completion{Parts: list, Size: -1}); !objects.NoUpload.Is(err) {
		t.Fatalf("completing under another key: %v", err)
	}
	if n := len(b.files()); n != 4 { // of the three large parts, and the common one
		t.Errorf("%d segments, want 4", n)
	}
}

// cut is a body that breaks off.
type cut struct {
	r   io.Reader
	err error
}

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if err == io.EOF {
		err = c.err
	}
	return n, err
}

// A body that fails, however it fails and wherever, leaves what was before.
func TestBodyThatBreaksOff(t *testing.T) {
	b := newBench(t)
	if err := b.put("k", []byte("before")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	for _, n := range sizes {
		for _, failure := range []error{broken, io.ErrUnexpectedEOF, io.ErrClosedPipe} {
			before := len(b.files())
			_, err := b.Put(b.ctx(), "bucket", "k", &cut{bytes.NewReader(noise(1, n)), failure}, objects.PutOptions{})
			if !errors.Is(err, failure) {
				t.Fatalf("%d bytes, then %v: got %v", n, failure, err)
			}
			if got, err := b.get("k", objects.Range{}); err != nil || string(got) != "before" {
				t.Fatalf("%d bytes, then %v: the object is %d bytes now, %v", n, failure, len(got), err)
			}
			if after := len(b.files()); after != before {
				t.Fatalf("%d bytes, then %v: %d segments, %d before", n, failure, after, before)
			}
		}
	}
}

func TestLockedKeyLocks(t *testing.T) {
	b := newBench(t)
	if err := b.put("k", []byte("x")); err != nil {
		t.Fatal(err)
	}
	b.keys.locked.Store(true)
	if _, err := b.get("k", objects.Range{}); !errLocked.Is(err) {
		t.Errorf("get: %v", err)
	}
	if err := b.put("k", []byte("y")); !errLocked.Is(err) {
		t.Errorf("put: %v", err)
	}
	b.keys.locked.Store(false)
	if got, err := b.get("k", objects.Range{}); err != nil || string(got) != "x" {
		t.Errorf("unlocked: %q, %v", got, err)
	}
}

// A put is in a bucket, or it is refused: none is acknowledged into a bucket that goes.
func TestPutsAgainstDeleteBucket(t *testing.T) {
	b := newBench(t)
	for range 40 {
		if err := b.CreateBucket(b.ctx(), "short-lived", ""); err != nil {
			t.Fatal(err)
		}
		var put, deleted error
		var both sync.WaitGroup
		both.Go(func() {
			_, put = b.Put(b.ctx(), "short-lived", "k", bytes.NewReader([]byte("x")), objects.PutOptions{})
		})
		both.Go(func() { deleted = b.DeleteBucket(b.ctx(), "short-lived") })
		both.Wait()
		switch {
		case put == nil && objects.BucketNotEmpty.Is(deleted):
			if err := errors.Join(b.Delete(b.ctx(), "short-lived", "k", objects.DeleteCondition{}), b.DeleteBucket(b.ctx(), "short-lived")); err != nil {
				t.Fatal(err)
			}
		case objects.NoBucket.Is(put) && deleted == nil:
		default:
			t.Fatalf("the put: %v; the deletion: %v", put, deleted)
		}
	}
}

func TestDamageNamesTheObject(t *testing.T) {
	b := newBench(t)
	if err := b.put("k", noise(1, 2<<20)); err != nil {
		t.Fatal(err)
	}
	b.close()
	path := b.files()[0]
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b.open()
	for _, at := range []int{100, 64 << 10, 1 << 20, len(whole) - 1} {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 4
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := b.get("k", objects.Range{})
		if fault.KindOf(err) != fault.Corrupt || fault.MessageOf(err) != "s3://bucket/k is damaged" {
			t.Errorf("byte %d: %v", at, err)
		}
		if !bytes.HasPrefix(noise(1, 2<<20), got) {
			t.Errorf("byte %d: wrong data", at)
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := b.get("k", objects.Range{}); fault.KindOf(err) != fault.Corrupt {
		t.Errorf("a missing segment: %v", err)
	}
}

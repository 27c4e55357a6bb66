package streams_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/streams"
)

func TestRecordsGoWhereTheirHashBelongs(t *testing.T) {
	b := newBench(t)
	for _, n := range []int{1, 2, 3, 7} {
		stream := fmt.Sprintf("s%d", n)
		b.create(stream, n)
		d, err := b.DescribeStream(b.ctx(), stream, "kinesis:DescribeStream")
		if err != nil {
			t.Fatal(err)
		}
		number := func(s string) *big.Int {
			v, ok := new(big.Int).SetString(s, 10)
			if !ok {
				t.Fatalf("%q is no number", s)
			}
			return v
		}
		next := new(big.Int) // the ranges follow each other and fill the space
		for _, sh := range d.Shards {
			if number(sh.Low).Cmp(next) != 0 {
				t.Fatalf("shard %s begins at %s, want %s", sh.ID, sh.Low, next)
			}
			next.Add(number(sh.High), big.NewInt(1))
		}
		if next.Cmp(new(big.Int).Lsh(big.NewInt(1), 128)) != 0 {
			t.Fatalf("the shards end at %s", next)
		}
		var puts []streams.Put
		for i := range 200 {
			puts = append(puts, streams.Put{Key: fmt.Sprintf("key %d", i), Value: []byte("v")})
		}
		for _, sh := range d.Shards { // and at the borders
			puts = append(puts, streams.Put{Key: "k", ExplicitHash: sh.Low}, streams.Put{Key: "k", ExplicitHash: sh.High})
		}
		placed, err := b.PutRecords(b.ctx(), stream, puts, "kinesis:PutRecords")
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range placed {
			sum := md5.Sum([]byte(puts[i].Key))
			hash := new(big.Int).SetBytes(sum[:])
			if puts[i].ExplicitHash != "" {
				hash = number(puts[i].ExplicitHash)
			}
			for _, sh := range d.Shards {
				inside := hash.Cmp(number(sh.Low)) >= 0 && hash.Cmp(number(sh.High)) <= 0
				if inside != (p.Shard == sh.ID) {
					t.Fatalf("hash %s went to %s; [%s,%s] is %s", hash, p.Shard, sh.Low, sh.High, sh.ID)
				}
			}
		}
	}
	for _, bad := range []string{"-1", "+1", "1.5", "x", "340282366920938463463374607431768211456"} {
		if _, err := b.PutRecords(b.ctx(), "s2", []streams.Put{{Key: "k", ExplicitHash: bad}}, "kinesis:PutRecords"); !streams.InvalidArgument.Is(err) {
			t.Errorf("hash %q: %v", bad, err)
		}
	}
}

func TestReadingFromATime(t *testing.T) {
	b := newBench(t, func(c *streams.Config) { c.SegmentBytes = 20_000 })
	b.create("s", 1)
	var times []time.Time
	for i := range 300 {
		times = append(times, b.clock.Now())
		b.put("s", "k", bytes.Repeat([]byte("x"), 500))
		if i%3 == 0 {
			b.clock.advance(10 * time.Millisecond)
		}
	}
	if len(b.files("s", 0)) < 3 {
		t.Fatal("the records should lie in some segments")
	}
	check := func() {
		t.Helper()
		for i := 0; i < 300; i += 7 {
			want := 0
			for times[want].Before(times[i]) {
				want++
			}
			got, err := b.readFrom("s", 0, streams.AtTime, 0, times[i])
			if err != nil || len(got) != 300-want || got[0].Offset != int64(want) {
				t.Fatalf("from %s: %d records, %v; want %d", times[i], len(got), err, 300-want)
			}
		}
		if got, err := b.readFrom("s", 0, streams.AtTime, 0, b.clock.Now().Add(time.Hour)); err != nil || len(got) != 0 {
			t.Fatalf("from the future: %d records, %v", len(got), err)
		}
	}
	check()
	b.reopen()
	check()
}

// expire lets the background loop pass once.
func (b *bench) expire() {
	b.t.Helper()
	if err := b.Expire(b.ctx()); err != nil {
		b.t.Fatal(err)
	}
}

func TestRecordsExpire(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	b.put("s", "k", []byte("old"))
	b.clock.advance(2 * time.Hour) // a segment is written to for an hour
	b.put("s", "k", []byte("newer"))
	b.clock.advance(23 * time.Hour)
	held, err := b.ShardIterator(b.ctx(), "s", "shardId-000000000000", streams.Oldest, 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	b.expire()
	if got := b.all("s", 0); len(got) != 1 || string(got[0].Value) != "newer" {
		t.Fatalf("after 25 hours there are %d records", len(got))
	}
	if got, err := b.GetRecords(b.ctx(), held, 0); err != nil || len(got.Records) != 1 || got.Records[0].Offset != 1 {
		t.Fatalf("a position that expired goes on with the oldest: %v, %v", got, err)
	}
	b.clock.advance(23 * time.Hour)
	b.expire()
	if got := b.all("s", 0); len(got) != 0 {
		t.Fatalf("after 48 hours there are %d records", len(got))
	}
	b.reopen()
	if off := b.put("s", "k", []byte("newest")); off != 2 {
		t.Fatalf("the next offset is %d, want 2: offsets are given once", off)
	}
	if n := len(b.files("s", 0)); n != 1 {
		t.Fatalf("%d segments, want 1", n)
	}
}

func TestDeletedStreamsGoFromTheDisk(t *testing.T) {
	b := newBench(t)
	b.create("s", 2)
	b.put("s", "k", []byte("x"))
	it, err := b.ShardIterator(b.ctx(), "s", "shardId-000000000000", streams.Oldest, 0, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.DeleteStream(b.ctx(), "s"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.GetRecords(b.ctx(), it, 0); !streams.NoStream.Is(err) {
		t.Errorf("reading a deleted stream: %v", err)
	}
	b.expire()
	b.create("s", 2) // made anew: it is another one, and empty
	for shard := range 2 {
		if got := b.all("s", shard); len(got) != 0 {
			t.Errorf("a stream made anew has %d records", len(got))
		}
	}
	if _, err := b.GetRecords(b.ctx(), it, 0); !streams.NoStream.Is(err) {
		t.Errorf("with a position in the old one: %v", err)
	}
	b.expire()
	entries, err := os.ReadDir(b.cfg.Dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d directories, %v; want that of the new stream", len(entries), err)
	}
}

func TestManyProducersAndReaders(t *testing.T) {
	b := newBench(t, func(c *streams.Config) { c.SegmentBytes = 64 << 10 })
	b.create("s", 2)
	const producers, each = 8, 60
	var mu sync.Mutex
	acked := map[string]bool{}
	stop, cancel := context.WithCancel(t.Context())
	var readers, work sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for stop.Err() == nil {
				for shard := range 2 {
					got, err := b.readFrom("s", shard, streams.Oldest, 0, time.Time{})
					if err != nil {
						t.Error(err)
						return
					}
					for i, r := range got {
						if r.Offset != int64(i) {
							t.Errorf("offset %d where %d belongs", r.Offset, i)
							return
						}
					}
				}
			}
		})
	}
	for p := range producers {
		work.Go(func() {
			for i := range each {
				var puts []streams.Put
				for k := range 5 {
					puts = append(puts, streams.Put{Key: fmt.Sprint(p, i, k), Value: bytes.Repeat([]byte{byte(p)}, 200)})
				}
				placed, err := b.PutRecords(b.ctx(), "s", puts, "kinesis:PutRecords")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for k, pl := range placed {
					if pl.Err != nil {
						t.Error(pl.Err)
					}
					acked[fmt.Sprint(pl.Shard, pl.Offset, puts[k].Key)] = true
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	cancel()
	readers.Wait()
	b.reopen()
	n := 0
	for shard := range 2 {
		for _, r := range b.all("s", shard) {
			n++
			if !acked[fmt.Sprint(fmt.Sprintf("shardId-%012d", shard), r.Offset, r.Key)] {
				t.Errorf("%s at %d was never acknowledged there", r.Key, r.Offset)
			}
		}
	}
	if n != producers*each*5 || len(acked) != n {
		t.Errorf("%d records, %d acknowledged, want %d", n, len(acked), producers*each*5)
	}
}

// Reading while records expire and the stream is deleted never tells of damage.
func TestReadersAgainstExpiryAndDeletion(t *testing.T) {
	b := newBench(t, func(c *streams.Config) { c.SegmentBytes = 4 << 10 })
	b.create("s", 1)
	stop, cancel := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for stop.Err() == nil {
				_, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{})
				switch fault.KindOf(err) {
				case fault.Corrupt:
					t.Error(err)
					return
				case fault.Internal:
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	for range 100 {
		for range 10 {
			b.put("s", "k", bytes.Repeat([]byte("x"), 500))
		}
		b.clock.advance(6 * time.Hour)
		b.expire()
	}
	if err := b.DeleteStream(b.ctx(), "s"); err != nil {
		t.Fatal(err)
	}
	cancel()
	readers.Wait()
}

// A write that fails leaves nothing, and the next one succeeds.
func TestFailedWrites(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	b.put("s", "k", []byte("value 0"))
	b.keys.locked.Store(true)
	placed, err := b.PutRecords(b.ctx(), "s", []streams.Put{{Key: "k", Value: []byte("lost")}}, "kinesis:PutRecord")
	if err != nil || !errLocked.Is(placed[0].Err) {
		t.Fatalf("with a locked key: %v %v", placed, err)
	}
	if _, err := b.readFrom("s", 0, streams.Oldest, 0, time.Time{}); !errLocked.Is(err) {
		t.Fatalf("reading with a locked key: %v", err)
	}
	b.keys.locked.Store(false)
	if off := b.put("s", "k", []byte("value 1")); off != 1 {
		t.Fatalf("the next offset is %d, want 1", off)
	}
	checkValues(t, b.all("s", 0), 0, 2)
	// The directory cannot be written to: no new segment can begin.
	b.reopen()
	dir := filepath.Dir(b.files("s", 0)[0])
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	placed, err = b.PutRecords(b.ctx(), "s", []streams.Put{{Key: "k", Value: []byte("lost")}}, "kinesis:PutRecord")
	if err != nil || placed[0].Err == nil {
		t.Fatalf("without a directory: %v %v", placed, err)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	if off := b.put("s", "k", []byte("value 2")); off != 2 {
		t.Fatalf("the next offset is %d, want 2", off)
	}
	checkValues(t, b.all("s", 0), 0, 3)
}

func TestWaitingEndsWithTheStream(t *testing.T) {
	b := newBench(t)
	b.create("s", 1)
	id, _, err := b.ID(b.ctx(), "s")
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Reader(id, 0)
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() { waited <- r.Wait(b.ctx(), 0) }()
	if err := b.DeleteStream(b.ctx(), "s"); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; fault.KindOf(err) != fault.Unavailable {
		t.Fatalf("waiting for a record of a deleted stream: %v", err)
	}
	if _, err := b.Reader(id, 0); !streams.NoStream.Is(err) {
		t.Fatalf("a reader of a deleted stream: %v", err)
	}
}

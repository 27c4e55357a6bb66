package quota

import (
	"context"
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// MaxSubjects bounds how many subjects are counted at a time in one node's memory. Beyond
// that the subject that was silent longest is forgotten, and starts anew.
const MaxSubjects = 1 << 20

const shards = 64

// Local counts in memory.
type Local struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	tallies map[Subject]*localTally
}

type localTally struct {
	tally
	seen int64
}

// NewLocal returns a counter without counts.
func NewLocal() *Local {
	c := &Local{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].tallies = map[Subject]*localTally{}
	}
	return c
}

// Take implements Counter.
func (c *Local) Take(_ context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error) {
	return c.count(s, l, n, false, now), nil
}

// Add implements Counter.
func (c *Local) Add(_ context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error) {
	return c.count(s, l, n, true, now), nil
}

// Close implements Counter. The counts stay, for an instance that takes the place of the
// one that closes.
func (c *Local) Close() {}

func (c *Local) count(s Subject, l *Limits, n int64, force bool, now time.Time) (u Usage) {
	sh := &c.shards[maphash.String(c.seed, s.Who)%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.tallies[s]
	if t == nil {
		if len(sh.tallies) >= MaxSubjects/shards {
			sh.evict()
		}
		t = new(localTally)
		sh.tallies[Subject{strings.Clone(s.Plugin), strings.Clone(s.Who)}] = t
	}
	t.seen = now.Unix()
	t.roll(l, now, &u)
	t.take(l, n, force, &u)
	return u
}

// evict forgets the subject that was silent longest among a few.
func (sh *shard) evict() {
	var oldest Subject
	var seen int64
	n := 0
	for s, t := range sh.tallies {
		if n == 0 || t.seen < seen {
			oldest, seen = s, t.seen
		}
		if n++; n == 16 {
			break
		}
	}
	delete(sh.tallies, oldest)
}

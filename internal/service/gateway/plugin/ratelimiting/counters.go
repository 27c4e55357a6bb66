package ratelimiting

import (
	"hash/maphash"
	"strings"
	"sync"
	"time"
)

// MaxSubjects bounds how many subjects are counted at a time, over all instances.
const MaxSubjects = 1 << 20

const shards = 64

// period is one of the six windows.
type period int

const (
	second period = iota
	minute
	hour
	day
	month
	year
	periods
)

var periodNames = [periods]string{"second", "minute", "hour", "day", "month", "year"}
var periodTitles = [periods]string{"Second", "Minute", "Hour", "Day", "Month", "Year"}

// window returns the bounds of the window a moment falls into, in seconds since 1970.
func (p period) window(now time.Time) (start, end int64) {
	switch p {
	case second, minute, hour, day:
		length := [...]int64{1, 60, 3600, 86400}[p]
		start = now.Unix() - now.Unix()%length
		return start, start + length
	case month:
		t := now.UTC()
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		return first.Unix(), first.AddDate(0, 1, 0).Unix()
	}
	first := time.Date(now.UTC().Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	return first.Unix(), first.AddDate(1, 0, 0).Unix()
}

// subject is who is counted, and by which plugin entity.
type subject struct{ plugin, who string }

// tally is one subject's counts, each in the window that began at start.
type tally struct {
	start [periods]int64
	count [periods]int64
	seen  int64
}

// counters are the tallies of all instances.
type counters struct {
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu      sync.Mutex
	tallies map[subject]*tally
}

func newCounters() *counters {
	c := &counters{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].tallies = map[subject]*tally{}
	}
	return c
}

// usage is what a request finds: for every limited period what is left before it, and
// which period is full.
type usage struct {
	left  [periods]int64
	reset [periods]int64 // seconds until the window ends
	full  period         // -1: none
}

// take counts one request unless a window is full.
func (c *counters) take(s subject, limits *[periods]int64, now time.Time) usage {
	sh := &c.shards[maphash.String(c.seed, s.who)%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.tallies[s]
	if t == nil {
		if len(sh.tallies) >= MaxSubjects/shards {
			sh.evict()
		}
		t = new(tally)
		sh.tallies[subject{strings.Clone(s.plugin), strings.Clone(s.who)}] = t
	}
	t.seen = now.Unix()
	u := usage{full: -1}
	for p := range periods {
		if limits[p] == 0 {
			continue
		}
		start, end := p.window(now)
		if t.start[p] < start { // never back: a clock that steps back must not reset a count
			t.start[p], t.count[p] = start, 0
		}
		u.left[p] = limits[p] - t.count[p]
		u.reset[p] = max(end-now.Unix(), 1)
		if u.left[p] <= 0 {
			u.full = p
		}
	}
	if u.full < 0 {
		for p := range periods {
			if limits[p] != 0 {
				t.count[p]++
			}
		}
	}
	return u
}

// evict forgets the subject that was silent longest among a few.
func (sh *shard) evict() {
	var oldest subject
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

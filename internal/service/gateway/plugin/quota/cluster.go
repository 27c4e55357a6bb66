package quota

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Collection is where Cluster keeps its counts: one record for each subject, which is gone
// when its longest window has ended.
const Collection = "ratelimiting_counters"

// Entity describes the collection, for the kinds of plugin that count.
var Entity = entity()

func entity() *schema.Entity {
	id, created, _, _ := gateway.Shared()
	counts := func(name string) *schema.Field {
		return &schema.Field{Name: name, Kind: schema.Array, Required: true, Elements: &schema.Field{Kind: schema.Number}}
	}
	return &schema.Entity{Name: Collection, Private: true, Expires: true,
		Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{id, created, counts("starts"), counts("counts")}}}
}

// Cluster counts in the control store.
//
// A node that takes often takes several at once: its hand. What is in a hand is counted
// already. A hand is void when one of its windows ends, or a second after it was taken;
// what is left of it is then taken back from the counts of the windows that go on.
type Cluster struct {
	records gateway.Records
	clock   clock.Clock

	mu       sync.Mutex
	subjects map[Subject]*hand
}

// Bounds of hands.
const (
	handLife = time.Second
	busy     = 100 * time.Millisecond // hands taken more often than this grow
	maxHand  = 1000
	// fullLife is how long a node believes that a window is full before it asks again:
	// another node may have given something back.
	fullLife = 100 * time.Millisecond
	maxHands = 1 << 16
)

// hand is what a node holds for one subject.
type hand struct {
	mu     sync.Mutex
	left   int64
	taken  time.Time // when it was filled
	size   int64     // how much was taken then
	starts [Periods]int64
	usage  Usage     // as the store had it, without what is in the hand
	full   time.Time // until when usage.Full is believed
}

// NewCluster returns a counter on the control store. A closed one is ready for use again.
func NewCluster(r gateway.Records, c clock.Clock) *Cluster {
	return &Cluster{records: r, clock: c, subjects: map[Subject]*hand{}}
}

// of returns the subject's hand.
func (c *Cluster) of(s Subject) *hand {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.subjects[s]
	if h == nil {
		if len(c.subjects) >= maxHands {
			c.forget()
		}
		h = new(hand)
		c.subjects[Subject{strings.Clone(s.Plugin), strings.Clone(s.Who)}] = h
	}
	return h
}

// forget drops hands that are void. What was left in them stays counted.
func (c *Cluster) forget() {
	now := c.clock.Now()
	for s, h := range c.subjects {
		if h.mu.TryLock() {
			if now.Sub(h.taken) > handLife {
				delete(c.subjects, s)
			}
			h.mu.Unlock()
		}
	}
	if len(c.subjects) >= maxHands {
		clear(c.subjects)
	}
}

// Take implements Counter.
func (c *Cluster) Take(ctx context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error) {
	h := c.of(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.holds(l, now) {
		if h.left >= n {
			h.left -= n
			return h.now(l, now), nil
		}
		if h.left == 0 && now.Before(h.full) {
			u := h.now(l, now)
			u.Full = h.usage.Full
			return u, nil
		}
	}
	want := n
	if h.size > 0 && now.Sub(h.taken) < busy {
		want = max(n, min(h.size*2, maxHand))
	}
	return c.fill(ctx, h, s, l, n, want, now)
}

// fill takes want, or less, down to n, where there is not room for as much.
func (c *Cluster) fill(ctx context.Context, h *hand, s Subject, l *Limits, n, want int64, now time.Time) (Usage, error) {
	var got int64
	u, starts, err := c.edit(ctx, h, s, l, now, func(t *tally, u *Usage) {
		room := want
		for p := range Periods {
			if l[p] != 0 {
				// A part of what there is: the other nodes want some too.
				room = min(room, max((l[p]-t.count[p])/4, n))
			}
		}
		got = room
		if t.take(l, got, false, u); u.Full >= 0 {
			got = 0
		}
	})
	if err != nil {
		return u, err
	}
	h.left, h.size, h.taken, h.starts, h.usage, h.full = 0, got, now, starts, u, time.Time{}
	if u.Full < 0 {
		h.left = got - n
	} else {
		h.full = now.Add(fullLife)
	}
	out := h.now(l, now)
	out.Full = u.Full
	return out, nil
}

// Add implements Counter.
func (c *Cluster) Add(ctx context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error) {
	h := c.of(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	u, starts, err := c.edit(ctx, h, s, l, now, func(t *tally, u *Usage) { t.take(l, n, true, u) })
	if err == nil {
		h.left, h.size, h.taken, h.starts, h.usage = 0, 0, now, starts, u
	}
	return u, err
}

// edit changes a subject's counts in one transaction, after taking back what the hand
// holds no longer.
func (c *Cluster) edit(ctx context.Context, h *hand, s Subject, l *Limits, now time.Time, change func(*tally, *Usage)) (Usage, [Periods]int64, error) {
	var u Usage
	var t tally
	err := c.records.Edit(ctx, Collection, key(s), func(old schema.Record) schema.Record {
		t, u = decode(old), Usage{Full: -1}
		t.roll(l, now, &u)
		for p := range Periods {
			if l[p] != 0 && h.starts[p] == t.start[p] {
				t.count[p] = max(t.count[p]-h.left, 0)
			}
		}
		change(&t, &u)
		_, end := l.Longest().Window(now)
		return t.encode(float64(end - now.Unix() + 1))
	})
	return u, t.start, err
}

// Close implements Counter: what the hands hold is given back.
func (c *Cluster) Close() {
	c.mu.Lock()
	held := maps.Clone(c.subjects)
	clear(c.subjects)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	for s, h := range held {
		h.mu.Lock()
		if left, starts := h.left, h.starts; left > 0 {
			h.left = 0
			// A failure leaves them counted until the windows end, which errs on the safe side.
			_ = c.records.Edit(ctx, Collection, key(s), func(old schema.Record) schema.Record {
				if old == nil {
					return nil
				}
				t := decode(old)
				for p := range Periods {
					if t.start[p] == starts[p] {
						t.count[p] = max(t.count[p]-left, 0)
					}
				}
				return t.encode(old["ttl"])
			})
		}
		h.mu.Unlock()
	}
}

// holds reports whether the hand is of the present windows.
func (h *hand) holds(l *Limits, now time.Time) bool {
	if now.Sub(h.taken) > handLife || now.Before(h.taken) {
		return false
	}
	for p := range Periods {
		if start, _ := p.Window(now); l[p] != 0 && h.starts[p] != start {
			return false
		}
	}
	return true
}

// now is the usage as it stands: what is in the hand is not used yet.
func (h *hand) now(l *Limits, now time.Time) Usage {
	u := Usage{Full: -1}
	for p := range Periods {
		if l[p] != 0 {
			_, end := p.Window(now)
			u.Left[p], u.Reset[p] = h.usage.Left[p]+h.left, max(end-now.Unix(), 1)
		}
	}
	return u
}

// space is the name space of the subjects' ids.
var space = uuid.MustParse("5b8f3a0c-6a44-4bd5-9d3c-1f0d7f0f5a11")

func key(s Subject) string { return uuid.NewSHA1(space, []byte(s.Plugin+"\x00"+s.Who)).String() }

func decode(r schema.Record) (t tally) {
	starts, _ := r["starts"].([]any)
	counts, _ := r["counts"].([]any)
	for i := range min(len(starts), len(counts), int(Periods)) {
		at, _ := starts[i].(float64)
		n, _ := counts[i].(float64)
		t.start[i], t.count[i] = int64(at), int64(n)
	}
	return t
}

func (t *tally) encode(ttl any) schema.Record {
	list := func(v [Periods]int64) []any {
		out := make([]any, 0, Periods)
		for n := range slices.Values(v[:]) {
			out = append(out, float64(n))
		}
		return out
	}
	return schema.Record{"starts": list(t.start), "counts": list(t.count), "ttl": ttl}
}

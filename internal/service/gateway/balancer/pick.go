package balancer

import (
	"container/heap"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Algorithm is a way to spread requests.
type Algorithm uint8

// The algorithms.
const (
	RoundRobin Algorithm = iota
	ConsistentHashing
	LeastConnections
	Latency
)

// picker chooses an address, if it can none of those tried. It returns nil where it has none.
type picker interface {
	pick(hash uint64, tried []netip.AddrPort) *Address
}

func wasTried(a *Address, tried []netip.AddrPort) bool { return slices.Contains(tried, a.Addr) }

// roundRobin gives each address its turns at equal distances, by its weight: the next is
// always the one whose turn is due first.
type roundRobin struct {
	mu   sync.Mutex
	turn turns
}

type turn struct {
	at    float64
	order int
	a     *Address
}

type turns []turn

func (t turns) Len() int { return len(t) }
func (t turns) Less(i, j int) bool {
	return t[i].at < t[j].at || t[i].at == t[j].at && t[i].order < t[j].order
}
func (t turns) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push and Pop complete heap.Interface; the heap does not change its size.
func (t *turns) Push(any) {}

// Pop is not called.
func (t *turns) Pop() any { return nil }

func newRoundRobin(addresses []*Address) *roundRobin {
	r := &roundRobin{turn: make(turns, len(addresses))}
	for i, a := range addresses {
		r.turn[i] = turn{0.5 / float64(a.Weight), i, a}
	}
	// Starting anywhere keeps many nodes, or many changes in a row, from all beginning
	// with the same address.
	if n := len(addresses); n > 0 {
		heap.Init(&r.turn)
		for range rand.IntN(n) {
			r.next(0)
		}
	}
	return r
}

func (r *roundRobin) next(i int) *Address {
	a := r.turn[i].a
	r.turn[i].at += 1 / float64(a.Weight)
	heap.Fix(&r.turn, i)
	return a
}

func (r *roundRobin) pick(_ uint64, tried []netip.AddrPort) *Address {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.turn) == 0 {
		return nil
	}
	best := 0
	if len(tried) > 0 {
		best = -1
		for i := range r.turn {
			if !wasTried(r.turn[i].a, tried) && (best < 0 || r.turn.Less(i, best)) {
				best = i
			}
		}
		best = max(best, 0)
	}
	return r.next(best)
}

// leastConnections takes the address with the fewest requests in flight for its weight.
type leastConnections struct {
	addresses []*Address
	start     atomic.Uint32 // where the search begins, so that equals take turns
}

func (l *leastConnections) pick(_ uint64, tried []netip.AddrPort) *Address {
	n := len(l.addresses)
	if n == 0 {
		return nil
	}
	from := int(l.start.Add(1) % uint32(n))
	var best, any *Address
	for i := range n {
		a := l.addresses[(from+i)%n]
		switch {
		case wasTried(a, tried):
			if any == nil || a.load() < any.load() {
				any = a
			}
		case best == nil || a.load() < best.load():
			best = a
		}
	}
	if best == nil {
		return any
	}
	return best
}

// latency takes the better of two addresses chosen at random.
type latency struct {
	addresses []*Address
	now       func() time.Time
}

func (l *latency) pick(_ uint64, tried []netip.AddrPort) *Address {
	n := len(l.addresses)
	if n == 0 {
		return nil
	}
	first := l.fresh(rand.IntN(n), tried)
	if n == 1 {
		return first
	}
	second := l.fresh(rand.IntN(n), tried)
	for second == first {
		i := slices.Index(l.addresses, first)
		if second = l.addresses[(i+1+rand.IntN(n-1))%n]; wasTried(second, tried) {
			return first
		}
	}
	now := l.now()
	if second.latency.score(now) < first.latency.score(now) {
		return second
	}
	return first
}

// fresh returns the address at i, or the next one that was not tried.
func (l *latency) fresh(i int, tried []netip.AddrPort) *Address {
	for j := range l.addresses {
		if a := l.addresses[(i+j)%len(l.addresses)]; !wasTried(a, tried) {
			return a
		}
	}
	return l.addresses[i]
}

// pointsPerAddress is how many points an address of average weight has on the ring.
const pointsPerAddress = 160

// ring maps hashes to addresses so that few of them move when addresses change. Hashes
// fall into slots; a slot belongs to the address whose point follows it on the ring.
type ring struct {
	points []point
	slots  []int32 // index of the point that follows the slot's place
}

type point struct {
	at uint64
	a  *Address
}

func newRing(addresses []*Address, slots int) *ring {
	total := 0
	for _, a := range addresses {
		total += a.Weight
	}
	r := &ring{slots: make([]int32, slots)}
	var key []byte
	for _, a := range addresses {
		n := max(1, int(float64(a.Weight)/float64(total)*float64(len(addresses))*pointsPerAddress+0.5))
		for i := range n {
			key = a.Addr.AppendTo(key[:0])
			key = append(key, ' ')
			key = binary.AppendUvarint(key, uint64(i))
			r.points = append(r.points, point{xxhash.Sum64(key), a})
		}
	}
	slices.SortStableFunc(r.points, func(a, b point) int {
		switch {
		case a.at < b.at:
			return -1
		case a.at > b.at:
			return 1
		}
		return a.a.Addr.Compare(b.a.Addr)
	})
	next, width := 0, ^uint64(0)/uint64(slots)
	for i := range r.slots {
		for next < len(r.points) && r.points[next].at < uint64(i)*width {
			next++
		}
		if r.slots[i] = int32(next); next == len(r.points) {
			r.slots[i] = 0
		}
	}
	return r
}

func (r *ring) pick(hash uint64, tried []netip.AddrPort) *Address {
	if len(r.points) == 0 {
		return nil
	}
	from := int(r.slots[hash%uint64(len(r.slots))])
	var any *Address
	for i := range r.points {
		a := r.points[(from+i)%len(r.points)].a
		if !a.Healthy() {
			continue
		}
		if !wasTried(a, tried) {
			return a
		}
		if any == nil {
			any = a
		}
	}
	return any
}

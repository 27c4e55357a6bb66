package engine

import (
	"container/heap"
	"strconv"
	"sync"
	"time"
)

// item stands for a queued flow file in memory; the rest of it is in the repository.
type item struct {
	seq     uint64
	size    int64 // of the content
	weight  int64 // of the record
	entered int64 // ms
	due     int64 // penalised until, ms
	rank    string
}

// before orders two items; 0 where it has no opinion.
type before func(a, b *item) int

// prioritizers by the last part of their type.
var prioritizers = map[string]before{
	"FirstInFirstOutPrioritizer":     func(_, _ *item) int { return 0 },
	"NewestFlowFileFirstPrioritizer": func(a, b *item) int { return compare(b.seq, a.seq) },
	"OldestFlowFileFirstPrioritizer": func(a, b *item) int { return compare(a.entered, b.entered) },
	"PriorityAttributePrioritizer":   byRank,
}

func compare[N int64 | uint64](a, b N) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// byRank orders by the attribute priority: numbers before texts, no value last.
func byRank(a, b *item) int {
	x, errX := strconv.ParseInt(a.rank, 10, 64)
	y, errY := strconv.ParseInt(b.rank, 10, 64)
	switch {
	case errX == nil && errY == nil:
		return compare(x, y)
	case errX == nil:
		return -1
	case errY == nil:
		return 1
	case a.rank == b.rank:
		return 0
	case a.rank == "" || b.rank != "" && a.rank > b.rank:
		return 1
	}
	return -1
}

// items is a heap in the order of the prioritizers, then of arrival.
type items struct {
	list  []item
	order []before
}

func (h *items) Len() int { return len(h.list) }
func (h *items) Less(i, j int) bool {
	for _, f := range h.order {
		if c := f(&h.list[i], &h.list[j]); c != 0 {
			return c < 0
		}
	}
	return h.list[i].seq < h.list[j].seq
}
func (h *items) Swap(i, j int) { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *items) Push(x any)    { h.list = append(h.list, x.(item)) }
func (h *items) Pop() any {
	last := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return last
}

// link is a connection of a flow as it was planned.
type link struct {
	id, name           string
	from, to           *node
	relationships      []string
	maxCount, maxBytes int64 // from here on the source is held back; zero for never
	expiration         time.Duration
	order              []before
}

// queue is what waits on a connection. It outlives the flow that made it.
type queue struct {
	id string

	mu        sync.Mutex
	link      link // zero for a connection that is no more
	ready     items
	penalised items // by due
	count     int   // with those in sessions
	bytes     int64
}

func newQueue(id string) *queue {
	q := &queue{id: id}
	q.penalised.order = []before{func(a, b *item) int { return compare(a.due, b.due) }}
	return q
}

// become makes the queue that of a connection, or of none with the zero link.
func (q *queue) become(l link) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.link, q.ready.order = l, l.order
	heap.Init(&q.ready)
}

// linked reports whether the queue is part of the flow. The caller holds mu.
func (q *queue) linked() bool { return q.link.to != nil }

// add queues items that are new on this connection.
func (q *queue) add(now time.Time, list ...item) {
	q.mu.Lock()
	for _, it := range list {
		q.count++
		q.bytes += it.size
		q.push(now, it)
	}
	dest := q.link.to
	q.mu.Unlock()
	dest.wakeUp()
}

func (q *queue) push(now time.Time, it item) {
	if it.due > now.UnixMilli() {
		heap.Push(&q.penalised, it)
	} else {
		heap.Push(&q.ready, it)
	}
}

// take hands out the next item; it stays counted until done or back.
func (q *queue) take(now time.Time) (it item, expired, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(now)
	if q.ready.Len() == 0 {
		return item{}, false, false
	}
	it = heap.Pop(&q.ready).(item)
	return it, q.link.expiration > 0 && now.UnixMilli()-it.entered > q.link.expiration.Milliseconds(), true
}

// settle moves what is penalised no more.
func (q *queue) settle(now time.Time) {
	for q.penalised.Len() > 0 && q.penalised.list[0].due <= now.UnixMilli() {
		heap.Push(&q.ready, heap.Pop(&q.penalised))
	}
}

// done forgets items whose records are removed.
func (q *queue) done(n int, bytes int64) {
	q.mu.Lock()
	was := q.fullLocked()
	q.count -= n
	q.bytes -= bytes
	freed := was && !q.fullLocked()
	source := q.link.from
	q.mu.Unlock()
	if freed {
		source.wakeUp()
	}
}

// back returns a taken item.
func (q *queue) back(now time.Time, it item) {
	q.mu.Lock()
	q.push(now, it)
	dest := q.link.to
	q.mu.Unlock()
	dest.wakeUp()
}

// waiting reports whether there is something to take, and if not, when the first penalty ends.
func (q *queue) waiting(now time.Time) (ready bool, due int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settle(now)
	if q.ready.Len() > 0 {
		return true, 0
	}
	if q.penalised.Len() > 0 {
		due = q.penalised.list[0].due
	}
	return false, due
}

// holds reports whether the queue is full and so holds its source back.
func (q *queue) holds(source *node) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.link.to != source && q.fullLocked()
}

func (q *queue) fullLocked() bool {
	return q.link.maxCount > 0 && int64(q.count) >= q.link.maxCount || q.link.maxBytes > 0 && q.bytes >= q.link.maxBytes
}

// drain takes everything that no session holds.
func (q *queue) drain() []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	out := append(q.ready.list, q.penalised.list...)
	q.ready.list, q.penalised.list = nil, nil
	return out
}

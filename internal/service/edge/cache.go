package edge

import (
	"sync"
	"sync/atomic"
)

// askedAt is when this node last asked for something, in milliseconds since 1970.
type askedAt = atomic.Int64

// recent keeps what was used last, up to a size. What is put is never changed.
type recent[T any] struct {
	mu    sync.Mutex
	size  int
	limit int
	items map[string]T
	cost  func(T) int
}

func newRecent[T any](limit int, cost func(T) int) *recent[T] {
	return &recent[T]{limit: limit, items: map[string]T{}, cost: cost}
}

func (r *recent[T]) get(key string) (T, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.items[key]
	return v, ok
}

func (r *recent[T]) put(key string, v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.items[key]; ok {
		r.size -= r.cost(old)
	}
	r.items[key] = v
	r.size += r.cost(v)
	for k, old := range r.items { // any: what is needed is made again
		if r.size <= r.limit {
			return
		}
		if k != key {
			r.size -= r.cost(old)
			delete(r.items, k)
		}
	}
}

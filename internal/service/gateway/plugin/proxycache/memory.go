package proxycache

import (
	"container/list"
	"sync"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// slot is where an answer is kept.
type slot struct{ dictionary, key string }

// answer is what is kept of an upstream's answer. It does not change.
type answer struct {
	status  int
	header  []gateway.Field
	body    []byte
	stored  time.Time
	ttl     time.Duration // it is fresh for so long
	expires time.Time
	vary    []gateway.Field // the request's values of the headers that Vary names
}

// overhead is about what an answer takes besides its text.
const overhead = 512

func (a *answer) size() int {
	n := overhead + len(a.body)
	for _, f := range a.header {
		n += len(f.Name) + len(f.Value) + 32
	}
	return n
}

// memory keeps answers, the one used last in front.
type memory struct {
	max int

	mu    sync.Mutex
	size  int
	order *list.List // of *kept
	at    map[slot]*list.Element
}

type kept struct {
	slot slot
	*answer
}

func newMemory(maxBytes int) *memory {
	return &memory{max: maxBytes, order: list.New(), at: map[slot]*list.Element{}}
}

// get finds an answer that has not expired.
func (m *memory) get(s slot, now time.Time) (*answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.at[s]
	if !ok {
		return nil, false
	}
	k := e.Value.(*kept)
	if !now.Before(k.expires) {
		m.remove(e)
		return nil, false
	}
	m.order.MoveToFront(e)
	return k.answer, true
}

// put keeps an answer, in the place of those used the longest ago.
func (m *memory) put(s slot, a *answer) {
	size := a.size()
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.at[s]; ok {
		m.remove(e)
	}
	if size > m.max {
		return
	}
	for m.size+size > m.max {
		m.remove(m.order.Back())
	}
	m.size += size
	m.at[s] = m.order.PushFront(&kept{s, a})
}

// drop forgets an answer and reports whether there was one.
func (m *memory) drop(s slot) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.at[s]
	if ok {
		m.remove(e)
	}
	return ok
}

// flush forgets all answers.
func (m *memory) flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.order.Init()
	clear(m.at)
	m.size = 0
}

func (m *memory) remove(e *list.Element) {
	k := m.order.Remove(e).(*kept)
	delete(m.at, k.slot)
	m.size -= k.size()
}

package warehouse

import (
	"context"
	"sync"
)

// turns lets one at a time have a table.
type turns struct {
	mu    sync.Mutex
	taken map[string]*turn
}

type turn struct {
	free    chan struct{} // holds a value while nobody has the table
	waiting int
}

// lock waits for the table's turn.
func (t *turns) lock(ctx context.Context, table string) (unlock func(), err error) {
	t.mu.Lock()
	if t.taken == nil {
		t.taken = map[string]*turn{}
	}
	x := t.taken[table]
	if x == nil {
		x = &turn{free: make(chan struct{}, 1)}
		x.free <- struct{}{}
		t.taken[table] = x
	}
	x.waiting++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if x.waiting--; x.waiting == 0 {
			delete(t.taken, table)
		}
	}
	select {
	case <-x.free:
		return func() {
			x.free <- struct{}{}
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

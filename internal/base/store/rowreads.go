package store

import (
	"context"
	"strings"
	"sync"
	"time"
)

// Bounds of reading single rows.
const (
	maxReads   = 2   // of a table at one time
	maxGather  = 128 // rows of one read
	readWithin = 30 * time.Second
)

// reads gathers single rows of a table that are asked for while others are being read: of
// thousands that are wanted at once, each waits for a few reads, and not for thousands. One
// that is wanted alone is read at once.
type reads[T any] struct {
	slots chan struct{}

	mu   sync.Mutex
	next *read[T] // not begun; nil if nobody waits
}

// read is one query for several rows.
type read[T any] struct {
	places []Place
	done   chan struct{} // closed when rows and errs are there
	rows   map[Place]Row[T]
	errs   map[Place]error
}

func newReads[T any]() reads[T] { return reads[T]{slots: make(chan struct{}, maxReads)} }

// Get returns the row under key, and whether there is one. Who asks at the same time may get
// the same document, so it must not be changed.
func (r *Rows[T]) Get(ctx context.Context, key string) (Row[T], bool, error) {
	place := r.Place(key)
	r.reads.mu.Lock()
	q := r.reads.next
	if q == nil {
		q = &read[T]{done: make(chan struct{})}
		r.reads.next = q
		go r.run(q)
	}
	if q.places = append(q.places, place); len(q.places) == maxGather {
		r.reads.next = nil
	}
	r.reads.mu.Unlock()
	select {
	case <-q.done:
		row, ok := q.rows[place]
		return row, ok, q.errs[place]
	case <-ctx.Done():
		return Row[T]{}, false, Unreachable.Wrap(ctx.Err(), "cannot read %s", r.name)
	}
}

// run reads what has gathered when its turn comes. Nobody's context is that of all who wait.
func (r *Rows[T]) run(q *read[T]) {
	r.reads.slots <- struct{}{}
	defer func() { <-r.reads.slots }()
	r.reads.mu.Lock()
	if r.reads.next == q {
		r.reads.next = nil
	}
	r.reads.mu.Unlock()
	defer close(q.done)
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	q.rows, q.errs = map[Place]Row[T]{}, map[Place]error{}
	err := r.readInto(ctx, q, q.places...)
	if !Damaged.Is(err) {
		return
	}
	for _, p := range q.places { // what is damaged is one's own trouble
		_ = r.readInto(ctx, q, p) // kept for who waits
	}
}

// readInto reads rows and keeps them, or why they could not be read.
func (r *Rows[T]) readInto(ctx context.Context, q *read[T], places ...Place) error {
	args := make([]any, 0, maxGather)
	for i := range places {
		args = append(args, places[i][:])
	}
	// Of few lengths, as databases and drivers remember statements.
	for n := len(args); n&(n-1) != 0; n++ {
		args = append(args, args[0])
	}
	where := "keyhash IN (" + strings.TrimSuffix(strings.Repeat("?, ", len(args)), ", ") + ")"
	rows, err := r.query(ctx, where, len(args), args...)
	for _, p := range places {
		q.errs[p] = err
	}
	for _, row := range rows {
		q.rows[row.Place] = row
	}
	return err
}

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sort"
	"time"
)

// maxBatch bounds how many transactions share one commit.
const maxBatch = 256

// commitTimeout bounds one word with the database, so that a hung server fails
// transactions instead of stalling them for ever.
const commitTimeout = 15 * time.Second

// request is work for the goroutine that owns memory: a transaction, or with a nil fn a
// catch-up, or with def a registration.
type request struct {
	ctx  context.Context //nolint:containedctx // a queued request's own context
	fn   func(*Tx) error
	def  *definition
	done chan error
	err  error
}

// Update runs fn in a transaction. fn runs once, while every other transaction of every
// node waits: it reads, decides and writes, and does nothing slow. If fn returns an error,
// nothing is written and Update returns that error.
//
// An Unreachable error means that the database did not confirm: the transaction may or
// may not have been committed, and the next transaction finds out.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	return s.submit(ctx, &request{fn: fn})
}

func (s *Store) define(def *definition) error {
	return s.submit(context.Background(), &request{def: def})
}

func (s *Store) submit(ctx context.Context, r *request) error {
	r.ctx, r.done = ctx, make(chan error, 1)
	select {
	case s.requests <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stop:
		return Unreachable.New("the control store is closed")
	}
	select {
	case err := <-r.done:
		return err
	case <-s.stopped:
		return Unreachable.New("the control store is closed")
	}
}

// serve owns the working state: it alone applies changes.
func (s *Store) serve() {
	defer close(s.stopped)
	for {
		var first *request
		select {
		case <-s.stop:
			return
		case first = <-s.requests:
		}
		if first.def != nil {
			first.done <- s.applyDefinition(first.def)
			continue
		}
		batch := []*request{first}
	gather:
		for len(batch) < maxBatch {
			select {
			case r := <-s.requests:
				if r.def != nil {
					s.commit(batch)
					batch = nil
					r.done <- s.applyDefinition(r.def)
					continue
				}
				batch = append(batch, r)
			default:
				break gather
			}
		}
		if len(batch) > 0 {
			s.commit(batch)
		}
	}
}

// commit runs a batch in one SQL transaction and answers each request.
func (s *Store) commit(batch []*request) {
	changes, err := s.commitBatch(batch)
	if err == nil {
		s.contacted()
		if changes != nil {
			s.notify(changes)
		}
	}
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
		r.done <- r.err
	}
}

func (s *Store) notify(changes []Change) {
	s.mu.Lock()
	ids := make([]int, 0, len(s.subscribers))
	for id := range s.subscribers {
		ids = append(ids, id)
	}
	sort.Ints(ids)
	fns := make([]func(*Snapshot, []Change), len(ids))
	for i, id := range ids {
		fns[i] = s.subscribers[id]
	}
	s.mu.Unlock()
	snap := s.Snapshot()
	for _, fn := range fns {
		fn(snap, changes)
	}
}

// commitBatch returns the changes that memory now shows. A non-nil empty list says that
// memory was loaded afresh.
func (s *Store) commitBatch(batch []*request) ([]Change, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	tx, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }() // no effect after a commit

	work, changes, fresh, err := s.catchUp(ctx, tx)
	if err != nil {
		return nil, err
	}
	revision := tx.revision
	var writes []sealedWrite
	for _, r := range batch {
		if r.fn == nil {
			continue
		}
		if r.err = r.ctx.Err(); r.err != nil {
			continue // its caller is gone: do not do what nobody waits for
		}
		t := &Tx{ctx: ctx, sql: tx, dia: s.dia, revision: revision + 1, base: work, own: map[string]*state{}}
		if r.err = runFn(r.fn, t); r.err != nil || len(t.writes) == 0 {
			continue
		}
		if !t.noRoom && slices.ContainsFunc(t.writes, func(w write) bool { return w.raw != nil }) {
			if r.err = s.room(); r.err != nil {
				continue
			}
		}
		revision++
		maps.Copy(work, t.own)
		sealed, err := s.sealWrites(revision, t.writes)
		if err != nil {
			r.err = err
			return nil, err
		}
		writes = append(writes, sealed...)
		for _, w := range t.writes {
			changes = append(changes, Change{Revision: revision, Collection: w.collection, Key: w.key, Deleted: w.raw == nil})
		}
	}
	if len(writes) > 0 {
		if err := s.dia.write(ctx, tx.Tx, revision, writes); err != nil {
			return nil, s.dia.unreachable(err, "the control store did not take the change")
		}
		if err := tx.Commit(); err != nil {
			return nil, s.dia.unreachable(err, "the control store did not confirm the change")
		}
		if fn := s.committed.Load(); fn != nil {
			(*fn)(revision)
		}
	}
	if revision == s.Snapshot().revision && !fresh {
		return nil, nil
	}
	s.publish(revision, work)
	if fresh {
		return []Change{}, nil
	}
	return changes, nil
}

func runFn(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: transaction panicked: %v\n%s", p, debug.Stack())
		}
	}()
	return fn(tx)
}

// publish makes work the newest snapshot. The trees handed out are copies, as work's own
// go on to be written.
func (s *Store) publish(revision int64, work map[string]*state) {
	snap := &Snapshot{revision: revision, collections: make(map[string]*state, len(work))}
	maps.Copy(snap.collections, work)
	s.published.Store(snap)
}

// catchUp returns working states at the database's revision: the published ones, with what
// other nodes committed since.
func (s *Store) catchUp(ctx context.Context, tx *lockedTx) (work map[string]*state, changes []Change, fresh bool, err error) {
	snap := s.Snapshot()
	work = maps.Clone(snap.collections)
	if tx.revision == snap.revision {
		return work, nil, false, nil
	}
	if tx.revision < snap.revision || snap.revision < tx.compacted {
		loaded, err := s.loadIn(ctx, tx)
		if err != nil {
			return nil, nil, false, err
		}
		return loaded.collections, nil, true, nil
	}
	rows, err := tx.QueryContext(ctx, s.dia.rebind(
		"SELECT revision, collection, keyhash, body FROM sluice_changes WHERE revision > ? ORDER BY revision, ord"), snap.revision)
	if err != nil {
		return nil, nil, false, Unreachable.Wrap(err, "cannot read the control store's feed")
	}
	defer func() { _ = rows.Close() }() // rows.Err below is the one that counts
	cloned := map[string]bool{}
	for rows.Next() {
		var c Change
		var hash, body []byte
		if err := rows.Scan(&c.Revision, &c.Collection, &hash, &body); err != nil {
			return nil, nil, false, Unreachable.Wrap(err, "cannot read the control store's feed")
		}
		rec, err := s.seal.openRecord(body, c.Collection, hash, c.Revision)
		if err != nil {
			return nil, nil, false, err
		}
		if !cloned[c.Collection] {
			cloned[c.Collection] = true
			if st := work[c.Collection]; st != nil {
				work[c.Collection] = st.clone()
			} else {
				work[c.Collection] = newState(&definition{name: c.Collection})
			}
		}
		if err := work[c.Collection].load(rec); err != nil {
			return nil, nil, false, err
		}
		c.Key, c.Deleted = rec.Key, rec.Deleted
		changes = append(changes, c)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, false, Unreachable.Wrap(err, "cannot read the control store's feed")
	}
	return work, changes, false, nil
}

// sealedWrite is a write as the database sees it.
type sealedWrite struct {
	revision   int64
	ord        int
	collection string
	hash       []byte
	body       []byte
	deleted    bool
}

func (s *Store) sealWrites(revision int64, writes []write) ([]sealedWrite, error) {
	out := make([]sealedWrite, 0, len(writes))
	for i, w := range writes {
		hash := s.seal.hash(w.collection, w.key)
		body, err := s.seal.sealRecord(record{Key: w.key, Deleted: w.raw == nil, Doc: w.raw}, w.collection, hash, revision)
		if err != nil {
			return nil, err
		}
		out = append(out, sealedWrite{revision, i, w.collection, hash, body, w.raw == nil})
	}
	return out, nil
}

// applyDefinition gives a collection its type and rules, and indexes what was loaded.
func (s *Store) applyDefinition(def *definition) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, dup := s.definitions[def.name]; dup {
		return fmt.Errorf("store: collection %s is registered twice", def.name)
	}
	for i, r := range def.rules {
		if r.kind != refersRule {
			continue
		}
		to := s.definitions[r.to]
		if r.to == def.name {
			to = def
		}
		if to == nil {
			return fmt.Errorf("store: collection %s refers to %s, which must be registered first", def.name, r.to)
		}
		to.referrers = append(to.referrers, referrer{def.name, i, r.on})
	}
	s.definitions[def.name] = def
	snap := s.Snapshot()
	work := maps.Clone(snap.collections)
	st := newState(def)
	if raw := work[def.name]; raw != nil {
		var err error
		raw.docs.Scan(func(key string, doc any) bool {
			err = st.load(record{Key: key, Doc: doc.(json.RawMessage)})
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	work[def.name] = st
	s.publish(snap.revision, work)
	return nil
}

package engine

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
)

// Session is one unit of a processor's work. It is for one goroutine.
type Session struct {
	n     *node
	files []*FlowFile
	state map[string][]byte
	sync  bool // something arrived: the commit must be durable

	mu    sync.Mutex // for abandon, which the engine calls
	ended bool

	counts counts
}

// Get returns the next flow file of the incoming connections, nil if there is none.
func (s *Session) Get() (*FlowFile, error) {
	for range s.n.in {
		q := s.n.in[int(s.n.turn.Add(1))%len(s.n.in)]
		for {
			it, expired, ok := q.take(s.n.engine.clock.Now())
			if !ok {
				break
			}
			f := &FlowFile{from: q, item: it, content: &content{size: it.size}}
			if err := s.hold(f); err != nil {
				return nil, err
			}
			rec, err := s.n.engine.repo.load(q.id, it.seq)
			if err != nil {
				return nil, err
			}
			f.Attributes, f.Entered, f.origin = rec.Attributes, time.UnixMilli(rec.Entered), rec.Claim
			f.content.claim = rec.Claim
			if expired {
				f.fate = removed
				s.n.counters.expired.Add(1)
				continue
			}
			s.counts.in++
			s.counts.bytesIn += it.size
			return f, nil
		}
	}
	return nil, nil //nolint:nilnil // no flow file is no error
}

// hold makes f the session's, unless the engine has ended it.
func (s *Session) hold(f *FlowFile) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		if f.from != nil {
			f.from.back(s.n.engine.clock.Now(), f.item)
		}
		return Ended.New("the processor was stopped")
	}
	if len(s.files) == 0 {
		s.n.remember(s)
	}
	s.files = append(s.files, f)
	return nil
}

// GetBatch returns up to n flow files, and stops where their content passes size bytes.
func (s *Session) GetBatch(n int, size int64) ([]*FlowFile, error) {
	var out []*FlowFile
	for total := int64(0); len(out) < n && total < size; {
		f, err := s.Get()
		if err != nil || f == nil {
			return out, err
		}
		out = append(out, f)
		total += f.Size()
	}
	return out, nil
}

// Create makes an empty flow file. Without parents it is an arrival.
func (s *Session) Create(parents ...*FlowFile) *FlowFile {
	f := newFlowFile(s.n.engine.clock.Now())
	f.inherit(parents)
	s.sync = s.sync || len(parents) == 0
	_ = s.hold(f) // if the session has ended, Commit says so
	return f
}

// Clone makes a flow file of the same attributes and content.
func (s *Session) Clone(f *FlowFile) *FlowFile {
	g := s.Create(f)
	g.content = f.content
	return g
}

// Move hands a flow file that this session got from a queue to another session of the same
// processor, as it is.
func (s *Session) Move(f *FlowFile, to *Session) error {
	s.mu.Lock()
	i := slices.Index(s.files, f)
	if s.ended || i < 0 {
		s.mu.Unlock()
		return Ended.New("the session has no such flow file")
	}
	s.files = slices.Delete(s.files, i, i+1)
	s.mu.Unlock()
	return to.hold(f)
}

// Write gives f the content that fill writes.
func (s *Session) Write(f *FlowFile, fill func(io.Writer) error) error {
	c := &content{}
	if err := fill(&writer{repo: &s.n.engine.repo, c: c, most: s.n.engine.maxContent}); err != nil {
		s.n.engine.repo.discard(c)
		return err
	}
	old := f.content
	f.content = c
	if !s.shares(old) {
		s.n.engine.repo.discard(old)
	}
	s.counts.written += c.size
	return nil
}

func (s *Session) shares(c *content) bool {
	for _, f := range s.files {
		if f.content == c {
			return true
		}
	}
	return false
}

// WriteBytes gives f the content b.
func (s *Session) WriteBytes(f *FlowFile, b []byte) error {
	return s.Write(f, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}

// Read returns a reader of f's content.
func (s *Session) Read(f *FlowFile) io.Reader {
	s.counts.read += f.content.size
	return s.n.engine.repo.reader(f.content)
}

// Bytes returns f's content if it has at most most bytes.
func (s *Session) Bytes(f *FlowFile, most int64) ([]byte, error) {
	if f.Size() > most {
		return nil, TooLarge.New("the content has %d bytes, more than %d", f.Size(), most)
	}
	b := make([]byte, f.Size())
	_, err := io.ReadFull(s.Read(f), b)
	return b, err
}

// Transfer decides that f goes to a relationship with the commit.
func (s *Session) Transfer(f *FlowFile, relationship string) {
	f.fate, f.rel = transferred, relationship
}

// Penalize makes f wait for the processor's penalty time where it is transferred to.
func (s *Session) Penalize(f *FlowFile) { f.penalty = true }

// Remove decides that f ends with the commit.
func (s *Session) Remove(f *FlowFile) { f.fate = removed }

// SetState keeps a value of the processor, durable with the commit.
func (s *Session) SetState(key string, value []byte) {
	if s.state == nil {
		s.state = map[string][]byte{}
	}
	s.state[key] = value
	s.sync = true
}

// State is the value of key as this session sees it.
func (s *Session) State(key string) ([]byte, bool, error) {
	if v, ok := s.state[key]; ok {
		return v, true, nil
	}
	return s.n.engine.repo.state(s.n.spec.ID, key)
}

// Fed reports whether flow files come to the processor from others; if not, its schedule alone
// says what it does.
func (s *Session) Fed() bool { return s.n.fed }

// Yield makes the processor wait for its yield time before it is triggered again.
func (s *Session) Yield() { s.n.pause() }

// Accepting is Host.Accepting.
func (s *Session) Accepting() bool { return (&Host{s.n}).Accepting() }

var errUndecided = errors.New("a flow file was neither transferred nor removed")

// Commit makes everything happen at once. Arrivals are durable on return. The session is
// empty afterwards and may be used again. After an error nothing has happened, and the
// session must be rolled back.
func (s *Session) Commit() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return Ended.New("the processor was stopped")
	}
	if len(s.files) == 0 && s.state == nil {
		s.finish()
		return nil
	}
	repo, now := &s.n.engine.repo, s.n.engine.clock.Now()
	b := repo.db.NewBatch()
	added := map[*queue][]item{}
	var held []*content
	var freed []uint64
	var weight int64
	undo := func(err error) error {
		b.Discard()
		repo.unhold(held)
		return err
	}
	for _, f := range s.files {
		if f.from != nil {
			b.Delete(queueKey(f.from.id, f.item.seq))
			weight -= f.item.weight
			if f.origin != 0 {
				freed = append(freed, f.origin)
			}
		}
		switch {
		case f.fate == removed:
			continue
		case f.fate == undecided:
			return undo(errUndecided)
		}
		targets, known := s.n.out[f.rel]
		if !known {
			return undo(fmt.Errorf("there is no relationship %q", f.rel))
		}
		s.counts.out++
		s.counts.bytesOut += f.content.size
		if len(targets) == 0 {
			continue // auto-terminated
		}
		if c := f.content; len(c.tail) > 0 {
			if c.claim == 0 {
				c.claim = repo.last.Add(1)
			}
			b.Set(chunkKey(c.claim, c.fresh), c.tail)
		}
		for i, q := range targets {
			it, rec, err := s.place(f, i, now)
			if err != nil {
				return undo(err)
			}
			if f.content.claim != 0 {
				repo.hold(f.content)
				held = append(held, f.content)
			}
			b.Set(queueKey(q.id, it.seq), rec)
			weight += it.weight
			added[q] = append(added[q], it)
		}
	}
	for k, v := range s.state {
		b.Set(stateKey(s.n.spec.ID, k), v)
	}
	commit := b.CommitUnsynced
	if s.sync {
		commit = b.Commit
	}
	if err := commit(); err != nil {
		repo.unhold(held)
		return err
	}
	repo.used.Add(weight)
	s.settle(added, now)
	err := repo.release(freed)
	s.n.engine.freed()
	s.n.counters.add(&s.counts)
	s.finish()
	return err
}

// place makes the record of f for the i-th connection of its relationship.
func (s *Session) place(f *FlowFile, i int, now time.Time) (item, []byte, error) {
	rec := record{Attributes: f.Attributes, Entered: f.Entered.UnixMilli(), Claim: f.content.claim, Size: f.content.size}
	if i > 0 { // a copy is a flow file of its own
		rec.Attributes = maps.Clone(f.Attributes)
		rec.Attributes[AttrUUID] = uuid.NewString()
	}
	if f.penalty {
		rec.Due = now.Add(s.n.penalty).UnixMilli()
	}
	b, err := rec.encode()
	return item{seq: s.n.engine.repo.last.Add(1), size: rec.Size, weight: int64(len(b)), entered: rec.Entered, due: rec.Due, rank: f.Attributes["priority"]}, b, err
}

// settle brings the queues in memory up to a commit.
func (s *Session) settle(added map[*queue][]item, now time.Time) {
	for q, list := range added {
		q.add(now, list...)
	}
	gone := map[*queue]struct {
		n     int
		bytes int64
	}{}
	for _, f := range s.files {
		if f.from != nil {
			g := gone[f.from]
			g.n++
			g.bytes += f.item.size
			gone[f.from] = g
		}
		if f.content.fresh > 0 && (f.fate == removed || len(s.n.out[f.rel]) == 0) && !s.kept(f) {
			s.n.engine.repo.discard(f.content)
		}
	}
	for q, g := range gone {
		q.done(g.n, g.bytes)
	}
}

// kept reports whether another flow file of the session lives on with f's content.
func (s *Session) kept(f *FlowFile) bool {
	for _, g := range s.files {
		if g != f && g.content == f.content && g.fate == transferred && len(s.n.out[g.rel]) > 0 {
			return true
		}
	}
	return false
}

// Rollback puts everything back as it was, penalised if the work failed.
func (s *Session) Rollback(penalize bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.putBack(penalize)
		s.finish()
	}
}

func (s *Session) putBack(penalize bool) {
	now := s.n.engine.clock.Now()
	for _, f := range s.files {
		s.n.engine.repo.discard(f.content)
		if f.from == nil {
			continue
		}
		it := f.item
		if penalize {
			it.due = now.Add(s.n.penalty).UnixMilli()
		}
		f.from.back(now, it)
	}
}

// abandon rolls the session back from outside and refuses what its task does later.
func (s *Session) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended = true
		s.putBack(false)
		s.n.forget(s)
	}
}

func (s *Session) finish() {
	s.files, s.state, s.sync, s.counts = nil, nil, false, counts{}
	s.n.forget(s)
}

package engine

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"sync"
	"sync/atomic"

	"sluice.dev/sluice/internal/base/kv"
)

// chunk is how much content one entry of the repository holds.
const chunk = 256 << 10

// repository keeps flow files, content and the sources' state in one map, so that what
// belongs together is one write. Its keys are
//
//	q <length> <connection> <sequence>  a queued flow file
//	c <claim> <number>                  a chunk of content
//	s <length> <processor> <key>        a processor's state
type repository struct {
	db    *kv.DB
	limit int64
	last  atomic.Uint64 // sequence and claim numbers given out
	used  atomic.Int64  // bytes of records and content

	stalled atomic.Bool // a source saw it full

	mu     sync.Mutex
	claims map[uint64]*claim
}

// claim is content that records refer to.
type claim struct {
	refs   int
	size   int64
	chunks int
}

func queuePrefix(conn string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{'q'}, uint16(len(conn))), conn...)
}

func queueKey(conn string, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(queuePrefix(conn), seq)
}

func chunkKey(claim uint64, n int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{'c'}, claim), uint32(n))
}

func stateKey(processor, key string) []byte {
	return append(append(binary.BigEndian.AppendUint16([]byte{'s'}, uint16(len(processor))), processor...), key...)
}

// recover reads what is there: it calls queued for each flow file and removes content that
// nothing refers to, which a crash left.
func (r *repository) recover(ctx context.Context, queued func(conn string, it item, attributes map[string]string)) error {
	r.claims = map[uint64]*claim{}
	for e, err := range r.db.Scan(ctx, kv.Prefix([]byte{'q'})) {
		if err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(e.Key[1:]))
		conn, seq := string(e.Key[3:3+n]), binary.BigEndian.Uint64(e.Key[3+n:])
		var rec record
		if err := json.Unmarshal(e.Value, &rec); err != nil {
			return kv.Corrupt.Wrap(err, "a queued flow file cannot be read")
		}
		if rec.Claim != 0 {
			c := r.claims[rec.Claim]
			if c == nil {
				c = &claim{size: rec.Size, chunks: chunksOf(rec.Size)}
				r.claims[rec.Claim] = c
				r.used.Add(c.size)
			}
			c.refs++
		}
		r.used.Add(int64(len(e.Value)))
		r.raise(max(seq, rec.Claim))
		queued(conn, item{seq: seq, size: rec.Size, weight: int64(len(e.Value)), entered: rec.Entered, due: rec.Due}, rec.Attributes)
	}
	b := r.db.NewBatch()
	for e, err := range r.db.Scan(ctx, kv.Prefix([]byte{'c'})) {
		if err != nil {
			b.Discard()
			return err
		}
		id := binary.BigEndian.Uint64(e.Key[1:])
		r.raise(id)
		if r.claims[id] == nil {
			b.Delete(append([]byte(nil), e.Key...))
		}
	}
	return b.Commit()
}

func (r *repository) raise(n uint64) {
	if n > r.last.Load() {
		r.last.Store(n)
	}
}

func chunksOf(size int64) int { return int((size + chunk - 1) / chunk) }

// full reports whether sources must wait.
func (r *repository) full() bool {
	if r.used.Load() < r.limit {
		return false
	}
	r.stalled.Store(true)
	return r.used.Load() >= r.limit
}

func (r *repository) load(conn string, seq uint64) (*record, error) {
	b, ok, err := r.db.Get(queueKey(conn, seq))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, kv.Corrupt.New("a queued flow file is not in the repository")
	}
	rec := &record{}
	if err := json.Unmarshal(b, rec); err != nil {
		return nil, kv.Corrupt.Wrap(err, "a queued flow file cannot be read")
	}
	return rec, nil
}

func (r *repository) state(processor, key string) (value []byte, ok bool, err error) {
	return r.db.Get(stateKey(processor, key))
}

// hold counts a reference to content that a batch will write.
func (r *repository) hold(c *content) {
	if c.claim == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.claims[c.claim]
	if k == nil {
		k = &claim{size: c.size, chunks: chunksOf(c.size)}
		r.claims[c.claim] = k
		r.used.Add(c.size - int64(c.fresh)*chunk) // the writer has counted those
	}
	k.refs++
}

// unhold takes back hold for a batch that was not committed; the chunks stay the session's.
func (r *repository) unhold(list []*content) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range list {
		k := r.claims[c.claim]
		if k.refs--; k.refs == 0 {
			delete(r.claims, c.claim)
			r.used.Add(int64(c.fresh)*chunk - c.size)
		}
	}
}

// release gives references back, and removes the content that nothing refers to any more. It
// follows the commit that removed the records: a crash between leaves content that recover
// removes.
func (r *repository) release(ids []uint64) error {
	r.mu.Lock()
	var gone []uint64
	var chunks []int
	for _, id := range ids {
		k := r.claims[id]
		if k == nil {
			continue
		}
		if k.refs--; k.refs > 0 {
			continue
		}
		delete(r.claims, id)
		r.used.Add(-k.size)
		gone, chunks = append(gone, id), append(chunks, k.chunks)
	}
	r.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	b := r.db.NewBatch()
	for i, id := range gone {
		dropChunks(b, id, chunks[i])
	}
	return b.CommitUnsynced()
}

// dropChunks avoids range tombstones for the usual content of one chunk.
func dropChunks(b *kv.Batch, id uint64, n int) {
	if n == 1 {
		b.Delete(chunkKey(id, 0))
		return
	}
	b.DeleteRange(chunkKey(id, 0), chunkKey(id+1, 0))
}

// discard removes chunks that a session wrote and does not commit.
func (r *repository) discard(c *content) {
	if c.fresh == 0 {
		return
	}
	b := r.db.NewBatch()
	dropChunks(b, c.claim, c.fresh)
	r.used.Add(-int64(c.fresh) * chunk)
	c.fresh = 0
	_ = b.CommitUnsynced() // else the next start removes them
}

// writer appends to content that one session makes.
type writer struct {
	repo *repository
	c    *content
	most int64
}

func (w *writer) Write(p []byte) (int, error) {
	n := len(p)
	if w.c.size+int64(n) > w.most {
		return 0, TooLarge.New("the content of a flow file may have %d bytes", w.most)
	}
	w.c.size += int64(n)
	for len(w.c.tail)+len(p) > chunk {
		room := chunk - len(w.c.tail)
		w.c.tail = append(w.c.tail, p[:room]...)
		p = p[room:]
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	w.c.tail = append(w.c.tail, p...)
	return n, nil
}

func (w *writer) flush() error {
	if w.repo.used.Load() > w.repo.limit+w.repo.limit/4 {
		return Full.New("the repository is full")
	}
	if w.c.claim == 0 {
		w.c.claim = w.repo.last.Add(1)
	}
	b := w.repo.db.NewBatch()
	b.Set(chunkKey(w.c.claim, w.c.fresh), w.c.tail)
	if err := b.CommitUnsynced(); err != nil {
		return err
	}
	w.c.fresh++
	w.repo.used.Add(chunk)
	w.c.tail = w.c.tail[:0]
	return nil
}

// reader reads content from its first byte.
type reader struct {
	repo *repository
	c    *content
	n    int // chunks read
	left int // of them to read from the repository
	rest []byte
}

func (r *repository) reader(c *content) *reader {
	stored := 0
	if c.claim != 0 {
		if stored = c.fresh; stored == 0 && c.tail == nil {
			stored = chunksOf(c.size)
		}
	}
	return &reader{repo: r, c: c, left: stored}
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		switch {
		case r.left > 0:
			b, ok, err := r.repo.db.Get(chunkKey(r.c.claim, r.n))
			if err != nil {
				return 0, err
			}
			if !ok {
				return 0, kv.Corrupt.New("the content of a flow file is not in the repository")
			}
			r.rest = b
			r.n++
			r.left--
		case r.left == 0 && len(r.c.tail) > 0:
			r.rest = r.c.tail
			r.left = -1
		default:
			return 0, io.EOF
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

package warehouse

import (
	"time"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// What the fuzz tests reach directly.

// Rewrite rewrites a statement and returns it with the way back.
func Rewrite(sql string, types []wire.Type) (string, func(int) int, error) {
	r, err := rewrite(sql, dialect{types: types, reader: pgtext.Reader{Zone: time.UTC, Now: time.Now}})
	return r.sql, r.origin, err
}

// Analyze reads a syntax tree.
func Analyze(sql string, tree []byte) error {
	_, err := analyze(sql, tree)
	return err
}

var (
	UnixLines   = unixLines
	FoldMembers = foldMembers
)

// MendNulls rewrites the markers of a block of text.
func MendNulls(x External, columns []Column, text []byte) []byte {
	b := &block{buf: text}
	newNullMarker(x, columns).mend(b)
	return b.buf
}

// Remembered returns how many of n different objects the record of proven ones keeps,
// and whether it keeps the one that was used again and again.
func Remembered(n int) (kept int, used bool) {
	p := newProvenObjects()
	id := func(i int) proof { return proofOf(nil, nil, ObjectInfo{Size: int64(i)}) }
	for i := range n {
		p.add([]proof{id(i)})
		used = p.has(id(0))
	}
	return len(p.entries), used
}

// Served waits until no worker is being reset and returns whom each waiting one has
// served, by its process; nobody while it is fresh.
func (s *Service) Served() map[int]string {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.returning) > 0 || len(p.slots) > 0 {
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
		p.mu.Lock()
	}
	out := map[int]string{}
	for _, w := range p.idle {
		out[w.cmd.Process.Pid] = w.owner
	}
	return out
}

package warehouse_test

import (
	"io"
	"sync/atomic"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/warehouse"
)

// broken is a clock that panics on demand: the rewriter asks it what 'now' is.
type broken struct {
	clock.Clock
	panics atomic.Bool
}

func (b *broken) Now() time.Time {
	if b.panics.Load() {
		panic("the clock is broken")
	}
	return b.Clock.Now()
}

// bomb is an object whose content makes the code that reads it panic.
type bomb struct{ io.ReadCloser }

func (bomb) Read([]byte) (int, error) { panic("the object is broken") }

// A fault in the code that rewrites or feeds a statement is an error of that statement, which
// gives its worker back, and the session goes on.
func TestPanicIsTheStatementsError(t *testing.T) {
	now := &broken{Clock: clock.System{}}
	s := open(t, func(c *warehouse.Config, d *warehouse.Deps) { c.Concurrency, c.Queue, d.Clock = 1, 1, now })
	c := s.as("a")
	s.put("w/a", "1,a,1,\n")
	x := table(t, s, "w", delimited)
	const message = "an internal error"
	for range 3 {
		now.panics.Store(true)
		fails(t, c, "select 'now'::timestamptz", "EngineError", message)
		st, err := c.Prepare("select 'now'::timestamptz", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := st.Describe(t.Context()); !warehouse.EngineError.Is(err) {
			t.Errorf("describe answered %v", describe(err))
		}
		now.panics.Store(false)
		s.lake.Wrap = func(in io.ReadCloser) io.ReadCloser { return bomb{in} }
		fails(t, c, "select count(*) from "+x, "EngineError", message)
		s.lake.Wrap = nil
		rows(t, c, "select count(*) from "+x, "1")
	}
}

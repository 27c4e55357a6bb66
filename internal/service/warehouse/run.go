package warehouse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// run is one statement on one worker, from its parse to its last row.
type run struct {
	svc     *Service
	session *Session
	ctx     context.Context
	cancel  context.CancelCauseFunc
	w       *process

	retried bool
	unwatch func() bool
	killer  chan *time.Timer // holds the timer once the statement was canceled

	text     rewritten
	args     []wire.Parameter
	body     int // byte of the rewritten text where the analysed query begins
	verb     string
	inputs   []*input
	gather   bool  // every pipe is read into memory first, because the plan reads one twice
	outlined bool  // the plan is shown and not run: no pipe is read
	charged  int64 // bytes of files handed over

	feeding chan error // one result per feed
	feeds   int

	decoder  *wire.Decoder
	done     *wire.Done
	err      error
	rows     int64
	finished bool // the worker has answered and is ready for a reset
	closed   bool
}

// input is one table the worker was given and where its parts come from.
type input struct {
	table  *boundTable
	keys   []string // of objects handed over as files, by descriptor
	proofs []proof  // of those, where they are text
	feed   *feed    // of text and JSON that is streamed
	once   bool     // the feed is read as it streams
}

// boundTable is a table a statement may read.
type boundTable struct {
	schema, name string // by which the statement calls it
	id           string
	doc          *Table
	state        *tableState // of a local table
	values       *wire.Table // of a catalogue table: the rows themselves
	count        int         // mentions in the statement
	own          bool        // the statement changes it
}

func (t *boundTable) String() string { return t.schema + "." + t.name }

// begin takes a worker for a statement.
func (s *Session) begin(ctx context.Context) (*run, error) {
	timed, stop := s.deadline(ctx)
	bounded, cancel := context.WithCancelCause(timed)
	w, err := s.svc.pool.acquire(bounded, s.id.ARN)
	if err != nil {
		cancel(nil)
		stop()
		return nil, err
	}
	r := &run{svc: s.svc, session: s, ctx: bounded, w: w, verb: "SELECT", finished: true,
		killer: make(chan *time.Timer, 1), feeding: make(chan error, 64)}
	r.cancel = func(cause error) { cancel(cause); stop() }
	r.watch()
	return r, nil
}

// watch sees to it that a statement nobody waits for is interrupted, and its worker ended
// if that does not help.
func (r *run) watch() {
	w := r.w
	r.unwatch = context.AfterFunc(r.ctx, func() {
		r.killer <- time.AfterFunc(r.svc.cfg.Grace, w.kill)
		_ = w.conn.Write(wire.FrameCancel, nil)
	})
}

// close ends the statement wherever it stands and gives the worker back.
func (r *run) close() {
	if r.closed {
		return
	}
	r.closed = true
	healthy := r.finished
	r.cancel(errClosed)
	for _, in := range r.inputs {
		if in.feed != nil {
			in.feed.close()
		}
	}
	for range r.feeds {
		<-r.feeding
	}
	if !healthy {
		healthy = r.drain()
	}
	if !r.unwatch() {
		(<-r.killer).Stop()
	}
	r.svc.pool.release(r.w, healthy)
}

var errClosed = errors.New("the statement was closed")

// drain reads what the worker still sends for a canceled statement. The watcher ends the
// worker when it takes too long.
func (r *run) drain() bool {
	for {
		f, err := r.w.conn.Read()
		if err != nil {
			return false
		}
		if f.Kind == wire.FrameDone || f.Kind == wire.FrameError || f.Kind == wire.FrameParsed || f.Kind == wire.FrameDescribed {
			return true
		}
	}
}

// exchange puts a new worker in the place of one that was lost.
func (r *run) exchange() bool {
	fresh, err := r.svc.pool.take(r.session.id.ARN)
	if err != nil {
		return false
	}
	if !r.unwatch() { // canceled meanwhile
		fresh.kill()
		return false
	}
	r.w.kill()
	r.w = fresh
	r.watch()
	return true
}

// send writes a frame; its failure shows when the answer is read.
func (r *run) send(kind byte, v any, files ...*os.File) { _ = r.w.conn.WriteJSON(kind, v, files...) }

// receive reads the next answer, a Failure as an error.
func (r *run) receive(want ...byte) (wire.Frame, error) {
	r.finished = false
	f, err := r.w.conn.Read()
	if err != nil {
		return f, r.lost(err)
	}
	for _, file := range f.Files {
		file.Close() // a worker has nothing to hand us
	}
	if f.Kind == wire.FrameError {
		r.finished = true
		var failure wire.Failure
		if err := json.Unmarshal(f.Payload, &failure); err != nil {
			return f, r.garbled(err)
		}
		if err := r.doubt(failure); err != nil && r.ctx.Err() == nil {
			return f, err
		}
		return f, r.explain(failure)
	}
	for _, k := range want {
		if f.Kind == k {
			return f, nil
		}
	}
	return f, r.garbled(fmt.Errorf("a frame of kind %q came unexpectedly", f.Kind))
}

func (r *run) garbled(err error) error {
	r.w.kill()
	return WorkerLost.wrap(err, "the query's worker process answered nonsense and was ended")
}

// lost explains why the worker's socket closed.
func (r *run) lost(err error) error {
	if r.ctx.Err() != nil {
		return r.stopped()
	}
	how := "ended"
	select {
	case <-r.w.exited:
		how = r.w.cmd.ProcessState.String()
	case <-time.After(time.Second):
	}
	if said := r.w.stderr.String(); strings.Contains(said, "cannot allocate memory") || strings.Contains(said, "out of memory") || strings.Contains(said, "bad_alloc") {
		return OutOfMemory.wrap(err, "the statement needs more memory than a query has").hint("warehouse.memory_mb limits it.")
	}
	r.svc.log.Warn("a query worker was lost", "how", how, "stderr", r.w.stderr.String(), "error", err)
	return WorkerLost.wrap(err, "the worker process of this query ended unexpectedly (%s); nothing else is affected", how).
		hint("Run the query again. If it ends so again, it may need more memory than a worker has.")
}

// stopped is the error of a statement whose context ended: what failed in a feed, or
// that it was canceled.
func (r *run) stopped() error {
	cause := context.Cause(r.ctx)
	if p, ok := errors.AsType[*Problem](cause); ok {
		return p
	}
	if fault.ReasonOf(cause) != nil {
		return cause
	}
	return canceled(r.ctx)
}

// parse asks the engine's parser what a query reads.
func (r *run) parse(sql string) (*analysis, error) {
	r.send(wire.FrameParse, wire.Parse{SQL: sql})
	f, err := r.receive(wire.FrameParsed)
	if WorkerLost.Is(err) && !r.retried {
		// It was dying while it was idle: the statement has not begun and can have another.
		if r.retried = true; r.exchange() {
			return r.parse(sql)
		}
	}
	if err != nil {
		return nil, err
	}
	r.finished = true
	return analyze(sql, f.Payload)
}

// describe asks for the parameters and columns of a statement.
func (r *run) describe(sql string) (wire.Described, error) {
	var d wire.Described
	r.send(wire.FrameDescribe, wire.Describe{SQL: sql})
	f, err := r.receive(wire.FrameDescribed)
	if err != nil {
		return d, err
	}
	r.finished = true
	if err := json.Unmarshal(f.Payload, &d); err != nil {
		return d, r.garbled(err)
	}
	return d, nil
}

// execute runs a statement up to its columns.
func (r *run) execute(x wire.Execute) ([]wire.Column, error) {
	r.send(wire.FrameExecute, x)
	f, err := r.receive(wire.FrameColumns)
	if err != nil {
		return nil, err
	}
	var columns []wire.Column
	if err := json.Unmarshal(f.Payload, &columns); err != nil {
		return nil, r.garbled(err)
	}
	r.decoder = wire.NewDecoder(columns)
	return columns, nil
}

// next returns the next row, nil at the end.
func (r *run) next() ([]wire.Cell, error) {
	for r.err == nil && r.done == nil {
		row, err := r.decoder.Next()
		if err != nil {
			r.err = r.garbled(err)
			break
		}
		if row != nil {
			r.rows++
			r.text.show(row)
			return row, nil
		}
		f, err := r.receive(wire.FrameRows, wire.FrameDone)
		switch {
		case err != nil:
			r.err = err
		case f.Kind == wire.FrameRows:
			r.decoder.Load(f.Payload)
		default:
			r.err = r.finish(f)
		}
	}
	return nil, r.err
}

// finish reads the Done frame and judges what the feeds say.
func (r *run) finish(f wire.Frame) error {
	r.finished = true
	var done wire.Done
	if err := json.Unmarshal(f.Payload, &done); err != nil {
		return r.garbled(err)
	}
	// A feed that failed canceled the statement; its result may rest on part of the data.
	if r.ctx.Err() != nil {
		return r.stopped()
	}
	r.done = &done
	bad := r.malformed()
	r.prove(bad)
	for _, m := range bad {
		if m.strict {
			return BadData.new("table %s: %s", m.table, m)
		}
	}
	return nil
}

func (r *run) tag() string {
	if r.verb == "EXPLAIN" {
		return r.verb
	}
	return fmt.Sprintf("%s %d", r.verb, r.rows)
}

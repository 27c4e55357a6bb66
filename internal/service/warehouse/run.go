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

	text    rewritten
	body    int // byte of the rewritten text where the analysed query begins
	verb    string
	inputs  []*input
	charged int64 // bytes of Parquet handed over

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
	table *boundTable
	keys  []string // of Parquet objects, by descriptor
	feed  *feed    // of text and JSON
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

// prepare makes the engine ready for the statement with its tables.
func (r *run) prepare(tables []*boundTable, stub bool, gather func(*boundTable) ([]string, bool)) error {
	set := &r.session.settings
	var visible []int // only the catalogue's readers can ask which tables are
	for _, t := range tables {
		if t.values != nil {
			_, seen := r.session.seenTables(r.ctx, r.svc.cat.store.Snapshot())
			visible = r.session.visibleTables(seen)
			break
		}
	}
	begin := wire.Begin{
		Database: Database, TimeZone: set.timeZone,
		Schemas:    []string{publicSchema, catalogSchema, informationSchema},
		SearchPath: []string{},
		Prelude:    r.session.prelude(r.text.sql, visible),
	}
	for _, schema := range set.searchPath {
		begin.Schemas = append(begin.Schemas, schema)
		begin.SearchPath = append(begin.SearchPath, schema)
	}
	begin.SearchPath = append(begin.SearchPath, catalogSchema)
	for _, t := range tables {
		begin.Schemas = append(begin.Schemas, t.schema)
	}
	r.send(wire.FrameBegin, begin)
	for _, t := range tables {
		if err := r.attach(t, stub, gather); err != nil {
			return err
		}
	}
	return nil
}

// attach hands one table to the worker: its columns only, or with its data.
func (r *run) attach(t *boundTable, stub bool, gather func(*boundTable) ([]string, bool)) error {
	if t.values != nil {
		v := *t.values
		if stub {
			v.Rows = nil
		}
		r.send(wire.FrameTable, v)
		return nil
	}
	frame := wire.Table{Schema: t.schema, Name: t.name, Source: wire.SourceNone}
	for _, c := range t.doc.Columns {
		frame.Columns = append(frame.Columns, wire.TableColumn{Name: c.Name, Type: c.Engine})
	}
	if stub {
		r.send(wire.FrameTable, frame)
		return nil
	}
	in := &input{table: t}
	r.inputs = append(r.inputs, in)
	if frame.Needed, frame.Gather = gather(t); t.own {
		frame.Needed, frame.Gather, frame.Own = nil, false, true
	}
	switch {
	case t.doc.External == nil:
		files, err := r.localFiles(in)
		return r.hand(frame, wire.SourceParquet, files, err)
	case t.doc.External.Format == FormatParquet:
		files, err := r.parquetObjects(in)
		return r.hand(frame, wire.SourceParquet, files, err)
	}
	return r.stream(frame, in)
}

// hand sends a table with its files and closes our copies.
func (r *run) hand(frame wire.Table, source string, files []*os.File, err error) error {
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	if err != nil {
		return err
	}
	if frame.Files = len(files); frame.Files > 0 {
		frame.Source = source
	}
	if frame.Files > r.svc.cfg.Files*3/4 {
		return ProgramLimitExceeded.new("table %s.%s has %d files; a query can open %d", frame.Schema, frame.Name, frame.Files, r.svc.cfg.Files*3/4)
	}
	r.send(wire.FrameTable, frame, files...)
	return nil
}

// stream sends a table of text or JSON as pipes and starts to fill them.
func (r *run) stream(frame wire.Table, in *input) error {
	x := in.table.doc.External
	list, err := listObjects(r.ctx, r.svc.objects, x.Bucket, x.Prefix)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		r.send(wire.FrameTable, frame)
		return nil
	}
	if in.feed, err = newFeed(r.svc.objects, in.table.doc, list, r.svc.cfg.Threads); err != nil {
		return err
	}
	if frame.Source = wire.SourceText; x.Format == FormatJSON {
		frame.Source = wire.SourceJSON
	}
	null := x.Null
	if null != "" {
		null = nullPrivate
	}
	frame.Text = &wire.TextFormat{
		Delimiter: x.Delimiter, Quote: x.Quote, Escape: x.Escape, Null: null, EmptyAsNull: x.EmptyAsNull,
		DateFormat: x.DateFormat, TimeFormat: x.TimeFormat, Pad: x.Pad,
	}
	frame.Files = 1
	r.send(wire.FrameTable, frame, in.feed.read)
	in.feed.read.Close()
	r.feeds++
	go func() {
		err := in.feed.run(r.ctx)
		if err != nil && !errors.Is(err, errReader) && r.ctx.Err() == nil {
			r.cancel(err) // before the worker can take part of the data for all of it
		}
		r.feeding <- err
	}()
	return nil
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
	for _, m := range r.malformed() {
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

// badRows tells of the malformed rows of one table.
type badRows struct {
	malformed
	table  *boundTable
	bucket string
	strict bool
}

func (m badRows) String() string {
	where := fmt.Sprintf("s3://%s/%s line %d", m.bucket, m.key, m.line)
	if m.column != "" {
		where += ", column " + m.column
	}
	return fmt.Sprintf("%s: %s", where, m.reason)
}

// malformed gathers what the worker and the feeds refused, per table.
func (r *run) malformed() []badRows {
	var out []badRows
	for _, in := range r.inputs {
		if in.feed == nil {
			continue
		}
		m := badRows{table: in.table, bucket: in.feed.bucket, strict: in.feed.format.Strict}
		in.feed.mu.Lock()
		m.malformed = in.feed.skipped
		in.feed.mu.Unlock()
		for _, reject := range r.done.Rejects {
			if reject.Schema != in.table.schema || reject.Table != in.table.name {
				continue
			}
			if m.count == 0 {
				m.key, m.line = in.feed.place(reject.Offset, reject.Line)
				m.column, m.reason = reject.Column, strings.TrimSpace(reject.Reason)
			}
			m.count += reject.Count
		}
		if m.count > 0 {
			out = append(out, m)
		}
	}
	return out
}

func (r *run) notices() []Notice {
	if r.done == nil {
		return nil
	}
	var out []Notice
	for _, m := range r.malformed() {
		rows := "rows"
		if m.count == 1 {
			rows = "row"
		}
		out = append(out, Notice{
			Message: fmt.Sprintf("%d malformed %s of %s skipped", m.count, rows, m.table),
			Detail:  "First: " + m.String(),
			Hint:    "The table property 'sluice.malformed'='fail' makes them an error.",
		})
	}
	return out
}

// explain turns the engine's failure into a problem of the statement.
func (r *run) explain(f wire.Failure) error {
	if r.ctx.Err() != nil {
		return r.stopped()
	}
	if f.Class == wire.FailureReread {
		return errReread
	}
	message := f.Message
	if f.Table != "" {
		for _, in := range r.inputs {
			if in.table.schema == f.Schema && in.table.name == f.Table && f.File < len(in.keys) {
				message = strings.ReplaceAll(message, wire.FileMark, in.keys[f.File])
			}
		}
	}
	for internal, known := range map[string]string{catalogSchema + ".": "pg_catalog.", informationSchema + ".": "information_schema."} {
		message = strings.ReplaceAll(message, internal, known)
	}
	message, rest, _ := strings.Cut(message, "\n")
	p := reasonOf(f).new("%s", message)
	// Advice that speaks of the engine's settings is of no use here.
	if rest = strings.TrimSpace(rest); rest != "" && !strings.Contains(rest, "SET ") && !strings.Contains(rest, "Possible fixes") {
		p.Detail = rest
	}
	if f.Position > 0 {
		p.Position = r.text.origin(f.Position + r.body)
	}
	return p
}

var errReread = errors.New("the plan reads a pipe twice")

// reasonOf maps the engine's classes of error.
func reasonOf(f wire.Failure) *reason {
	has := func(s string) bool { return strings.Contains(strings.ToLower(f.Message), s) }
	switch f.Class {
	case "parser", "syntax":
		return SyntaxError
	case "catalog":
		if has("function with name") {
			return UndefinedFunction
		}
		if has("type with name") {
			return UndefinedObject
		}
		return UndefinedTable
	case "binder", "mismatch type", "parameter not resolved":
		switch {
		case has("referenced update column"):
			return UndefinedColumn
		case f.Subtype == "COLUMN_NOT_FOUND" || has("referenced column") || has("not found in from clause"):
			return UndefinedColumn
		case has("no function matches"), has("could not choose a best candidate"):
			return UndefinedFunction
		case has("cannot compare"), has("cast"), has("type"):
			return DatatypeMismatch
		}
		return SyntaxError
	case "conversion":
		if has("date") || has("timestamp") || has("time field") {
			return InvalidDatetime
		}
		return InvalidTextRepresentation
	case "out of range":
		return NumericOutOfRange
	case "divide by zero":
		return DivisionByZero
	case "out of memory":
		return OutOfMemory
	case "interrupt":
		return QueryCanceled
	case "constraint":
		return NotNullViolation
	case "not implemented":
		return FeatureNotSupported
	case "permission":
		return InsufficientPrivilege
	case "io", "serialization":
		return BadData
	case "invalid input":
		switch {
		case f.Table != "":
			return BadData
		case has("more than one row returned"):
			return CardinalityViolation
		case has("violates not-null"):
			return NotNullViolation
		case has("parquet"), has("magic bytes"), has("thrift"), has("json"):
			return BadData
		}
		return DataException
	}
	return EngineError
}

package warehouse

import (
	"errors"
	"os"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// prepare makes the engine ready for the statement with its tables. What found mentions
// more than once is gathered; without found nothing is.
func (r *run) prepare(tables []*boundTable, stub bool, found *analysis) error {
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
		if err := r.attach(t, stub, found); err != nil {
			return err
		}
	}
	return nil
}

// attach hands one table to the worker: its columns only, or with its data.
func (r *run) attach(t *boundTable, stub bool, found *analysis) error {
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
	switch {
	case t.own:
		frame.Own = true
	case found != nil && !r.outlined && (r.gather || t.count > 1 || found.recursive):
		frame.Gather, frame.Needed = true, needed(t.doc, found)
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
	frame.Gather, frame.Needed = false, nil // a file can be read many times
	if frame.Files > r.svc.cfg.Files*3/4 {
		return ProgramLimitExceeded.new("table %s.%s has %d files; a query can open %d", frame.Schema, frame.Name, frame.Files, r.svc.cfg.Files*3/4)
	}
	r.send(wire.FrameTable, frame, files...)
	return nil
}

// textFormat says to the worker how the text of a table is read.
func textFormat(x *External) *wire.TextFormat {
	f := &wire.TextFormat{
		Delimiter: x.Delimiter, Quote: x.Quote, Escape: x.Escape, Null: x.null(), EmptyAsNull: x.EmptyAsNull, Return: x.carriageReturn(),
		DateFormat: x.DateFormat, TimeFormat: x.TimeFormat,
	}
	if f.DateFormat == formatAuto {
		f.DateFormat = ""
	}
	if f.TimeFormat == formatAuto || f.TimeFormat == formatEpochSecs || f.TimeFormat == formatEpochMillis {
		f.TimeFormat = ""
	}
	return f
}

// stream sends a table of text or JSON: its objects themselves where they are proven,
// else a pipe that it starts to fill.
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
	frame.Text = textFormat(x)
	if files, err := r.provenFiles(in, list); err != nil || files != nil {
		return r.hand(frame, wire.SourceProven, files, err)
	}
	if in.feed, err = newFeed(r.svc.objects, in.table.doc, list, r.svc.cfg.Threads); err != nil {
		return err
	}
	if frame.Source = wire.SourceText; x.Format == FormatJSON {
		frame.Source = wire.SourceJSON
	}
	frame.Files = 1
	in.once = !frame.Gather && !frame.Own
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

package warehouse

import (
	"context"
	"errors"
	"regexp"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// query runs a SELECT or its kin.
func (s *Session) query(ctx context.Context, st *Statement, args []wire.Parameter) (c *Cursor, err error) {
	r, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if c == nil { // also after a panic
			r.close()
		}
	}()
	return r.query(st, args)
}

func (r *run) query(st *Statement, args []wire.Parameter) (*Cursor, error) {
	q := st.node.(*query)
	r.args = args
	found, tables, err := r.understand(st.sql, st.types, standValue, q.body)
	if err != nil {
		return nil, err
	}
	if q.explain {
		r.verb, r.outlined = "EXPLAIN", !q.analyze
	}
	x := wire.Execute{SQL: r.text.sql, Parameters: args}
	columns, err := again(r, func() ([]wire.Column, error) {
		r.body = 0
		if err := r.prepare(tables, false, found); err != nil {
			return nil, err
		}
		if !q.explain {
			x.Pipes = r.pipes()
		}
		return r.execute(x)
	})
	if err != nil {
		return nil, err
	}
	if q.explain {
		return r.plan()
	}
	nameColumns(columns, found, tables)
	r.text.describeShapes(columns)
	return &Cursor{Columns: columns, run: r}, nil
}

// plan is the answer to EXPLAIN: the lines of the plan, one per row.
func (r *run) plan() (*Cursor, error) {
	c := &Cursor{Columns: textColumns(planColumn), tag: r.verb}
	for {
		row, err := r.next()
		if err != nil {
			return nil, err
		}
		if row == nil {
			break
		}
		for line := range strings.SplitSeq(strings.TrimRight(string(row[len(row)-1]), "\n"), "\n") {
			c.rows = append(c.rows, []wire.Cell{append(wire.Cell{}, strings.TrimRight(line, " ")...)})
		}
	}
	r.close()
	return c, nil
}

// planColumn is the name of EXPLAIN's one column.
const planColumn = "QUERY PLAN"

// nameColumns gives the columns that the engine named by their expression the names
// PostgreSQL gives: that of the function, else ?column?. Names that the statement or a
// table gave stay.
func nameColumns(columns []wire.Column, found *analysis, tables []*boundTable) {
	for i, c := range columns {
		if plainName.MatchString(c.Name) || found.strings[strings.ToLower(c.Name)] ||
			slices.ContainsFunc(tables, func(t *boundTable) bool { return t.doc != nil && t.doc.has(strings.ToLower(c.Name)) }) {
			continue
		}
		columns[i].Name = "?column?"
		if m := callName.FindStringSubmatch(c.Name); m != nil {
			columns[i].Name = m[1]
			if known, ok := callNames[m[1]]; ok {
				columns[i].Name = known
			}
			if strings.HasPrefix(c.Name, "unnest(generate_series(") {
				columns[i].Name = "generate_series"
			}
		}
	}
}

// callNames are the names that clients see for the engine's and our own functions.
var callNames = map[string]string{
	"count_star": "count", "sluice_extract_second": "extract", "sluice_extract_millisecond": "extract", "sluice_extract_epoch": "extract",
	"sluice_part_second": "date_part", "sluice_part_millisecond": "date_part", "sluice_current_setting": "current_setting",
	"sluice_substring_pattern": "substring", "sluice_overlay": "overlay",
}

var (
	plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*$`)
	callName  = regexp.MustCompile(`^(?:[a-z0-9_]+\.)?([a-z_][a-z0-9_]*)\(.*\)$`)
)

// again runs fn, and once more with a fresh engine and everything gathered when the plan
// turns out to read a pipe twice.
func again[T any](r *run, fn func() (T, error)) (T, error) {
	v, err := fn()
	if !errors.Is(err, errReread) {
		return v, err
	}
	if err := r.restart(); err != nil {
		return v, err
	}
	r.gather = true
	return fn()
}

// pipes counts what the statement reads as it streams.
func (r *run) pipes() int {
	n := 0
	for _, in := range r.inputs {
		if in.once {
			n++
		}
	}
	return n
}

// needed returns the columns of a table that a statement may use.
func needed(t *Table, found *analysis) []string {
	out := []string{}
	for _, c := range t.Columns {
		if found.star || found.strings[c.Name] {
			out = append(out, c.Name)
		}
	}
	return out
}

// restart gives the statement a fresh engine and drops the feeds that were begun.
func (r *run) restart() error {
	for _, in := range r.inputs {
		if in.feed != nil {
			in.feed.close()
		}
	}
	for range r.feeds {
		<-r.feeding
	}
	r.inputs, r.feeds, r.charged = nil, 0, 0
	if err := r.w.reset(); err != nil {
		return r.lost(err)
	}
	return nil
}

// understand rewrites a statement's query, which begins at body, lets the engine's parser
// say what it reads, finds these tables and authorises each.
func (r *run) understand(sql string, types []wire.Type, as stand, body int) (*analysis, []*boundTable, error) {
	var err error
	if r.text, err = rewrite(sql, r.dialect(types, as)); err != nil {
		return nil, nil, err
	}
	r.body = r.text.forward(body)
	found, err := r.parse(r.text.sql[r.body:])
	if err == nil {
		var tables []*boundTable
		if tables, err = r.resolve(found); err == nil {
			return found, tables, nil
		}
	}
	if p, ok := errors.AsType[*Problem](err); ok && p.Position > 0 {
		moved := *p
		moved.Position = r.text.origin(p.Position + r.body)
		err = &moved
	}
	return nil, nil, err
}

// dialect says how the session's statements are rewritten.
func (r *run) dialect(types []wire.Type, as stand) dialect {
	return dialect{types: types, as: as, args: r.args, reader: r.session.reader()}
}

// resolve binds the mentioned tables by the session's search path.
func (r *run) resolve(found *analysis) ([]*boundTable, error) {
	snapshot := r.svc.cat.store.Snapshot()
	var out []*boundTable
	for _, ref := range found.tables {
		t, err := r.session.find(r.ctx, snapshot, ref.objectName)
		if err != nil {
			return nil, err
		}
		t.count = ref.count
		i := slices.IndexFunc(out, func(o *boundTable) bool { return o.schema == t.schema && o.name == t.name })
		if i >= 0 { // mentioned with and without its schema
			out[i].count += t.count
			continue
		}
		out = append(out, t)
	}
	return out, nil
}

// find looks a table up and authorises reading it.
func (s *Session) find(ctx context.Context, snapshot *store.Snapshot, n objectName) (*boundTable, error) {
	t, err := s.lookup(ctx, snapshot, n)
	if err != nil || t.values != nil {
		return t, err
	}
	if err := s.svc.authorize(ctx, "glue:GetTable", tableResource(t.doc), "relation "+t.name, n.position); err != nil {
		return nil, err
	}
	if t.doc.External == nil {
		if t.state, err = s.svc.tableState(ctx, t.id); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// lookup finds a table by the search path without authorising anything.
func (s *Session) lookup(ctx context.Context, snapshot *store.Snapshot, n objectName) (*boundTable, error) {
	path := []string{n.schema}
	if n.schema == "" {
		path = append(slices.Clone(s.settings.searchPath), catalogSchema)
	}
	for _, schema := range path {
		if schema == catalogSchema || schema == informationSchema {
			if v, ok := s.catalogTable(ctx, snapshot, schema, n.name); ok {
				return &boundTable{schema: schema, name: n.name, values: v}, nil
			}
			continue
		}
		doc, ok := s.svc.cat.schema(snapshot, schema)
		if !ok {
			continue
		}
		if id, t, ok := s.svc.cat.table(snapshot, doc.Namespace, n.name); ok {
			return &boundTable{schema: schema, name: n.name, id: id, doc: t}, nil
		}
	}
	shown := n
	switch n.schema {
	case catalogSchema:
		shown.schema = "pg_catalog"
	case informationSchema:
		shown.schema = "information_schema"
	}
	return nil, UndefinedTable.at(n.position, "relation \"%s\" does not exist", shown)
}

// tableResource is the resource part of a table's ARN.
func tableResource(t *Table) string {
	_, container, _ := strings.Cut(t.Namespace, "/")
	return "table/" + container + "/" + t.Name
}

// Describe says what a statement takes and returns, as far as that can be known before
// it runs. Columns are nil where it returns no rows.
func (st *Statement) Describe(ctx context.Context) ([]wire.Type, []wire.Column, error) {
	if st.described {
		return st.types, st.columns, nil
	}
	if err := st.describe(ctx); err != nil {
		st.session.Fail()
		return nil, nil, err
	}
	for i, t := range st.types {
		if t == wire.Unknown {
			st.types[i] = wire.Text
		}
	}
	st.described = true
	return st.types, st.columns, nil
}

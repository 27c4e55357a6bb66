package warehouse

import (
	"context"
	"fmt"
	"strings"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// copySchema holds the objects of a COPY while it runs.
const copySchema = "sluice_copy"

// modify makes a change of a table's rows ready: the new file is written, the commit is not.
func (s *Session) modify(ctx context.Context, st *Statement, args []wire.Parameter) (*pendingChange, error) {
	switch n := st.node.(type) {
	case *createTableAs:
		return s.createTableAs(ctx, st, n, args)
	case *truncate:
		return s.truncate(ctx, n)
	case *insert:
		return s.change(ctx, n.name, func(r *run, t *boundTable) (*pendingChange, error) { return r.insert(st, n, t, args) })
	case *change:
		return s.change(ctx, n.name, func(r *run, t *boundTable) (*pendingChange, error) { return r.alter(st, n, t, args) })
	case *vacuum:
		return s.change(ctx, n.name, func(r *run, t *boundTable) (*pendingChange, error) { return r.vacuum(t) })
	case *copyFrom:
		return s.change(ctx, n.name, func(r *run, t *boundTable) (*pendingChange, error) { return r.copyFrom(n, t) })
	}
	return nil, EngineError.new("a change of an unknown kind")
}

// own looks up a local table and authorises changing it.
func (s *Session) own(ctx context.Context, n objectName) (*boundTable, error) {
	t, err := s.lookup(ctx, s.svc.cat.store.Snapshot(), n)
	if err != nil {
		return nil, err
	}
	if t.values != nil {
		return nil, InsufficientPrivilege.at(n.position, "permission denied: \"%s\" is a system catalog", t.name)
	}
	if err := s.svc.authorize(ctx, "glue:UpdateTable", tableResource(t.doc), "relation "+t.name, n.position); err != nil {
		return nil, err
	}
	if t.doc.External != nil {
		return nil, FeatureNotSupported.at(n.position, "\"%s\" is an external table; its objects cannot be changed from here", t.name)
	}
	t.state, err = s.svc.tableState(ctx, t.id)
	return t, err
}

// change runs fn on a worker for a table it may change.
func (s *Session) change(ctx context.Context, n objectName, fn func(*run, *boundTable) (*pendingChange, error)) (*pendingChange, error) {
	t, err := s.own(ctx, n)
	if err != nil {
		return nil, err
	}
	r, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return again(r, func() (*pendingChange, error) { return fn(r, t) })
}

// guarded writes the select list that brings columns of q to a table's types and
// constraints. missing are NULL.
func guarded(columns []Column, given map[string]bool) string {
	items := make([]string, len(columns))
	for i, c := range columns {
		value := "NULL"
		if given == nil || given[c.Name] {
			value = "q." + quoteName(c.Name)
		}
		value = "CAST(" + value + " AS " + c.Engine + ")"
		if n := c.maxBytes(); n > 0 {
			value = fmt.Sprintf("CASE WHEN strlen(%s) > %d THEN error('value too long for type %s') ELSE %s END", value, n, c.Type, value)
		}
		if c.NotNull {
			value = fmt.Sprintf("CASE WHEN %s IS NULL THEN error(%s) ELSE %s END", value,
				quoteText(fmt.Sprintf("null value in column \"%s\" violates not-null constraint", c.Name)), value)
		}
		if c.stored() != c.Engine {
			value = "CAST(" + value + " AS " + c.stored() + ")"
		}
		items[i] = value + " AS " + quoteName(c.Name)
	}
	return strings.Join(items, ", ")
}

// maxBytes is the length of a sized character type, 0 for others.
func (c Column) maxBytes() int {
	var n int
	if open := strings.IndexByte(c.Type, '('); c.Engine == "VARCHAR" && open > 0 {
		_, _ = fmt.Sscanf(c.Type[open:], "(%d)", &n)
	}
	return n
}

func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
func quoteText(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func nameList(names []string) string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = quoteName(n)
	}
	return strings.Join(out, ", ")
}

// source prepares the query at body with its data, and says what it returns.
func (r *run) source(st *Statement, body int) ([]wire.Column, error) {
	found, tables, err := r.understand(st.sql, st.types, standValue, body)
	if err != nil {
		return nil, err
	}
	if err := r.prepare(tables, false, found); err != nil {
		return nil, err
	}
	// Some places of a parameter leave the columns open until it is bound; NULL does not.
	text := r.text
	if r.text, err = rewrite(st.sql, r.dialect(st.types, standNull)); err != nil {
		return nil, err
	}
	r.body = r.text.forward(body)
	d, err := r.describe(r.text.sql[r.body:])
	r.text, r.body = text, 0
	return d.Columns, err
}

func (r *run) insert(st *Statement, n *insert, t *boundTable, args []wire.Parameter) (*pendingChange, error) {
	r.args = args
	given := n.columns
	if given == nil {
		for _, c := range t.doc.Columns {
			given = append(given, c.Name)
		}
	}
	has := map[string]bool{}
	for _, g := range given {
		if !t.doc.has(g) {
			return nil, UndefinedColumn.at(n.name.position, "column \"%s\" of relation \"%s\" does not exist", g, t.name)
		}
		if has[g] {
			return nil, DuplicateColumn.at(n.name.position, "column \"%s\" specified more than once", g)
		}
		has[g] = true
	}
	columns, err := r.source(st, n.body)
	if err != nil {
		return nil, err
	}
	switch {
	case len(columns) > len(given):
		return nil, SyntaxError.at(n.body+1, "INSERT has more expressions than target columns")
	case len(columns) < len(given) && n.columns != nil:
		return nil, SyntaxError.at(n.body+1, "INSERT has more target columns than expressions")
	}
	given = given[:len(columns)]
	clear(has)
	for _, g := range given {
		has[g] = true
	}
	prefix := "SELECT " + guarded(t.doc.Columns, has) + " FROM ("
	body := r.text.forward(n.body)
	r.body = body - len(prefix)
	x := wire.Execute{SQL: prefix + r.text.sql[body:] + "\n) AS q(" + nameList(given) + ")", Parameters: args, Pipes: r.pipes()}
	return r.append(t, x, "INSERT 0", "WRITE")
}

// append writes the result of x as a file and readies the entry that adds it.
func (r *run) append(t *boundTable, x wire.Execute, tag, operation string) (*pendingChange, error) {
	file, rows, err := r.write(t.id, x)
	if err != nil {
		return nil, err
	}
	s := r.svc
	c := &pendingChange{tag: fmt.Sprintf("%s %d", tag, rows), notices: r.notices(), abort: func() { s.discard(t.id, file) }}
	if rows == 0 {
		c.abort()
		c.abort = nil
		return c, nil
	}
	c.commit = func(ctx context.Context) error {
		return s.commitFiles(ctx, t.id, operation, t.state, nil, []dataFile{file})
	}
	if len(t.state.small()) >= s.cfg.SmallFiles {
		c.after = func(ctx context.Context) error { return r.session.compact(ctx, t) }
	}
	return c, nil
}

// compact puts the small files of a table together. An insert that finds many does so
// after its commit; a query would have to open each of them.
func (s *Session) compact(ctx context.Context, t *boundTable) error {
	whole := *t
	var err error
	if whole.state, err = s.svc.tableState(ctx, t.id); err != nil {
		return err
	}
	whole.state = &tableState{version: whole.state.version, files: whole.state.small()}
	r, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer r.close()
	c, err := r.vacuum(&whole)
	if err != nil {
		return err
	}
	return c.finish(ctx)
}

// replace readies the entry that puts one file in the place of all others.
func (r *run) replace(t *boundTable, file dataFile, tag, operation string) *pendingChange {
	s := r.svc
	files := []dataFile{file}
	if file.Rows == 0 {
		files = nil
	}
	return &pendingChange{
		tag: tag, table: t.id, notices: r.notices(), abort: func() { s.discard(t.id, file) },
		commit: func(ctx context.Context) error {
			return s.commitFiles(ctx, t.id, operation, t.state, t.state.sorted(), files)
		},
	}
}

// alter runs an UPDATE or DELETE in the engine on a copy of the table and writes it anew.
func (r *run) alter(st *Statement, n *change, t *boundTable, args []wire.Parameter) (*pendingChange, error) {
	r.args = args
	// Only the analysis reads the stand-in; its places are not those of the statement.
	found, tables, err := r.understand(n.reading, st.types, standValue, 0)
	if err != nil {
		if p, ok := err.(*Problem); ok {
			moved := *p
			moved.Position = 0
			return nil, &moved
		}
		return nil, err
	}
	if r.text, err = rewrite(st.sql, r.dialect(st.types, standValue)); err != nil {
		return nil, err
	}
	r.body = 0
	for _, o := range tables {
		if o.id == t.id {
			o.own, o.state = true, t.state
		}
	}
	r.gather = true // how often the change reads a table is not known
	if err := r.prepare(tables, false, found); err != nil {
		return nil, err
	}
	then := "SELECT " + guarded(t.doc.Columns, nil) + " FROM " + quoteName(t.schema) + "." + quoteName(t.name) + " AS q"
	file, rows, err := r.write(t.id, wire.Execute{SQL: r.text.sql, Parameters: args, Then: then})
	if err != nil {
		return nil, err
	}
	verb := "DELETE"
	if n.update {
		verb = "UPDATE"
	}
	c := r.replace(t, file, fmt.Sprintf("%s %d", verb, rows), verb)
	if rows == 0 {
		c.abort()
		c.commit, c.abort = nil, nil
	}
	return c, nil
}

func (r *run) vacuum(t *boundTable) (*pendingChange, error) {
	if len(t.state.files) < 2 {
		return &pendingChange{tag: "VACUUM"}, nil
	}
	r.text = rewritten{}
	if err := r.prepare([]*boundTable{t}, false, nil); err != nil {
		return nil, err
	}
	sql := "SELECT " + guarded(t.doc.Columns, nil) + " FROM " + quoteName(t.schema) + "." + quoteName(t.name) + " AS q"
	file, _, err := r.write(t.id, wire.Execute{SQL: sql})
	if err != nil {
		return nil, err
	}
	return r.replace(t, file, "VACUUM", opOptimize), nil
}

func (s *Session) truncate(ctx context.Context, n *truncate) (*pendingChange, error) {
	t, err := s.own(ctx, n.name)
	if err != nil {
		return nil, err
	}
	c := &pendingChange{tag: "TRUNCATE TABLE", table: t.id}
	if len(t.state.files) > 0 {
		c.commit = func(ctx context.Context) error {
			return s.svc.commitFiles(ctx, t.id, "TRUNCATE", t.state, t.state.sorted(), nil)
		}
	}
	return c, nil
}

func (s *Session) createTableAs(ctx context.Context, st *Statement, n *createTableAs, args []wire.Parameter) (*pendingChange, error) {
	to, err := s.place(ctx, n.name, false)
	if err != nil {
		return nil, err
	}
	if to.exists {
		if n.ifNotExists {
			return to.skipped("CREATE TABLE AS"), nil
		}
		return nil, DuplicateTable.at(n.name.position, "relation \"%s\" already exists", to.name)
	}
	r, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer r.close()
	return again(r, func() (*pendingChange, error) { return r.createTableAs(st, n, to, args) })
}

func (r *run) createTableAs(st *Statement, n *createTableAs, to target, args []wire.Parameter) (*pendingChange, error) {
	s := r.session
	r.args = args
	columns, err := r.source(st, n.body)
	if err != nil {
		return nil, err
	}
	if len(n.names) > len(columns) {
		return nil, SyntaxError.at(n.name.position, "CREATE TABLE AS specifies too many column names")
	}
	doc := &Table{Layout: n.layout}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = strings.ToLower(c.Name)
		if i < len(n.names) {
			names[i] = n.names[i]
		}
		if doc.has(names[i]) {
			return nil, DuplicateColumn.at(n.name.position, "column \"%s\" specified more than once", names[i])
		}
		doc.Columns = append(doc.Columns, columnOf(names[i], c))
	}
	id := name.Hex(16)
	prefix := "SELECT " + guarded(doc.Columns, nil) + " FROM ("
	body := r.text.forward(n.body)
	r.body = body - len(prefix)
	file, rows, err := r.write(id, wire.Execute{
		SQL:        prefix + r.text.sql[body:] + "\n) AS q(" + nameList(names) + ")",
		Parameters: args, Pipes: r.pipes(),
	})
	if err != nil {
		return nil, err
	}
	var files []dataFile
	if rows > 0 {
		files = []dataFile{file}
	} else {
		s.svc.discard(id, file)
	}
	if err := s.svc.createLog(r.ctx, id, doc, files); err != nil {
		return nil, err
	}
	return &pendingChange{tag: fmt.Sprintf("SELECT %d", rows), notices: r.notices(), commit: s.create(to, id, doc)}, nil
}

// columnOf turns a result column into a table's.
func columnOf(name string, c wire.Column) Column {
	switch c.Type {
	case wire.Numeric:
		width, scale := c.Width, c.Scale
		if width == 0 {
			width = 38
		}
		t := fmt.Sprintf("(%d,%d)", width, scale)
		return Column{Name: name, Type: "numeric" + t, Engine: "DECIMAL" + t}
	case wire.Text, wire.Unknown:
		return Column{Name: name, Type: "character varying", Engine: "VARCHAR"}
	case wire.Bytes:
		return Column{Name: name, Type: "binary varying", Engine: "BLOB"}
	case wire.Timestamp:
		return Column{Name: name, Type: "timestamp without time zone", Engine: "TIMESTAMP"}
	case wire.Time:
		return Column{Name: name, Type: "time without time zone", Engine: "TIME"}
	case wire.JSON:
		return Column{Name: name, Type: "super", Engine: "JSON"}
	}
	return Column{Name: name, Type: c.Type.String(), Engine: engineType(c.Type)}
}

func (t *Table) has(column string) bool {
	for _, c := range t.Columns {
		if c.Name == column {
			return true
		}
	}
	return false
}

// copyFrom loads objects into a table.
func (r *run) copyFrom(n *copyFrom, t *boundTable) (*pendingChange, error) {
	given := map[string]bool{}
	source := &Table{External: &n.format}
	source.External.Bucket, source.External.Prefix = n.bucket, n.prefix
	for _, c := range t.doc.Columns {
		if n.columns == nil {
			source.Columns = append(source.Columns, c)
			given[c.Name] = true
		}
	}
	for _, g := range n.columns {
		c, ok := t.doc.column(g)
		if !ok {
			return nil, UndefinedColumn.at(n.name.position, "column \"%s\" of relation \"%s\" does not exist", g, t.name)
		}
		if given[g] {
			return nil, DuplicateColumn.at(n.name.position, "column \"%s\" specified more than once", g)
		}
		source.Columns, given[g] = append(source.Columns, c), true
	}
	list, err := listObjects(r.ctx, r.svc.objects, n.bucket, n.prefix)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, UndefinedObject.at(n.position, "there is no object below s3://%s/%s", n.bucket, n.prefix)
	}
	from := &boundTable{schema: copySchema, name: t.name, doc: source, count: 1}
	r.text = rewritten{}
	if err := r.prepare([]*boundTable{from}, false, nil); err != nil {
		return nil, err
	}
	x := wire.Execute{SQL: "SELECT " + guarded(t.doc.Columns, given) + " FROM " + quoteName(from.schema) + "." + quoteName(from.name) + " AS q"}
	c, err := r.append(t, x, "COPY", "COPY")
	if err != nil {
		return nil, err
	}
	for _, m := range r.malformed() {
		if m.count > n.maxErrors {
			if c.abort != nil {
				c.abort()
			}
			return nil, BadData.new("load into table '%s' failed: %s", t.name, m).
				detail("%d malformed rows; MAXERROR is %d.", m.count, n.maxErrors)
		}
	}
	c.notices = append(c.notices, Notice{Message: fmt.Sprintf("Load into table '%s' completed, %d record(s) loaded successfully.", t.name, r.done.Rows)})
	return c, nil
}

func (t *Table) column(name string) (Column, bool) {
	for _, c := range t.Columns {
		if c.Name == name {
			return c, true
		}
	}
	return Column{}, false
}

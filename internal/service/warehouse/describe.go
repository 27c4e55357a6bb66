package warehouse

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// describe asks the engine about a statement with empty tables of the right columns.
func (st *Statement) describe(ctx context.Context) (err error) {
	defer recovered(&err)
	body := 0
	switch n := st.node.(type) {
	case *query:
		body = n.body
	case *insert:
		body = n.body
	case *createTableAs:
		body = n.body
	case *change:
		if len(st.types) == 0 {
			return nil
		}
	case *showParameter:
		c, err := st.session.show(n.name)
		if err == nil {
			st.columns = c.Columns
		}
		return err
	default:
		return nil
	}
	if n, ok := st.node.(*insert); ok {
		if err := st.fromTarget(ctx, n); err != nil {
			return err
		}
	}
	s := st.session
	if s.state == Failed {
		return FailedTransaction.new("current transaction is aborted, commands ignored until end of transaction block")
	}
	r, err := s.begin(caller.With(ctx, s.id))
	if err != nil {
		return err
	}
	defer r.close()
	// An undecided parameter can leave the whole statement undecided; then it is text.
	d, err := r.outline(st, body, st.types, standValue)
	if err != nil {
		return err
	}
	types := append([]wire.Type(nil), st.types...)
	again := false
	for i := range types {
		if types[i] == wire.Unknown && i < len(d.Parameters) {
			types[i] = d.Parameters[i]
		}
		if types[i] == wire.Unknown {
			types[i], again = wire.Text, true
		}
	}
	again = again || slices.ContainsFunc(d.Columns, func(c wire.Column) bool { return c.Type == wire.Unknown })
	for _, as := range []stand{standValue, standNull} {
		if !again {
			break
		}
		if err := r.restart(); err != nil {
			return err
		}
		if d, err = r.outline(st, body, types, as); err != nil {
			return err
		}
		again = slices.ContainsFunc(d.Columns, func(c wire.Column) bool { return c.Type == wire.Unknown })
	}
	st.types = types
	if q, ok := st.node.(*query); ok {
		st.columns = d.Columns
		if q.explain {
			st.columns = textColumns(planColumn)
		}
		if st.columns == nil {
			st.columns = []wire.Column{}
		}
	}
	return nil
}

// fromTarget gives the parameters that are inserted as they are the types of the columns
// they go into.
func (st *Statement) fromTarget(ctx context.Context, n *insert) error {
	t, err := st.session.lookup(ctx, st.session.svc.cat.store.Snapshot(), n.name)
	if err != nil || t.doc == nil {
		return err
	}
	tokens, err := lex(st.sql[n.body:])
	if err != nil {
		return err
	}
	columns := n.columns
	if columns == nil {
		for _, c := range t.doc.Columns {
			columns = append(columns, c.Name)
		}
	}
	rows := 0 // the depth of parentheses at which a row's values stand
	if tokens[0].is("values") {
		rows = 1
	} else if !tokens[0].is("select") {
		return nil
	}
	depth, item := 0, 0
	for i, token := range tokens {
		switch {
		case token.is("("):
			if depth++; depth == 1 && rows == 1 {
				item = 0
			}
		case token.is(")"):
			depth--
		case depth != rows:
		case rows == 0 && token.is("from"):
			return nil
		case token.is(","):
			item++
		case token.kind == tokenParameter && item < len(columns):
			before, after := tokens[i-1], token
			if i+1 < len(tokens) {
				after = tokens[i+1]
			}
			p, err := strconv.Atoi(token.text)
			c, ok := t.doc.column(columns[item])
			alone := (before.is("(") || before.is(",") || before.is("select")) && (after == token || after.is(",") || after.is(")") || after.is("from"))
			if alone && ok && err == nil && st.types[p-1] == wire.Unknown {
				st.types[p-1] = c.wireType()
			}
		}
	}
	return nil
}

// wireType is the type of a parameter that goes into the column.
func (c Column) wireType() wire.Type {
	engine, _, _ := strings.Cut(c.Engine, "(")
	for t := wire.Bool; t <= wire.JSON; t++ {
		if name, _, _ := strings.Cut(engineType(t), "("); name == engine {
			return t
		}
	}
	return wire.Text
}

// outline describes a statement's query with the given parameter types.
func (r *run) outline(st *Statement, body int, types []wire.Type, as stand) (wire.Described, error) {
	sql := st.sql
	n, isChange := st.node.(*change)
	if isChange {
		sql = n.reading
	}
	found, tables, err := r.understand(sql, types, as, body)
	if err != nil {
		return wire.Described{}, err
	}
	if isChange {
		if r.text, err = rewrite(st.sql, r.dialect(types, as)); err != nil {
			return wire.Described{}, err
		}
		r.body = 0
	}
	if err := r.prepare(tables, true, nil); err != nil {
		return wire.Described{}, err
	}
	at := r.body
	if q, ok := st.node.(*query); ok && q.explain || isChange {
		at = 0
	}
	r.body = at
	d, err := r.describe(r.text.sql[at:])
	nameColumns(d.Columns, found, tables)
	r.text.describeShapes(d.Columns)
	return d, err
}

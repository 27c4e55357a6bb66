package warehouse

import (
	"context"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// describe asks the engine about a statement with empty tables of the right columns.
func (st *Statement) describe(ctx context.Context) error {
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
	d, err := r.outline(st, body, st.types)
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
	for _, c := range d.Columns {
		again = again || c.Type == wire.Unknown
	}
	if again {
		if err := r.restart(); err != nil {
			return err
		}
		if d, err = r.outline(st, body, types); err != nil {
			return err
		}
	}
	st.types = types
	if st.node.kind() == kindQuery {
		st.columns = d.Columns
		if st.columns == nil {
			st.columns = []wire.Column{}
		}
	}
	return nil
}

// outline describes a statement's query with the given parameter types.
func (r *run) outline(st *Statement, body int, types []wire.Type) (wire.Described, error) {
	sql := st.sql
	n, isChange := st.node.(*change)
	if isChange {
		sql = n.reading
	}
	found, tables, err := r.understand(sql, types, body)
	if err != nil {
		return wire.Described{}, err
	}
	if isChange {
		if r.text, err = rewrite(st.sql, types); err != nil {
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
	return d, err
}

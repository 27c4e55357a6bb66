package warehouse

import (
	"strings"

	"sluice.dev/sluice/internal/base/store"
)

// Tables tells what the declared tables can hold, on every node of a cluster.
type Tables struct{ cat *catalogue }

// NewTables returns the tables of a control store, on a node that has no warehouse of its
// own; one that has uses [Service.Tables].
func NewTables(s *store.Store) *Tables { return &Tables{newCatalogue(s)} }

// Tables returns the warehouse's tables.
func (s *Service) Tables() *Tables { return &Tables{s.cat} }

// Check returns what says whether a column of the table "schema.name" can hold a valid JSON
// value, and of which type it is. A name that is no column's can hold any.
func (t *Tables) Check(table string) (holds func(column string, value []byte) (kind string, ok bool), ok bool) {
	schema, name, _ := strings.Cut(strings.ToLower(table), ".")
	snapshot := t.cat.store.Snapshot()
	doc, ok := t.cat.schema(snapshot, schema)
	if !ok {
		return nil, false
	}
	_, found, ok := t.cat.table(snapshot, doc.Namespace, name)
	if !ok {
		return nil, false
	}
	values := newJSONValues(found.Columns)
	return func(column string, value []byte) (string, bool) {
		c, known := values[strings.ToLower(column)]
		if !known || len(value) == 0 {
			return "", true
		}
		_, ok := c.jsonValue(value)
		return c.Type, ok
	}, true
}

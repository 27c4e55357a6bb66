package warehouse

import (
	"context"
	"iter"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// Column is one column of a table.
type Column struct {
	Name    string
	Type    string // canonical SQL name, such as character varying(10)
	Engine  string // the engine's name of the type
	NotNull bool   `json:",omitempty"`
}

// Layout is Redshift's physical advice. It is kept and shown; nothing depends on it.
type Layout struct {
	DistStyle string   `json:",omitempty"`
	DistKey   string   `json:",omitempty"`
	SortKey   []string `json:",omitempty"`
}

// Namespace holds tables: a local schema, or a database of the data catalogue.
type Namespace struct {
	Name    string
	Catalog bool // a database of the data catalogue
	Created time.Time
}

// Schema is a name by which sessions reach a namespace.
type Schema struct {
	Namespace string // key
	External  bool
	Role      string `json:",omitempty"` // as given; access is always the session's own
	Owner     string // ARN
	Created   time.Time
}

// Table is one table of a namespace. A local one has no External; its rows are in the
// warehouse's area under its id.
type Table struct {
	Namespace string // key
	Name      string
	Columns   []Column
	Layout    Layout
	External  *External `json:",omitempty"`
	Owner     string    // ARN
	Created   time.Time
}

// catalogue knows the keys and collections in the control store.
type catalogue struct {
	store      *store.Store
	namespaces *store.Collection[Namespace]
	schemas    *store.Collection[Schema]
	tables     *store.Collection[Table]
}

const ruleName, ruleNamespace = "name", "namespace"

func newCatalogue(s *store.Store) *catalogue {
	return &catalogue{
		store:      s,
		namespaces: store.Register[Namespace](s, "warehouse.namespaces"),
		schemas: store.Register(s, "warehouse.schemas",
			store.Refers(ruleNamespace, "warehouse.namespaces", func(d *Schema) []string { return []string{d.Namespace} }, store.Restrict)),
		tables: store.Register(s, "warehouse.tables",
			store.Unique(ruleName, func(d *Table) []string { return []string{tableKey(d.Namespace, d.Name)} }),
			store.Refers(ruleNamespace, "warehouse.namespaces", func(d *Table) []string { return []string{d.Namespace} }, store.Restrict)),
	}
}

// Keys. A schema name and a database name may be equal; their namespaces are apart.
func localNamespace(schema string) string     { return "local/" + schema }
func catalogNamespace(database string) string { return "catalog/" + database }
func tableKey(namespace, name string) string  { return namespace + "/" + name }

// schema finds a schema by name. The public one exists from the start.
func (c *catalogue) schema(r store.Reader, name string) (*Schema, bool) {
	if s, ok := c.schemas.Get(r, name); ok {
		return s, true
	}
	if name == publicSchema {
		return &Schema{Namespace: localNamespace(publicSchema)}, true
	}
	return nil, false
}

// allSchemas yields every schema in the order of their names.
func (c *catalogue) allSchemas(r store.Reader) iter.Seq2[string, *Schema] {
	return func(yield func(string, *Schema) bool) {
		if _, ok := c.schemas.Get(r, publicSchema); !ok {
			s, _ := c.schema(r, publicSchema)
			if !yield(publicSchema, s) {
				return
			}
		}
		c.schemas.All(r, "")(yield)
	}
}

// table finds a table of a namespace by name.
func (c *catalogue) table(r store.Reader, namespace, name string) (id string, t *Table, ok bool) {
	return c.tables.Lookup(r, ruleName, tableKey(namespace, name))
}

// ensurePublic makes the public schema's documents before the first table refers to them.
func (c *catalogue) ensurePublic(tx *store.Tx, now time.Time) error {
	if _, ok := c.schemas.Get(tx, publicSchema); ok {
		return nil
	}
	ns := localNamespace(publicSchema)
	if err := c.namespaces.Put(tx, ns, &Namespace{Name: publicSchema, Created: now}); err != nil {
		return err
	}
	return c.schemas.Put(tx, publicSchema, &Schema{Namespace: ns, Created: now})
}

// update runs fn in a transaction of the control store.
func (c *catalogue) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	return c.store.Update(ctx, fn)
}

package warehouse

import (
	"context"
	"errors"
	"strings"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// define makes a change of the catalogue ready.
func (s *Session) define(ctx context.Context, n node) (*pendingChange, error) {
	switch n := n.(type) {
	case *createSchema:
		return s.createSchema(ctx, n)
	case *dropSchema:
		return s.dropSchema(ctx, n)
	case *createTable:
		return s.createTable(ctx, n)
	case *dropTable:
		return s.dropTable(ctx, n)
	}
	return nil, EngineError.new("a definition of an unknown kind")
}

func reserved(schema string) bool {
	return strings.HasPrefix(schema, "pg_") || strings.HasPrefix(schema, "sluice_") || schema == "information_schema" || schema == "main" || schema == "temp"
}

func (s *Session) createSchema(ctx context.Context, n *createSchema) (*pendingChange, error) {
	tag := "CREATE SCHEMA"
	if n.external {
		tag = "CREATE EXTERNAL SCHEMA"
	}
	if reserved(n.name) {
		return nil, InsufficientPrivilege.new("unacceptable schema name \"%s\"", n.name).detail("The prefixes \"pg_\" and \"sluice_\" are reserved.")
	}
	container := n.name
	if n.external {
		container = n.database
	}
	snapshot := s.svc.cat.store.Snapshot()
	exists, ok := s.svc.cat.schema(snapshot, n.name)
	if ok && !n.ifNotExists {
		return nil, DuplicateSchema.new("schema \"%s\" already exists", n.name)
	}
	ns := localNamespace(container)
	if n.external {
		ns = catalogNamespace(container)
	}
	_, hasDB := s.svc.cat.namespaces.Get(snapshot, ns)
	action := name.Action("glue:CreateDatabase")
	if hasDB {
		action = "glue:GetDatabase"
	}
	if err := s.svc.authorize(ctx, action, "database/"+container, "database "+container, 0); err != nil {
		return nil, err
	}
	if ok {
		if exists.External != n.external {
			return nil, DuplicateSchema.new("schema \"%s\" already exists and is of another kind", n.name)
		}
		return &pendingChange{tag: tag, notices: []Notice{{Message: "schema \"" + n.name + "\" already exists, skipping"}}}, nil
	}
	if n.external && !hasDB && !n.makeDB {
		return nil, UndefinedDatabase.new("external database \"%s\" does not exist", n.database).hint("Add CREATE EXTERNAL DATABASE IF NOT EXISTS.")
	}
	now := s.svc.clock.Now()
	return &pendingChange{tag: tag, commit: func(ctx context.Context) error {
		err := s.svc.cat.update(ctx, func(tx *store.Tx) error {
			if _, ok := s.svc.cat.namespaces.Get(tx, ns); !ok {
				if err := s.svc.cat.namespaces.Insert(tx, ns, &Namespace{Name: container, Catalog: n.external, Created: now}); err != nil {
					return err
				}
			}
			return s.svc.cat.schemas.Insert(tx, n.name, &Schema{Namespace: ns, External: n.external, Role: n.role, Owner: s.id.ARN, Created: now})
		})
		if fault.KindOf(err) == fault.Exists {
			return DuplicateSchema.wrap(err, "schema \"%s\" already exists", n.name)
		}
		return err
	}}, nil
}

func (s *Session) dropSchema(ctx context.Context, n *dropSchema) (*pendingChange, error) {
	cat := s.svc.cat
	doc, ok := cat.schemas.Get(cat.store.Snapshot(), n.name)
	if !ok {
		if n.name == publicSchema {
			return nil, DependentObjects.new("schema \"public\" cannot be dropped")
		}
		if n.ifExists {
			return &pendingChange{tag: "DROP SCHEMA", notices: []Notice{{Message: "schema \"" + n.name + "\" does not exist, skipping"}}}, nil
		}
		return nil, InvalidSchemaName.new("schema \"%s\" does not exist", n.name)
	}
	if n.name == publicSchema {
		return nil, DependentObjects.new("schema \"public\" cannot be dropped")
	}
	_, container, _ := strings.Cut(doc.Namespace, "/")
	if err := s.svc.authorize(ctx, "glue:DeleteDatabase", "database/"+container, "schema "+n.name, 0); err != nil {
		return nil, err
	}
	// An external schema is only a name for a catalogue database, which keeps its tables
	// unless DROP EXTERNAL DATABASE is said.
	whole := !doc.External || n.dropDB
	if whole && n.cascade {
		for _, t := range cat.tables.Find(cat.store.Snapshot(), ruleNamespace, doc.Namespace) {
			if err := s.svc.authorize(ctx, "glue:DeleteTable", tableResource(t), "relation "+t.Name, 0); err != nil {
				return nil, err
			}
		}
	}
	return &pendingChange{tag: "DROP SCHEMA", commit: func(ctx context.Context) error {
		return cat.update(ctx, func(tx *store.Tx) error {
			if _, err := cat.schemas.Delete(tx, n.name); err != nil {
				return err
			}
			if !whole {
				return nil
			}
			var ids []string
			for id := range cat.tables.Find(tx, ruleNamespace, doc.Namespace) {
				ids = append(ids, id)
			}
			if len(ids) > 0 && !n.cascade {
				return DependentObjects.new("cannot drop schema %s because other objects depend on it", n.name).
					hint("Use DROP ... CASCADE to drop the dependent objects too.")
			}
			for _, id := range ids {
				if _, err := cat.tables.Delete(tx, id); err != nil {
					return err
				}
			}
			_, err := cat.namespaces.Delete(tx, doc.Namespace)
			if fault.KindOf(err) == fault.Conflict {
				return DependentObjects.wrap(err, "cannot drop database %s because other schemas refer to it", container)
			}
			return err
		})
	}}, nil
}

// target is where a table is to be made.
type target struct {
	schema    string
	namespace string
	name      string
	exists    bool
}

// place finds the schema a new table goes into and authorises making it.
func (s *Session) place(ctx context.Context, n objectName, external bool) (target, error) {
	schema := n.schema
	if schema == "" {
		schema = s.settings.searchPath[0]
	}
	snapshot := s.svc.cat.store.Snapshot()
	doc, ok := s.svc.cat.schema(snapshot, schema)
	if !ok {
		p := InvalidSchemaName.new("schema \"%s\" does not exist", schema)
		p.Position = n.position
		return target{}, p
	}
	if doc.External != external {
		if external {
			return target{}, WrongObjectType.at(n.position, "schema \"%s\" is not external; an external table needs an external schema", schema)
		}
		return target{}, FeatureNotSupported.at(n.position, "a table in the external schema \"%s\" must be made with CREATE EXTERNAL TABLE", schema)
	}
	t := target{schema: schema, namespace: doc.Namespace, name: n.name}
	if err := s.svc.authorize(ctx, "glue:CreateTable", tableResource(&Table{Namespace: t.namespace, Name: t.name}), "schema "+schema, n.position); err != nil {
		return t, err
	}
	_, _, t.exists = s.svc.cat.table(snapshot, t.namespace, t.name)
	return t, nil
}

// create returns the last step of making a table.
func (s *Session) create(t target, id string, doc *Table) func(context.Context) error {
	doc.Namespace, doc.Name, doc.Owner, doc.Created = t.namespace, t.name, s.id.ARN, s.svc.clock.Now()
	cat := s.svc.cat
	return func(ctx context.Context) error {
		err := cat.update(ctx, func(tx *store.Tx) error {
			if t.schema == publicSchema {
				if err := cat.ensurePublic(tx, doc.Created); err != nil {
					return err
				}
			}
			return cat.tables.Insert(tx, id, doc)
		})
		var v *store.Violation
		switch {
		case fault.KindOf(err) == fault.Exists:
			return DuplicateTable.wrap(err, "relation \"%s\" already exists", t.name)
		case errors.As(err, &v):
			return InvalidSchemaName.wrap(err, "schema \"%s\" does not exist any more", t.schema)
		}
		return err
	}
}

func (t target) skipped(tag string) *pendingChange {
	return &pendingChange{tag: tag, notices: []Notice{{Message: "relation \"" + t.name + "\" already exists, skipping"}}}
}

func (s *Session) createTable(ctx context.Context, n *createTable) (*pendingChange, error) {
	tag := "CREATE TABLE"
	if n.external != nil {
		tag = "CREATE EXTERNAL TABLE"
	}
	t, err := s.place(ctx, n.name, n.external != nil)
	if err != nil {
		return nil, err
	}
	if t.exists {
		if n.ifNotExists {
			return t.skipped(tag), nil
		}
		return nil, DuplicateTable.at(n.name.position, "relation \"%s\" already exists", t.name)
	}
	id := name.Hex(16)
	doc := &Table{Columns: n.columns, Layout: n.layout, External: n.external}
	insert := s.create(t, id, doc)
	if n.external != nil {
		return &pendingChange{tag: tag, commit: insert}, nil
	}
	// The first entry of the log is written before the catalogue knows the table: what a
	// crash leaves in between belongs to nothing and is cleaned up later.
	if err := s.svc.createLog(ctx, id, doc, nil); err != nil {
		return nil, err
	}
	return &pendingChange{tag: tag, commit: insert}, nil
}

func (s *Session) dropTable(ctx context.Context, n *dropTable) (*pendingChange, error) {
	cat := s.svc.cat
	snapshot := cat.store.Snapshot()
	change := &pendingChange{tag: "DROP TABLE"}
	var ids []string
	for _, o := range n.names {
		t, err := s.lookup(ctx, snapshot, o)
		if n.ifExists && UndefinedTable.Is(err) {
			change.notices = append(change.notices, Notice{Message: "table \"" + o.String() + "\" does not exist, skipping"})
			continue
		}
		if err != nil {
			return nil, err
		}
		if t.values != nil {
			return nil, InsufficientPrivilege.at(o.position, "permission denied: \"%s\" is a system catalog", t.name)
		}
		if err := s.svc.authorize(ctx, "glue:DeleteTable", tableResource(t.doc), "relation "+t.name, o.position); err != nil {
			return nil, err
		}
		ids = append(ids, t.id)
	}
	change.commit = func(ctx context.Context) error {
		return cat.update(ctx, func(tx *store.Tx) error {
			for _, id := range ids {
				if _, err := cat.tables.Delete(tx, id); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return change, nil
}

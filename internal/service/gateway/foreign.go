package gateway

import (
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// resolveKeys turns what a client gave for foreign fields into {"id": …}. A client may pass
// back a whole entity: its primary key counts, and the other members are ignored. Without a
// valid id, a unique field such as the name finds the entity. What has neither is a violation
// of the entity's own schema, or lacks the primary key.
func (g *Gateway) resolveKeys(r store.Reader, e *schema.Entity, in schema.Record) error {
	violations, unresolved := schema.Violations{}, schema.Violations{}
	for _, f := range e.Record.Fields {
		to := g.entities[f.Reference]
		if f.Kind != schema.Foreign || to == nil || in[f.Name] == nil || f.EqNull {
			continue
		}
		ref, _ := in[f.Name].(schema.Record) // of anything else, the id is missing
		if id, ok := ref["id"].(string); ok && schema.IsUUID(id) {
			in[f.Name] = schema.Record{"id": id}
			continue
		}
		id, missing := "", schema.Violations(nil)
		if r != nil {
			id, missing = g.byUniqueField(r, to, ref)
		}
		switch {
		case id != "":
			in[f.Name] = schema.Record{"id": id}
		case len(missing) > 0:
			unresolved[f.Name] = missing
		default:
			violations[f.Name] = foreignViolations(to, ref)
		}
	}
	switch {
	case len(unresolved) > 0:
		msg := strings.Replace(unresolved.String(), "schema violation", "foreign key unresolved", 1)
		msg = strings.Replace(msg, "foreign key unresolveds (", "foreign keys unresolved (", 1)
		return &Error{reason: UnresolvedName, Message: msg, Fields: unresolved}
	case len(violations) > 0:
		return violated(violations)
	}
	return nil
}

// byUniqueField finds the entity that ref describes by the first of its unique fields that
// finds one. missing says which of them found nothing.
func (g *Gateway) byUniqueField(r store.Reader, to *schema.Entity, ref schema.Record) (id string, missing schema.Violations) {
	missing = schema.Violations{}
	for _, f := range to.Record.Fields {
		value, ok := ref[f.Name].(string)
		if !ok || !f.Unique || f.CheckValue(value) != nil {
			continue
		}
		if id, _, found := g.lookup(r, to, f.Name, value); found {
			return id, nil
		}
		missing[f.Name] = "the foreign key cannot be resolved with '" +
			lua(schema.Record{f.Name: value}) + "' for an existing '" + to.Name + "' entity"
	}
	return "", missing
}

// foreignViolations says what is wrong with a reference that has no valid id.
func foreignViolations(to *schema.Entity, ref schema.Record) schema.Violations {
	bad := schema.Violations{}
	for name, v := range ref {
		f := to.Record.Field(name)
		if f == nil {
			bad[name] = "unknown field"
		} else if wrong := f.CheckValue(v); wrong != nil {
			bad[name] = wrong
		}
	}
	if len(bad) == 0 {
		bad["id"] = "missing primary key"
	}
	return bad
}

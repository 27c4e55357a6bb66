package gateway

import (
	"context"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Change is one change of an entity that a caller made, for the audit. Secrets are masked.
type Change struct {
	Collection    string
	ID            string
	Before, After schema.Record // nil where there was, or is, none
}

// masked stands for a value that nobody is to read in the audit.
const masked = "***"

// tell reports a change to the audit.
func (g *Gateway) tell(ctx context.Context, e *schema.Entity, before, after schema.Record) {
	if !e.Private {
		g.audit(ctx, []Change{g.changeOf(e, before, after)})
	}
}

// audit reports changes. Those that plugins make of themselves have no caller and are not
// told.
func (g *Gateway) audit(ctx context.Context, changes []Change) {
	if _, called := caller.From(ctx); called && g.deps.Audit != nil && len(changes) > 0 {
		g.deps.Audit(ctx, changes)
	}
}

// changeOf describes a change; before or after is nil where there was or is no record.
func (g *Gateway) changeOf(e *schema.Entity, before, after schema.Record) Change {
	if g.deps.Audit == nil {
		return Change{}
	}
	c := Change{Collection: e.Name, Before: mask(g.described(e, before), before), After: mask(g.described(e, after), after)}
	if c.ID = str(after["id"]); after == nil {
		c.ID = str(before["id"])
	}
	return c
}

// described returns the record that describes r, whose kind decides it for plugins.
func (g *Gateway) described(e *schema.Entity, r schema.Record) *schema.Field {
	if e.Variant != nil && r != nil {
		if record, _, wrong := e.Variant(r); wrong == "" {
			return record
		}
	}
	return e.Record
}

// mask returns a copy of r without its secrets.
func mask(f *schema.Field, r schema.Record) schema.Record {
	if r == nil {
		return nil
	}
	out := make(schema.Record, len(r))
	for name, v := range r {
		if c := f.Field(name); c != nil && name != expiresField {
			out[name] = maskValue(c, v)
		}
	}
	return out
}

func maskValue(f *schema.Field, v any) any {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		if f.Encrypted || f.Secret {
			return masked
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			if out[i] = v[i]; f.Elements != nil {
				out[i] = maskValue(f.Elements, v[i])
			}
		}
		return out
	case schema.Record:
		if f.Kind == schema.Nested {
			return mask(f, v)
		}
		if f.Values != nil {
			out := make(schema.Record, len(v))
			for k, e := range v {
				out[k] = maskValue(f.Values, e)
			}
			return out
		}
	}
	return v
}

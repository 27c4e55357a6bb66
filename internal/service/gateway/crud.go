package gateway

import (
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Get returns the record under an id or endpoint key.
func (g *Gateway) Get(e *schema.Entity, key string) (schema.Record, error) {
	_, r, ok := g.find(g.deps.Store.Snapshot(), e, key)
	if !ok {
		return nil, notFound()
	}
	return g.present(e, r), nil
}

// GetUnder returns the child of a parent under an id or, where the entity has one, under
// its key beneath a parent.
func (g *Gateway) GetUnder(e *schema.Entity, parent, parentID, key string) (schema.Record, error) {
	view := g.deps.Store.Snapshot()
	var r schema.Record
	ok := false
	if schema.IsUUID(key) || e.KeyUnder == "" {
		_, r, ok = g.find(view, e, key)
	} else {
		in := schema.Record{e.KeyUnder: key}
		if normalize := e.Shorthands[e.KeyUnder]; normalize != nil {
			normalize(key, in)
		}
		in[parent] = schema.Record{"id": parentID}
		var doc *schema.Record
		if _, doc, ok = g.collection(e.Name).Lookup(view, togetherRule, togetherValue(e, in)); ok {
			r = *doc
		}
	}
	if !ok || refID(r[parent]) != parentID || g.expired(r) {
		return nil, notFound()
	}
	return g.present(e, r), nil
}

// Create stores a new record and returns it. When it returns, the data plane acts on it.
func (g *Gateway) Create(ctx context.Context, e *schema.Entity, r schema.Record) (schema.Record, error) {
	var stored schema.Record
	err := g.change(ctx, func(tx *store.Tx) error {
		in := maps.Clone(r)
		labels, err := g.takeLabels(tx, e, in, "")
		if err != nil {
			return err
		}
		full, err := g.complete(tx, e, in, nil)
		if err != nil {
			return err
		}
		stored = full
		if err := g.write(tx, e, full, true); err != nil {
			return err
		}
		return g.relabel(tx, e, full["id"].(string), labels)
	})
	if err != nil {
		return nil, err
	}
	g.tell(ctx, e, nil, stored)
	return g.present(e, stored), nil
}

// Replace stores a record under key, which is an id or an endpoint key, whether there is
// one already or not. What r does not set goes back to its default.
func (g *Gateway) Replace(ctx context.Context, e *schema.Entity, key string, r schema.Record) (schema.Record, error) {
	var before, stored schema.Record
	err := g.change(ctx, func(tx *store.Tx) error {
		in := maps.Clone(r)
		if in == nil {
			in = schema.Record{}
		}
		id, old, exists := g.find(tx, e, key)
		labels, err := g.takeLabels(tx, e, in, id)
		if err != nil {
			return err
		}
		switch {
		case schema.IsUUID(key):
			in["id"] = strings.ToLower(key)
		case e.Labels != nil && exists:
			in["id"] = id
		case e.Labels != nil:
			if delete(in, "id"); !slices.Contains(labels, key) {
				labels = append(labels, key)
			}
		case e.EndpointKey == "":
			return notFound()
		default:
			in[e.EndpointKey] = key
			if exists {
				in["id"] = id
			}
		}
		if exists {
			in["created_at"] = old["created_at"]
			for _, f := range e.Record.Fields { // minted values such as a credential's key stay
				if _, given := in[f.Name]; !given && f.Auto && !f.Timestamp {
					in[f.Name] = old[f.Name]
				}
			}
		}
		full, err := g.complete(tx, e, in, nil)
		if err != nil {
			return err
		}
		before, stored = old, full
		if err := g.write(tx, e, full, false); err != nil {
			return err
		}
		return g.relabel(tx, e, full["id"].(string), labels)
	})
	if err != nil {
		return nil, err
	}
	g.tell(ctx, e, before, stored)
	return g.present(e, stored), nil
}

// Patch changes the given fields of a record.
func (g *Gateway) Patch(ctx context.Context, e *schema.Entity, key string, patch schema.Record) (schema.Record, error) {
	var before, stored schema.Record
	err := g.change(ctx, func(tx *store.Tx) error {
		id, old, ok := g.find(tx, e, key)
		if !ok {
			return notFound()
		}
		if v, given := patch["id"]; given && v != id {
			return violated(schema.Violations{"id": "immutable field cannot be updated"})
		}
		in := maps.Clone(patch)
		labels, err := g.takeLabels(tx, e, in, id)
		if err != nil {
			return err
		}
		full, err := g.complete(tx, e, in, old)
		if err != nil {
			return err
		}
		before, stored = old, full
		if err := g.write(tx, e, full, false); err != nil {
			return err
		}
		return g.relabel(tx, e, id, labels)
	})
	if err != nil {
		return nil, err
	}
	g.tell(ctx, e, before, stored)
	return g.present(e, stored), nil
}

// Delete removes a record and what cascades from it; false where there was none.
func (g *Gateway) Delete(ctx context.Context, e *schema.Entity, key string) (existed bool, err error) {
	var before schema.Record
	err = g.change(ctx, func(tx *store.Tx) error {
		id, old, ok := g.find(tx, e, key)
		if !ok {
			return nil
		}
		existed, before = true, old
		if _, err := g.collection(e.Name).Delete(tx, id); err != nil {
			if v, ok := errors.AsType[*store.Violation](err); ok {
				return g.explain(e, nil, v)
			}
			return err
		}
		return nil
	})
	if err == nil && existed {
		g.tell(ctx, e, before, nil)
	}
	return existed, err
}

// Validate checks a record as Create would, without storing it. As in Kong, a reference must
// have its primary key: nothing is looked up by name.
func (g *Gateway) Validate(e *schema.Entity, r schema.Record) error {
	view, in := g.deps.Store.Snapshot(), maps.Clone(r)
	if _, err := g.takeLabels(view, e, in, ""); err != nil {
		return err
	}
	_, err := g.complete(nil, e, in, nil)
	return err
}

// change runs one transaction and brings the data plane up to it.
func (g *Gateway) change(ctx context.Context, fn func(tx *store.Tx) error) error {
	if err := g.deps.Store.Update(ctx, fn); err != nil {
		return err
	}
	g.refresh()
	return nil
}

// complete makes a full, valid record of a client's input. base is the record a patch is
// for, nil otherwise. With r nil, nothing stored is looked at. Input is not modified.
func (g *Gateway) complete(r store.Reader, e *schema.Entity, input, base schema.Record) (schema.Record, error) {
	return g.completed(r, e, input, base, false)
}

// completed is complete, of values that are plain: as they are stored.
func (g *Gateway) completed(r store.Reader, e *schema.Entity, input, base schema.Record, plain bool) (schema.Record, error) {
	in := schema.Record{}
	for k, v := range input {
		in[k] = v
	}
	bad := schema.Violations{}
	for field, expand := range e.Shorthands {
		v, given := in[field]
		delete(in, field)
		if given && v != nil {
			if msg := expand(v, in); msg != "" {
				bad[field] = msg
			}
		}
	}
	if len(bad) > 0 {
		return nil, violated(bad)
	}
	expires, err := g.takeTTL(e, in, base)
	if err != nil {
		return nil, err
	}
	if err := g.resolveKeys(r, e, in); err != nil {
		return nil, err
	}
	whole := in
	if base != nil {
		whole = schema.Record{"name": base["name"]}
	} else if e.Prepare != nil {
		e.Prepare(in)
	}
	record, checks := e.Record, []schema.Check(nil)
	if e.Variant != nil {
		var wrong string
		if n, given := in["name"]; given && base != nil {
			whole = schema.Record{"name": n}
		}
		if record, checks, wrong = e.Variant(whole); wrong != "" {
			return nil, violated(schema.Violations{"name": wrong})
		}
	}
	if base != nil {
		merged := record.Merge(base, in)
		delete(merged, expiresField)
		in = merged
	}
	at := g.deps.Clock.Now()
	full := record.Complete(in)
	for _, f := range record.Fields {
		now := float64(at.Unix())
		if f.Kind == schema.Number {
			now = float64(at.UnixMilli()) / 1000
		}
		switch {
		case f.Name == "updated_at":
			full[f.Name] = now
		case !f.Auto || full[f.Name] != nil:
		case f.Timestamp:
			full[f.Name] = now
		case f.UUID:
			full[f.Name] = uuid.NewString()
		case f.Kind == schema.String:
			full[f.Name] = name.Secret(32)
		}
		if inner, ok := full[f.Name].(schema.Record); ok { // a plugin's configuration
			for _, f := range f.Fields {
				if f.Auto && f.Kind == schema.String && inner[f.Name] == nil {
					inner[f.Name] = name.Secret(32)
				}
			}
		}
	}
	if v := record.Validate(full, checks...); v != nil {
		return nil, violated(v)
	}
	record.Distinct(full)
	for _, f := range record.Fields {
		if given, ok := input[f.Name].(string); ok && f.Seal != nil && !plain {
			full[f.Name] = f.Seal(given, full)
		}
	}
	if e.Derive != nil {
		e.Derive(full)
	}
	full["id"] = strings.ToLower(full["id"].(string))
	if expires != nil {
		full[expiresField] = expires
	}
	return full, nil
}

// takeTTL takes "ttl" out of the input and returns the moment the record ends, nil for never.
func (g *Gateway) takeTTL(e *schema.Entity, in, base schema.Record) (any, error) {
	if !e.Expires {
		return nil, nil
	}
	v, given := in["ttl"]
	delete(in, "ttl")
	switch n, isNumber := v.(float64); {
	case !given:
		return base[expiresField], nil
	case v == nil || isNumber && n == 0:
		return nil, nil
	case !isNumber || n != float64(int64(n)):
		return nil, violated(schema.Violations{"ttl": "expected an integer"})
	case n < 0 || n > 100_000_000:
		return nil, violated(schema.Violations{"ttl": "value should be between 0 and 100000000"})
	default:
		return g.now() + n, nil
	}
}

func (g *Gateway) write(tx *store.Tx, e *schema.Entity, r schema.Record, insert bool) error {
	c, id := g.collection(e.Name), r["id"].(string)
	put := c.Put
	if insert {
		put = c.Insert
	}
	if err := put(tx, id, &r); err != nil {
		if v, ok := errors.AsType[*store.Violation](err); ok {
			return g.explain(e, r, v)
		}
		return err
	}
	return nil
}

// present returns a record as clients see it. Stored records are shared, so it is a copy
// where anything differs.
func (g *Gateway) present(e *schema.Entity, r schema.Record) schema.Record {
	record := e.Record
	if e.Variant != nil {
		if of, _, wrong := e.Variant(r); wrong == "" {
			record = of
		}
	}
	return record.Show(g.exported(e, r))
}

// exported returns a record with what is not stored with it.
func (g *Gateway) exported(e *schema.Entity, r schema.Record) schema.Record {
	at, expires := r[expiresField].(float64)
	if !expires && e.Labels == nil {
		return r
	}
	out := maps.Clone(r)
	if expires {
		delete(out, expiresField)
		left := math.Round((at - g.now()) * 1000)   // milliseconds, which a float64 of seconds has not exactly
		out["ttl"] = max(math.Ceil(left/1000)-1, 0) // as in Kong, some time has passed, however little
	}
	if e.Labels != nil {
		out[e.Labels.Field.Name] = g.labels(g.deps.Store.Snapshot(), e, r["id"].(string))
	}
	return out
}

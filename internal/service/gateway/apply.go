package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Misfit is a record of a declaration that was refused.
type Misfit struct {
	Collection string
	Index      int
	Record     schema.Record
	Violations schema.Violations
	Path       []any // in the document: names, and indices from 0
	derived    bool  // the document gives the record no id
}

func declarationError(whole schema.Violations, misfits []Misfit) *Error {
	fields := maps.Clone(whole)
	if fields == nil {
		fields = schema.Violations{}
	}
	for _, m := range misfits {
		list := asList(fields[m.Collection])
		for len(list) < m.Index {
			list = append(list, nil)
		}
		fields[m.Collection] = append(list, m.Violations)
	}
	raw, _ := json.Marshal(fields) // texts, lists and maps always encode
	return &Error{reason: InvalidDeclaration, Message: "declarative config is invalid: " + string(raw), Fields: fields, Misfits: misfits}
}

// ConfigurationHash identifies the declaration that was last made the whole configuration;
// "" where none was.
func (g *Gateway) ConfigurationHash() string {
	if h := g.hash.Load(); h != nil {
		return *h
	}
	return ""
}

// Applied says what Apply did.
type Applied struct {
	Created   int `json:"created"`
	Updated   int `json:"updated"`
	Deleted   int `json:"deleted"`
	Unchanged int `json:"unchanged"`
}

// ApplyOptions say how a declaration is applied.
type ApplyOptions struct {
	Replace bool // remove what it does not hold
	DryRun  bool // change nothing, but tell what would be done and what is wrong
}

// errDryRun ends the transaction of a dry run.
var errDryRun = errors.New("gateway: a dry run")

// Apply stores the records of a declaration, all of them or, where one is refused, none.
// What is stored already as it should be is left alone. When it returns, the data plane
// acts on it.
func (g *Gateway) Apply(ctx context.Context, d *Declaration, o ApplyOptions) (Applied, error) {
	var done Applied
	var changes []Change
	err := g.change(ctx, func(tx *store.Tx) error {
		a := &applying{g: g, tx: tx, Declaration: d}
		order := g.byDependency()
		if o.Replace {
			a.remove(order, false)
		}
		for _, e := range order {
			if err := a.put(e); err != nil {
				return err
			}
		}
		if len(a.misfits) == 0 && o.Replace {
			a.remove(order, true)
		}
		done, changes = a.done, a.changes
		if len(a.misfits) > 0 || len(a.whole) > 0 {
			return declarationError(a.whole, a.misfits)
		}
		if o.DryRun {
			return errDryRun
		}
		return nil
	})
	if errors.Is(err, errDryRun) {
		return done, nil
	}
	if err != nil {
		return Applied{}, err
	}
	if o.Replace {
		g.hash.Store(&d.hash)
	}
	g.audit(ctx, changes)
	return done, nil
}

// applying is one Apply.
type applying struct {
	*Declaration
	g       *Gateway
	tx      *store.Tx
	done    Applied
	changes []Change
	whole   schema.Violations
	misfits []Misfit
}

// remove deletes what is not declared, children first. What something still refers to is
// left for a second round, which comes after the records were stored: by then it may have
// been let go.
func (a *applying) remove(order []*schema.Entity, last bool) {
	for _, e := range slices.Backward(order) {
		keep := map[string]bool{}
		for _, r := range a.records[e.Name] {
			keep[strings.ToLower(str(r["id"]))] = true
		}
		labels := a.labelled(e)
		c := a.g.collection(e.Name)
		var gone []string
		for id, doc := range c.All(a.tx, "") {
			if !keep[id] && !labels[str((*doc)[e.EndpointKey])] {
				gone = append(gone, id)
			}
		}
		for _, id := range gone {
			doc, ok := c.Get(a.tx, id)
			if !ok {
				continue // it went with its parent
			}
			_, err := c.Delete(a.tx, id)
			switch v, held := errors.AsType[*store.Violation](err); {
			case err == nil:
				a.done.Deleted++
				a.changes = append(a.changes, a.g.changeOf(e, *doc, nil))
			case held && !last:
			case held:
				a.complain(e.Name, a.g.explain(e, nil, v).Message)
			default:
				a.complain(e.Name, err.Error())
			}
		}
	}
}

func (a *applying) complain(collection, message string) {
	if a.whole == nil {
		a.whole = schema.Violations{}
	}
	a.whole[collection] = message
}

// labelled are the labels that the declared records of other entities bring.
func (a *applying) labelled(e *schema.Entity) map[string]bool {
	out := map[string]bool{}
	for _, of := range a.g.public {
		if of.Labels == nil || of.Labels.Entity != e.Name {
			continue
		}
		for _, r := range a.records[of.Name] {
			for _, l := range list(r[of.Labels.Field.Name]) {
				out[l] = true
			}
		}
	}
	return out
}

// put stores the records of one collection.
func (a *applying) put(e *schema.Entity) error {
	seen := make(map[string]bool, len(a.records[e.Name]))
	for i, r := range a.records[e.Name] {
		id := strings.ToLower(str(r["id"]))
		if seen[id] {
			a.misfits = append(a.misfits, a.misfit(e, i, schema.Violations{schema.EntityKey: []any{declaredTwice(e, r)}}))
			continue
		}
		seen[id] = true
		before, after, err := a.one(e, r)
		if err == nil {
			switch {
			case after == nil:
				a.done.Unchanged++
			case before == nil:
				a.done.Created++
				a.changes = append(a.changes, a.g.changeOf(e, nil, after))
			default:
				a.done.Updated++
				a.changes = append(a.changes, a.g.changeOf(e, before, after))
			}
			continue
		}
		refused, ok := errors.AsType[*Error](err)
		if !ok {
			return err
		}
		bad := schema.Violations(refused.Fields)
		if refused.Reason() != SchemaViolation {
			message := refused.Message
			for field := range refused.Fields { // a file's errors come to stand in a log
				if f := e.Record.Field(field); f != nil && f.Secret {
					message = "UNIQUE violation detected on '" + field + "'"
				}
			}
			bad = schema.Violations{schema.EntityKey: []any{message}}
		}
		a.misfits = append(a.misfits, a.misfit(e, i, bad))
	}
	return nil
}

// declaredTwice tells what two records have in common that none but one may have.
func declaredTwice(e *schema.Entity, r schema.Record) string {
	field, value := "primary key", str(r["id"])
	if f := e.Record.Field(e.EndpointKey); f != nil && !f.Secret && str(r[f.Name]) != "" { // errors are logged
		field, value = f.Name, str(r[f.Name])
	}
	return "uniqueness violation: '" + e.Name + "' entity with " + field + " set to '" + value + "' already declared"
}

// one stores a record. after is nil where it is stored already.
func (a *applying) one(e *schema.Entity, r schema.Record) (before, after schema.Record, err error) {
	in := maps.Clone(r)
	id := strings.ToLower(str(in["id"]))
	if old, ok := a.g.collection(e.Name).Get(a.tx, id); ok {
		before = *old
		for _, f := range e.Record.Fields { // what was minted stays, as in Replace
			if _, given := in[f.Name]; !given && f.Auto && f.Name != "updated_at" {
				in[f.Name] = before[f.Name]
			}
		}
	}
	labels, err := a.g.takeLabels(a.tx, e, in, id)
	if err != nil {
		return nil, nil, err
	}
	full, err := a.g.completed(a.tx, e, in, nil, a.plain)
	if err != nil {
		return nil, nil, err
	}
	if before != nil && a.same(e, before, full) && (labels == nil || slices.Equal(labels, a.g.labels(a.tx, e, id))) {
		return before, nil, nil
	}
	if err := a.g.write(a.tx, e, full, false); err != nil {
		return nil, nil, err
	}
	return before, full, a.g.relabel(a.tx, e, id, labels)
}

// same compares two records but for the time of their last change.
func (a *applying) same(e *schema.Entity, old, new schema.Record) bool {
	if e.Record.Field("updated_at") == nil {
		return schema.Equal(old, new)
	}
	new = maps.Clone(new)
	new["updated_at"] = old["updated_at"]
	return schema.Equal(old, new)
}

// Export returns everything that is stored as a document that Declare reads, with the
// values as they are stored.
func (g *Gateway) Export() schema.Record {
	view := g.deps.Store.Snapshot()
	doc := schema.Record{formatMember: "3.0", transformMember: false}
	for _, e := range g.public {
		records := []any{}
		for _, r := range g.collection(e.Name).All(view, "") {
			if g.expired(*r) {
				continue
			}
			out := schema.Record{}
			for name, v := range g.exported(e, *r) {
				if v == nil || e.Labels != nil && name == e.Labels.Field.Name {
					continue
				}
				if ref, ok := v.(schema.Record); ok && e.Record.Field(name) != nil && e.Record.Field(name).Kind == schema.Foreign {
					v = ref["id"]
				}
				out[name] = v
			}
			records = append(records, out)
		}
		if len(records) > 0 {
			doc[e.Name] = records
		}
	}
	return doc
}

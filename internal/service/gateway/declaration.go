package gateway

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Declaration is a configuration as a whole, taken from a document in Kong's declarative
// format: records by collection, with references resolved and an id each.
type Declaration struct {
	records map[string][]schema.Record
	paths   map[string][][]any // of the records, in the document
	derived map[string]bool    // the ids that the document does not give
	hash    string
	// plain says that the values are what is stored, such as hashes of passwords, and not
	// what a client would send.
	plain bool
}

// misfit is the i-th record of a collection, with what is wrong with it.
func (d *Declaration) misfit(e *schema.Entity, i int, bad schema.Violations) Misfit {
	r := d.records[e.Name][i]
	return Misfit{Collection: e.Name, Index: i, Record: r, Violations: bad, Path: d.paths[e.Name][i], derived: d.derived[str(r["id"])]}
}

// Len returns how many records there are.
func (d *Declaration) Len() (n int) {
	for _, list := range d.records {
		n += len(list)
	}
	return n
}

// declared is the name space of ids that records without one are given: the same record
// has the same id whenever it is declared.
var declared = uuid.MustParse("c1f3b0de-63d5-4d7e-9b9f-2f1a1c1d7f40")

// Hash identifies what the document said.
func (d *Declaration) Hash() string { return d.hash }

// Members of a document that are not collections.
const (
	formatMember    = "_format_version"
	transformMember = "_transform"
)

var (
	otherMembers = []string{"_comment", "_ignore", "_info", "_workspace", "_plugin_configs", "_konnect"}
	formats      = []string{"1.1", "2.1", "3.0"}
	// plainPath is what a path may consist of that formats before 3.0 do not take for a
	// regular expression.
	plainPath = regexp.MustCompile(`^[a-zA-Z0-9._~/%-]*$`)
)

// Declare reads a document: collections of records, with children nested in their parents
// where one likes, and references by name or id. It does not look at what is stored, and
// checks no more than the form; Apply checks the records.
func (g *Gateway) Declare(doc schema.Record) (*Declaration, error) {
	bad := schema.Violations{}
	format := str(doc[formatMember])
	if n, ok := doc[formatMember].(float64); ok { // 3.0 without quotes
		raw, _ := json.Marshal(n) // a number always encodes
		if format = string(raw); !strings.Contains(format, ".") {
			format += ".0"
		}
	}
	switch {
	case doc[formatMember] == nil:
		bad[formatMember] = "required field missing"
	case !slices.Contains(formats, format):
		bad[formatMember] = "expected one of: " + strings.Join(formats, ", ")
	}
	d := &declaring{g: g, legacy: format < "3.0", bad: bad, Declaration: &Declaration{
		records: map[string][]schema.Record{}, paths: map[string][][]any{}, derived: map[string]bool{}, hash: hashOf(doc)}}
	if transform, given := doc[transformMember].(bool); given {
		d.plain = !transform
	}
	for name, v := range doc {
		if name == formatMember || name == transformMember || slices.Contains(otherMembers, name) || v == nil {
			continue
		}
		e, ok := g.entities[name]
		if !ok || e.Private {
			bad[name] = "unknown field"
			continue
		}
		d.list(e, v, []any{name}, nil)
	}
	if len(bad) > 0 || len(d.misfits) > 0 {
		return nil, declarationError(bad, d.misfits)
	}
	d.identify()
	d.resolve()
	if len(bad) > 0 {
		return nil, declarationError(bad, nil)
	}
	return d.Declaration, nil
}

// hashOf is the same for documents that say the same.
func hashOf(doc schema.Record) string {
	raw, _ := json.Marshal(doc) // decoded from JSON or YAML, it encodes
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// declaring is a document being read.
type declaring struct {
	*Declaration
	g       *Gateway
	legacy  bool // of a format before 3.0
	bad     schema.Violations
	misfits []Misfit
}

// nesting is where a record's children are.
type nesting struct {
	of     *schema.Entity
	parent schema.Record
	field  string // of the children, that points at it
}

// list takes the records of one collection, those of a parent where in is not nil.
func (d *declaring) list(e *schema.Entity, v any, at []any, in *nesting) {
	list, ok := v.([]any)
	if !ok {
		d.bad[e.Name] = "expected an array"
		return
	}
	for i, v := range list {
		r, ok := v.(schema.Record)
		if !ok {
			d.bad[e.Name] = "expected an array of records"
			return
		}
		r = maps.Clone(r)
		path := append(slices.Clone(at), i)
		if in != nil {
			if own := r[in.field]; own != nil && !in.names(own) {
				n := len(d.records[e.Name])
				d.misfits = append(d.misfits, Misfit{Collection: e.Name, Index: n, Record: r, Path: path, Violations: schema.Violations{in.field: "value must be null"}})
			}
			r[in.field] = in.parent // the record itself: its id is not known yet
		}
		delete(r, "_comment")
		delete(r, "_ignore")
		d.nested(e, r, path)
		if d.legacy && e.Name == "routes" {
			markExpressions(r)
		}
		d.records[e.Name] = append(d.records[e.Name], r)
		d.paths[e.Name] = append(d.paths[e.Name], path)
	}
}

// names reports whether a child's own reference is to the parent that it is nested in: of any
// other, nobody could say which of the two counts.
func (n *nesting) names(own any) bool {
	ref, ok := own.(schema.Record)
	if !ok {
		ref = schema.Record{"id": own, n.of.EndpointKey: own}
	}
	same := func(field string) bool {
		return field != "" && str(ref[field]) != "" && str(ref[field]) == str(n.parent[field])
	}
	return same("id") || same(n.of.EndpointKey)
}

// nested takes the children out of a record.
func (d *declaring) nested(e *schema.Entity, r schema.Record, at []any) {
	for _, child := range d.g.public {
		v, given := r[child.Name]
		children, isList := v.([]any)
		if !given || !isList || e.Record.Field(child.Name) != nil {
			continue
		}
		if e.Labels != nil && e.Labels.Field.Name == child.Name && !slices.ContainsFunc(children, isRecord) {
			continue // names alone
		}
		for _, f := range child.Record.Fields {
			if f.Kind == schema.Foreign && f.Reference == e.Name {
				delete(r, child.Name)
				d.list(child, v, append(slices.Clone(at), child.Name), &nesting{e, r, f.Name})
				break
			}
		}
	}
}

func isRecord(v any) bool { _, ok := v.(schema.Record); return ok }

// markExpressions puts the "~" before paths that were regular expressions by their look
// in formats before 3.0.
func markExpressions(r schema.Record) {
	paths := slices.Clone(asList(r["paths"]))
	for i, p := range paths {
		if s, ok := p.(string); ok && !strings.HasPrefix(s, "~") && !plainPath.MatchString(s) {
			paths[i] = "~" + s
		}
	}
	if paths != nil {
		r["paths"] = paths
	}
}

func asList(v any) []any { list, _ := v.([]any); return list }

// identify gives every record an id, parents first: a child's may follow from its
// parent's.
func (d *declaring) identify() {
	for _, e := range d.g.byDependency() {
		seen := map[string]int{}
		for _, r := range d.records[e.Name] {
			if r["id"] != nil {
				continue
			}
			key := naturalKey(e, r)
			seen[key]++
			if n := seen[key]; n > 1 && str(r[e.EndpointKey]) == "" { // the same twice without a name is two records
				key += strings.Repeat("#", n-1)
			}
			id := uuid.NewSHA1(declared, []byte(key)).String()
			r["id"], d.derived[id] = id, true
		}
	}
}

// naturalKey is what a record is known by: its name, or what else is unique of it.
func naturalKey(e *schema.Entity, r schema.Record) string {
	if name := str(r[e.EndpointKey]); e.EndpointKey != "" && name != "" {
		return e.Name + ":" + name
	}
	part := schema.Record{}
	fields := e.UniqueTogether
	if len(fields) == 0 {
		fields = slices.Sorted(maps.Keys(r))
	}
	for _, name := range fields {
		v := r[name]
		if parent, ok := v.(schema.Record); ok && e.Record.Field(name) != nil && e.Record.Field(name).Kind == schema.Foreign {
			v = cmp.Or(str(parent["id"]), str(parent["name"]), str(parent["username"]))
		}
		part[name] = v
	}
	raw, _ := json.Marshal(part) // decoded from JSON or YAML, it encodes
	return e.Name + ":" + string(raw)
}

// resolve turns references into ids: a parent's record, {"id": …}, {"name": …}, or text.
func (d *declaring) resolve() {
	names := map[string]map[string]any{} // collection → name → id
	for _, e := range d.g.public {
		if e.EndpointKey == "" {
			continue
		}
		names[e.Name] = map[string]any{}
		for _, r := range d.records[e.Name] {
			if name := str(r[e.EndpointKey]); name != "" {
				names[e.Name][name] = r["id"]
			}
		}
	}
	for _, e := range d.g.public {
		for _, r := range d.records[e.Name] {
			for _, f := range e.Record.Fields {
				if f.Kind != schema.Foreign || r[f.Name] == nil {
					continue
				}
				to := d.g.entities[f.Reference]
				if to == nil {
					continue
				}
				name := str(r[f.Name])
				if ref, ok := r[f.Name].(schema.Record); ok {
					if ref["id"] != nil {
						r[f.Name] = schema.Record{"id": ref["id"]}
						continue
					}
					name = str(ref[to.EndpointKey])
				}
				switch id, known := names[to.Name][name]; {
				case known:
					r[f.Name] = schema.Record{"id": id}
				case schema.IsUUID(name):
					r[f.Name] = schema.Record{"id": name}
				case to.EndpointKey != "" && name != "":
					r[f.Name] = schema.Record{to.EndpointKey: name} // stored already, perhaps
				}
			}
		}
	}
}

// byDependency returns the entities so that each comes after those it refers to.
func (g *Gateway) byDependency() []*schema.Entity {
	var out []*schema.Entity
	done := map[*schema.Entity]bool{}
	var visit func(e *schema.Entity)
	visit = func(e *schema.Entity) {
		if done[e] {
			return
		}
		done[e] = true
		for _, f := range e.Record.Fields {
			reference := f.Reference
			if reference == "" && f.Elements != nil {
				reference = f.Elements.Reference
			}
			if to := g.entities[reference]; to != nil {
				visit(to)
			}
		}
		out = append(out, e)
	}
	plugins := g.entities["plugins"]
	for _, e := range g.public {
		if e != plugins {
			visit(e)
		}
	}
	visit(plugins) // last: a configuration may name records of any collection
	return out
}

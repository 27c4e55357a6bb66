package gateway

import (
	"crypto/sha256"
	"encoding/json"
	"strings"

	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

type collection = *store.Collection[schema.Record]

const (
	// prefix keeps the gateway's collections apart from those of other services.
	prefix       = "gateway."
	uniqueRule   = "=" // and the field's name
	togetherRule = "@together"
	tagRule      = "@tag"
	configRule   = "@config." // and the collection that plugins' configurations refer to
	// expiresField holds the moment a record with a ttl ends, in seconds since 1970. It is
	// stored and never shown.
	expiresField = "@expires"
)

// register declares the entity's collection with the rules its fields imply.
func register(s *store.Store, e *schema.Entity, rules ...store.Rule[schema.Record]) collection {
	for _, f := range e.Record.Fields {
		name := f.Name
		switch {
		case f.Unique:
			rules = append(rules, store.Unique(uniqueRule+name, func(r *schema.Record) []string {
				if v, ok := (*r)[name].(string); ok {
					return []string{uniqueValue(f, v)}
				}
				return nil
			}))
		case f.Kind == schema.Foreign && f.Unserved == "":
			on := store.Restrict
			if f.Cascade {
				on = store.Cascade
			}
			rules = append(rules, store.Refers(name, prefix+f.Reference, func(r *schema.Record) []string {
				if id := refID((*r)[name]); id != "" {
					return []string{id}
				}
				return nil
			}, on))
		case f.Kind == schema.Array && f.Elements.Reference != "":
			rules = append(rules, store.Refers(name, prefix+f.Elements.Reference,
				func(r *schema.Record) []string { return list((*r)[name]) }, store.Restrict))
		case name == "tags":
			rules = append(rules, store.Index(tagRule, func(r *schema.Record) []string { return list((*r)["tags"]) }))
		}
	}
	if len(e.UniqueTogether) > 0 {
		rules = append(rules, store.Unique(togetherRule, func(r *schema.Record) []string {
			return []string{togetherValue(e, *r)}
		}))
	}
	return store.Register(s, prefix+e.Name, rules...)
}

// configRefers makes references of the ids in plugins' configurations that are described
// as ids of a collection. They do not keep it from being deleted: decK 1.4 deletes
// authorities before the plugins that name them, and a plugin fails closed without them.
func (g *Gateway) configRefers(collection string) store.Rule[schema.Record] {
	return store.Refers(configRule+collection, prefix+collection, func(r *schema.Record) (ids []string) {
		k := g.kinds[str((*r)["name"])]
		config, ok := (*r)["config"].(schema.Record)
		if k == nil || !ok {
			return nil
		}
		for _, f := range k.Config.Fields {
			if f.Kind == schema.Array && f.Elements != nil && f.Elements.Reference == collection {
				ids = append(ids, list(config[f.Name])...)
			}
		}
		return ids
	}, store.Dangle)
}

// uniqueValue is what a unique field is indexed by. A secret is indexed by its digest, so
// that the time a search takes tells nothing about how much of a guess was right.
func uniqueValue(f *schema.Field, v string) string {
	if !f.Secret {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return string(sum[:])
}

// lookup finds a record by the value of a unique field.
func (g *Gateway) lookup(r store.Reader, e *schema.Entity, field, value string) (string, *schema.Record, bool) {
	f := e.Record.Field(field)
	if f == nil || !f.Unique {
		return "", nil, false
	}
	return g.collections[e.Name].Lookup(r, uniqueRule+field, uniqueValue(f, value))
}

// together picks the fields that must be unique in combination.
func together(e *schema.Entity, r schema.Record) schema.Record {
	out := schema.Record{}
	for _, name := range e.UniqueTogether {
		out[name] = r[name]
	}
	return out
}

// togetherValue is what they are indexed by.
func togetherValue(e *schema.Entity, r schema.Record) string {
	key, _ := json.Marshal(together(e, r))
	return string(key)
}

// collection returns the collection of an entity by its name.
func (g *Gateway) collection(name string) collection { return g.collections[name] }

// find returns the record under an id, or under the endpoint key where key is no UUID.
func (g *Gateway) find(r store.Reader, e *schema.Entity, key string) (id string, rec schema.Record, ok bool) {
	c := g.collections[e.Name]
	var doc *schema.Record
	switch {
	case schema.IsUUID(key):
		id = strings.ToLower(key)
		doc, ok = c.Get(r, id)
	case e.EndpointKey != "":
		id, doc, ok = g.lookup(r, e, e.EndpointKey, key)
	case e.Labels != nil:
		if id, ok = g.labelled(r, e, key); ok {
			doc, ok = c.Get(r, id)
		}
	}
	if !ok || g.expired(*doc) {
		return "", nil, false
	}
	return id, *doc, true
}

func (g *Gateway) expired(r schema.Record) bool {
	at, ok := r[expiresField].(float64)
	return ok && g.now() >= at
}

// now is the time in seconds since 1970, with milliseconds: a ttl ends when all of it is over.
func (g *Gateway) now() float64 { return float64(g.deps.Clock.Now().UnixMilli()) / 1000 }

// explain turns a store's violation into the error Kong gives for it.
func (g *Gateway) explain(e *schema.Entity, rec schema.Record, v *store.Violation) *Error {
	switch v.Reason() {
	case store.Duplicate:
		if v.Rule == "key" {
			id := schema.Record{"id": v.Key}
			return &Error{reason: NotUnique, Message: "primary key violation on key '" + lua(id) + "'", Fields: id}
		}
		field := strings.TrimPrefix(v.Rule, uniqueRule)
		fields := schema.Record{field: rec[field]}
		if v.Rule == togetherRule {
			fields = together(e, rec)
		}
		return &Error{reason: NotUnique, Message: "UNIQUE violation detected on '" + lua(fields) + "'", Fields: fields}
	case store.Dangling:
		to, field := "", v.Rule
		if f := e.Record.Field(v.Rule); f == nil {
			to, field = strings.TrimPrefix(v.Rule, configRule), "config"
		} else if to = f.Reference; f.Kind == schema.Array {
			to = f.Elements.Reference
		}
		ref := schema.Record{"id": v.Value}
		msg := "the foreign key '" + lua(ref) + "' does not reference an existing '" + to + "' entity."
		return &Error{reason: UnknownReference, Message: msg, Fields: schema.Record{field: ref}}
	}
	by := strings.TrimPrefix(v.By, prefix)
	of := strings.TrimPrefix(v.Collection, prefix)
	if of == "ca_certificates" {
		return &Error{reason: ReferencedByOthers, Message: "ca certificate " + v.Key + " is still referenced by " + by}
	}
	return &Error{reason: StillReferenced,
		Message: "an existing '" + by + "' entity references this '" + of + "' entity",
		Fields:  schema.Record{"@referenced_by": by}}
}

package store

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"

	"github.com/tidwall/btree"
)

// OnDelete says what deleting a referenced document does.
type OnDelete uint8

// The ways a reference answers the deletion of what it refers to.
const (
	Restrict OnDelete = iota // refuse the deletion
	Cascade                  // delete the referring document too
	Dangle                   // leave it; it must refer to something again when it is next written
)

type ruleKind uint8

const (
	uniqueRule ruleKind = iota
	indexRule
	refersRule
)

// Rule is a constraint or an index of a collection.
type Rule[T any] struct {
	kind ruleKind
	name string
	to   string
	on   OnDelete
	of   func(*T) []string
}

// Unique states that the values of each document belong to it alone within the collection.
// A document with no value is not constrained.
func Unique[T any](name string, of func(*T) []string) Rule[T] {
	return Rule[T]{kind: uniqueRule, name: name, of: of}
}

// Index makes documents findable by a value that several may share.
func Index[T any](name string, of func(*T) []string) Rule[T] {
	return Rule[T]{kind: indexRule, name: name, of: of}
}

// Refers states that the values are keys of documents in collection to, which must exist.
// It is an index as well.
func Refers[T any](name, to string, of func(*T) []string, on OnDelete) Rule[T] {
	return Rule[T]{kind: refersRule, name: name, to: to, of: of, on: on}
}

// definition is a collection without its type.
type definition struct {
	name   string
	decode func(json.RawMessage) (any, error) // nil until registered
	rules  []ruleDef
	// referrers are the rules of other collections that point here.
	referrers []referrer
}

type ruleDef struct {
	kind ruleKind
	name string
	to   string
	on   OnDelete
	of   func(any) []string
}

type referrer struct {
	collection string
	rule       int
	on         OnDelete
}

// Collection is a typed handle. It holds no data: pass it a Snapshot or a Tx.
type Collection[T any] struct {
	s     *Store
	name  string
	rules map[string]int
}

// Register declares a collection. Call it while the program is assembled, before traffic;
// declaring a name twice is a defect and panics, as is a stored document that does not
// decode into T, which means that another program wrote it.
func Register[T any](s *Store, name string, rules ...Rule[T]) *Collection[T] {
	c := &Collection[T]{s: s, name: name, rules: map[string]int{}}
	def := &definition{name: name, decode: func(raw json.RawMessage) (any, error) {
		doc := new(T)
		if err := json.Unmarshal(raw, doc); err != nil {
			return nil, err
		}
		return doc, nil
	}}
	for i, r := range rules {
		if _, dup := c.rules[r.name]; dup {
			panic(fmt.Sprintf("store: collection %s has two rules named %s", name, r.name))
		}
		c.rules[r.name] = i
		def.rules = append(def.rules, ruleDef{kind: r.kind, name: r.name, to: r.to, on: r.on,
			of: func(doc any) []string { return r.of(doc.(*T)) }})
	}
	if err := s.define(def); err != nil {
		panic(err)
	}
	return c
}

// Get returns the document under key.
func (c *Collection[T]) Get(r Reader, key string) (*T, bool) {
	doc, ok := r.state(c.name).docs.Get(key)
	if !ok {
		return nil, false
	}
	return doc.(*T), true
}

// Has reports whether there is a document under key.
func (c *Collection[T]) Has(r Reader, key string) bool {
	_, ok := r.state(c.name).docs.Get(key)
	return ok
}

// Len is the number of documents.
func (c *Collection[T]) Len(r Reader) int { return r.state(c.name).docs.Len() }

// Lookup returns the one document that has value under a Unique rule.
func (c *Collection[T]) Lookup(r Reader, rule, value string) (key string, doc *T, ok bool) {
	st := r.state(c.name)
	key, ok = st.indexes[c.rule(rule)].Get(value)
	if !ok {
		return "", nil, false
	}
	d, _ := st.docs.Get(key)
	return key, d.(*T), true
}

// Find yields the documents that have value under an Index or Refers rule, in key order.
func (c *Collection[T]) Find(r Reader, rule, value string) iter.Seq2[string, *T] {
	i := c.rule(rule)
	return func(yield func(string, *T) bool) {
		st := r.state(c.name)
		prefix := value + "\x00"
		st.indexes[i].Ascend(prefix, func(entry, key string) bool {
			if !strings.HasPrefix(entry, prefix) {
				return false
			}
			d, _ := st.docs.Get(key)
			return yield(key, d.(*T))
		})
	}
}

// All yields the documents whose key is greater than after, in key order.
func (c *Collection[T]) All(r Reader, after string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		r.state(c.name).docs.Ascend(after, func(key string, doc any) bool {
			if key == after && after != "" {
				return true
			}
			return yield(key, doc.(*T))
		})
	}
}

// Prefix yields the documents whose key begins with prefix, in key order.
func (c *Collection[T]) Prefix(r Reader, prefix string) iter.Seq2[string, *T] {
	return func(yield func(string, *T) bool) {
		r.state(c.name).docs.Ascend(prefix, func(key string, doc any) bool {
			return strings.HasPrefix(key, prefix) && yield(key, doc.(*T))
		})
	}
}

// Insert adds a document; a *Violation with Reason Duplicate if the key is taken.
func (c *Collection[T]) Insert(tx *Tx, key string, doc *T) error {
	if c.Has(tx, key) {
		return &Violation{reason: Duplicate, Collection: c.name, Key: key, Rule: "key", Value: key}
	}
	return c.Put(tx, key, doc)
}

// Put adds or replaces a document. The store keeps doc: do not modify it afterwards.
func (c *Collection[T]) Put(tx *Tx, key string, doc *T) error {
	raw, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("store: encoding a document of %s: %w", c.name, err)
	}
	return tx.put(c.name, key, doc, raw)
}

// Delete removes a document and, along Cascade rules, those that refer to it.
func (c *Collection[T]) Delete(tx *Tx, key string) (bool, error) {
	return tx.delete(c.name, key)
}

func (c *Collection[T]) rule(name string) int {
	i, ok := c.rules[name]
	if !ok {
		panic(fmt.Sprintf("store: collection %s has no rule %s", c.name, name))
	}
	return i
}

// state is one collection's documents and indexes at one moment. Its trees are
// copy-on-write: a clone costs nothing and shares all it does not change.
type state struct {
	def     *definition
	docs    *btree.Map[string, any]
	indexes []*btree.Map[string, string] // by rule: value → key (unique), value\0key → key (others)
}

func newState(def *definition) *state {
	st := &state{def: def, docs: new(btree.Map[string, any])}
	for range def.rules {
		st.indexes = append(st.indexes, new(btree.Map[string, string]))
	}
	return st
}

func (st *state) clone() *state {
	c := &state{def: st.def, docs: st.docs.Copy(), indexes: make([]*btree.Map[string, string], len(st.indexes))}
	for i, x := range st.indexes {
		c.indexes[i] = x.Copy()
	}
	return c
}

// load applies a record that was already checked by the node that committed it.
func (st *state) load(r record) error {
	if r.Deleted {
		st.remove(r.Key)
		return nil
	}
	var doc any = r.Doc
	if st.def.decode != nil {
		var err error
		if doc, err = st.def.decode(r.Doc); err != nil {
			return Damaged.Wrap(err, "document %q of collection %q does not decode", r.Key, st.def.name)
		}
	}
	st.set(r.Key, doc)
	return nil
}

func (st *state) set(key string, doc any) {
	st.remove(key)
	st.docs.Set(key, doc)
	for i, r := range st.def.rules {
		for _, v := range r.of(doc) {
			st.indexes[i].Set(r.entry(v, key), key)
		}
	}
}

func (st *state) remove(key string) {
	old, ok := st.docs.Delete(key)
	if !ok {
		return
	}
	for i, r := range st.def.rules {
		for _, v := range r.of(old) {
			st.indexes[i].Delete(r.entry(v, key))
		}
	}
}

func (r ruleDef) entry(value, key string) string {
	if r.kind == uniqueRule {
		return value
	}
	return value + "\x00" + key
}

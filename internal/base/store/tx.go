package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/base/fault"
)

// Reasons of violations.
var (
	Duplicate  = &fault.Reason{Kind: fault.Exists, Name: "Duplicate"}
	Dangling   = &fault.Reason{Kind: fault.Invalid, Name: "DanglingReference"}
	Referenced = &fault.Reason{Kind: fault.Conflict, Name: "StillReferenced"}
)

// Violation is a write that a rule refuses. The transaction's function should return it
// (or an error of its own made from it); nothing of the transaction is kept then.
type Violation struct {
	reason     *fault.Reason
	Collection string // of the document written or deleted
	Key        string
	Rule       string // the rule's name, or "key"
	Value      string // the value that is taken or refers to nothing
	By         string // Referenced: the collection that refers
}

// Reason is Duplicate, Dangling or Referenced.
func (v *Violation) Reason() *fault.Reason { return v.reason }

// Error tells which rule was violated.
func (v *Violation) Error() string {
	switch v.reason {
	case Duplicate:
		return fmt.Sprintf("%s: %s %q is taken", v.Collection, v.Rule, v.Value)
	case Dangling:
		return fmt.Sprintf("%s: %s %q does not exist", v.Collection, v.Rule, v.Value)
	default:
		return fmt.Sprintf("%s %q is still referred to by %s", v.Collection, v.Key, v.By)
	}
}

// Unwrap lets fault.KindOf classify the violation.
func (v *Violation) Unwrap() error { return v.reason.New("%s", v.Error()) }

// Reader is where documents are read from: a Snapshot or a Tx.
type Reader interface {
	state(collection string) *state
	// Revision is the newest transaction the reader shows.
	Revision() int64
}

// Snapshot is the whole store at one revision. It is safe for any number of readers.
type Snapshot struct {
	revision    int64
	collections map[string]*state
}

// Revision is the revision of the snapshot.
func (s *Snapshot) Revision() int64 { return s.revision }

func (s *Snapshot) state(collection string) *state {
	st := s.collections[collection]
	if st == nil {
		panic("store: collection " + collection + " is not registered")
	}
	return st
}

// Tx is a transaction in progress. It sees its own writes.
type Tx struct {
	ctx      context.Context //nolint:containedctx // lives as long as the transaction
	sql      *lockedTx
	dia      *dialect
	revision int64
	base     map[string]*state
	own      map[string]*state
	writes   []write
	noRoom   bool // it is written below the disk's reserve too
}

type write struct {
	collection string
	key        string
	raw        json.RawMessage // nil: deleted
}

// NeedsNoRoom has the transaction written below the disk's reserve too: what keeps a node
// going is, as the work that makes room depends on it.
func (tx *Tx) NeedsNoRoom() { tx.noRoom = true }

// Revision is the revision the transaction will have.
func (tx *Tx) Revision() int64 { return tx.revision }

// Now is when the transaction began, by the database's clock.
func (tx *Tx) Now() time.Time { return time.UnixMilli(tx.sql.now) }

func (tx *Tx) state(collection string) *state {
	if st := tx.own[collection]; st != nil {
		return st
	}
	st := tx.base[collection]
	if st == nil {
		panic("store: collection " + collection + " is not registered")
	}
	return st
}

func (tx *Tx) mutable(collection string) *state {
	st := tx.own[collection]
	if st == nil {
		st = tx.state(collection).clone()
		tx.own[collection] = st
	}
	return st
}

func (tx *Tx) put(collection, key string, doc any, raw json.RawMessage) error {
	st := tx.mutable(collection)
	for i, r := range st.def.rules {
		for _, v := range r.of(doc) {
			switch r.kind {
			case uniqueRule:
				if holder, taken := st.indexes[i].Get(v); taken && holder != key {
					return &Violation{reason: Duplicate, Collection: collection, Key: key, Rule: r.name, Value: v}
				}
			case refersRule:
				if _, ok := tx.state(r.to).docs.Get(v); !ok && (r.to != collection || v != key) {
					return &Violation{reason: Dangling, Collection: collection, Key: key, Rule: r.name, Value: v}
				}
			}
		}
	}
	st.set(key, doc)
	tx.writes = append(tx.writes, write{collection, key, raw})
	return nil
}

func (tx *Tx) delete(collection, key string) (bool, error) {
	if _, ok := tx.state(collection).docs.Get(key); !ok {
		return false, nil
	}
	// Remove it first, so that documents that refer to each other cascade to an end.
	st := tx.mutable(collection)
	st.remove(key)
	tx.writes = append(tx.writes, write{collection: collection, key: key})
	for _, ref := range st.def.referrers {
		if ref.on == Dangle {
			continue
		}
		for _, from := range tx.referring(ref, key) {
			if ref.on == Restrict {
				rule := tx.state(ref.collection).def.rules[ref.rule]
				return false, &Violation{reason: Referenced, Collection: collection, Key: key, Rule: rule.name, By: ref.collection}
			}
			if _, err := tx.delete(ref.collection, from); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// referring returns the keys that point at key along one rule.
func (tx *Tx) referring(ref referrer, key string) []string {
	var keys []string
	prefix := key + "\x00"
	tx.state(ref.collection).indexes[ref.rule].Ascend(prefix, func(entry, from string) bool {
		if len(entry) < len(prefix) || entry[:len(prefix)] != prefix {
			return false
		}
		keys = append(keys, from)
		return true
	})
	return keys
}

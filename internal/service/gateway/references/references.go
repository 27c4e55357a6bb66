// Package references is the embedded implementation of the gateway's reference data: JSON
// documents in the node's index. gateway.CacheReferences belongs in front of it.
package references

import (
	"bytes"
	"context"
	"iter"

	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/service/gateway"
)

// Index keeps references in a kv.DB.
type Index struct{ db *kv.DB }

var _ gateway.References = Index{}

// New returns the references of an index.
func New(db *kv.DB) Index { return Index{db} }

// prefix is that of a collection's keys. Names have no slash.
func prefix(collection string) []byte { return []byte("r/" + collection + "/") }

// Get returns a document.
func (x Index) Get(_ context.Context, collection, key string) (doc []byte, ok bool, err error) {
	return x.db.Get(append(prefix(collection), key...))
}

// Put adds or replaces a document; it is durable on return.
func (x Index) Put(_ context.Context, collection, key string, doc []byte) error {
	return x.db.Set(append(prefix(collection), key...), doc)
}

// Delete removes a document and reports whether it was there.
func (x Index) Delete(ctx context.Context, collection, key string) (existed bool, err error) {
	if _, existed, err = x.Get(ctx, collection, key); err != nil || !existed {
		return false, err
	}
	return true, x.db.Delete(append(prefix(collection), key...))
}

// List returns up to limit documents whose key is greater than after.
func (x Index) List(ctx context.Context, collection, after string, limit int) ([]gateway.ReferenceEntry, error) {
	p := prefix(collection)
	r := kv.Prefix(p)
	if after != "" {
		r.Low = append(append(bytes.Clone(p), after...), 0)
	}
	var out []gateway.ReferenceEntry
	if limit <= 0 {
		return nil, nil
	}
	for e, err := range x.db.Scan(ctx, r) {
		if err != nil {
			return nil, err
		}
		out = append(out, gateway.ReferenceEntry{Key: string(e.Key[len(p):]), Doc: e.Value})
		if len(out) == limit {
			break
		}
	}
	return out, nil
}

// Entry is a document of any collection.
type Entry struct {
	Collection string `json:"collection"`
	Key        string `json:"key"`
	Doc        []byte `json:"doc"`
}

// All walks the documents of all collections, in order.
func (x Index) All(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range x.db.Scan(ctx, kv.Prefix([]byte("r/"))) {
			collection, key, _ := bytes.Cut(e.Key[min(len("r/"), len(e.Key)):], []byte("/"))
			if !yield(Entry{string(collection), string(key), e.Value}, err) || err != nil {
				return
			}
		}
	}
}

// loadBatch is how many documents Load makes durable at a time.
const loadBatch = 1000

// Load adds or replaces documents; those before an error stay.
func (x Index) Load(entries iter.Seq2[Entry, error]) error {
	b, n := x.db.NewBatch(), 0
	for e, err := range entries {
		if err != nil {
			b.Discard()
			return err
		}
		b.Set(append(prefix(e.Collection), e.Key...), e.Doc)
		if n++; n%loadBatch == 0 {
			if err := b.Commit(); err != nil {
				return err
			}
			b = x.db.NewBatch()
		}
	}
	return b.Commit()
}

package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

// References holds reference data: JSON documents under a key, in collections, that
// events are checked against, such as the programmes of an advertiser. Implementations
// are safe for any number of callers.
type References interface {
	Get(ctx context.Context, collection, key string) (doc []byte, ok bool, err error)
	Put(ctx context.Context, collection, key string, doc []byte) error
	// Delete reports whether there was a document.
	Delete(ctx context.Context, collection, key string) (existed bool, err error)
	// List returns up to limit entries whose key is greater than after, in order of key.
	List(ctx context.Context, collection, after string, limit int) ([]ReferenceEntry, error)
}

// ReferenceEntry is one document in a listing.
type ReferenceEntry struct {
	Key string          `json:"key"`
	Doc json.RawMessage `json:"value"`
}

// Reference is a document with what decides whether it counts: the members "enabled"
// (default true), "valid_from" and "valid_to" (RFC 3339 text, or seconds since 1970; no
// bound where they are absent). A document counts from valid_from on and before valid_to.
type Reference struct {
	Doc                []byte
	Enabled            bool
	ValidFrom, ValidTo time.Time // zero: no bound
}

// Valid reports whether the document counts at a moment.
func (r *Reference) Valid(at time.Time) bool {
	return r.Enabled && !at.Before(r.ValidFrom) && (r.ValidTo.IsZero() || at.Before(r.ValidTo))
}

// ParseReference reads a document; the error names the member at fault.
func ParseReference(doc []byte) (*Reference, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(doc, &members); err != nil || members == nil {
		return nil, InvalidReference.New("a reference document must be a JSON object")
	}
	r := &Reference{Doc: doc, Enabled: true}
	if raw, ok := members["enabled"]; ok {
		if err := json.Unmarshal(raw, &r.Enabled); err != nil || string(raw) == "null" {
			return nil, InvalidReference.Field("enabled", "enabled must be true or false")
		}
	}
	for name, to := range map[string]*time.Time{"valid_from": &r.ValidFrom, "valid_to": &r.ValidTo} {
		raw, ok := members[name]
		if !ok || string(raw) == "null" {
			continue
		}
		t, ok := parseMoment(raw)
		if !ok {
			return nil, InvalidReference.Field(name, "%s must be an RFC 3339 time or seconds since 1970", name)
		}
		*to = t
	}
	return r, nil
}

func parseMoment(raw json.RawMessage) (time.Time, bool) {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		t, err := time.Parse(time.RFC3339Nano, s)
		return t, err == nil
	}
	var n float64
	if json.Unmarshal(raw, &n) != nil || n < 0 || n > 1e12 {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(n * 1000)), true
}

// maxReferenceName bounds collections and keys, in bytes.
const maxReferenceName = 256

// CheckReferenceName reports what is wrong with a collection's name or a key.
func CheckReferenceName(what, s string) error {
	if s == "" || len(s) > maxReferenceName || strings.ContainsAny(s, "\x00/") {
		return InvalidReference.Field(what, "the %s must have 1 to %d bytes, and no slash or NUL", what, maxReferenceName)
	}
	return nil
}

// Bounds of the cache: those of the reference architecture for ad tracking.
const (
	cacheEntries = 100_000
	cacheTTL     = 10 * time.Minute
)

// ReferenceCache keeps the references in use in memory, least recently used out first,
// for ten minutes, absent ones too. A change made through it shows at once; one that
// another node made shows when Invalidate is called, which that node's cache asks of all
// others, and at the latest after the ten minutes.
type ReferenceCache struct {
	next       References
	cache      *otter.Cache[referenceKey, *Reference] // nil: known to be absent
	changed    func(collection, key string)
	hits, miss atomic.Int64
}

type referenceKey struct{ collection, key string }

// CacheReferences puts a cache before next. changed, which may be nil, is called after
// every Put and Delete, for other nodes to be told.
func CacheReferences(next References, changed func(collection, key string)) *ReferenceCache {
	return &ReferenceCache{next: next, changed: changed, cache: otter.Must(&otter.Options[referenceKey, *Reference]{
		MaximumSize:      cacheEntries,
		ExpiryCalculator: otter.ExpiryWriting[referenceKey, *Reference](cacheTTL),
	})}
}

// Lookup returns a reference. The key may lie in an exchange's memory.
func (c *ReferenceCache) Lookup(ctx context.Context, collection, key string) (*Reference, bool, error) {
	if r, ok := c.cache.GetIfPresent(referenceKey{collection, key}); ok {
		c.hits.Add(1)
		return r, r != nil, nil
	}
	c.miss.Add(1)
	k := referenceKey{strings.Clone(collection), strings.Clone(key)}
	r, err := c.cache.Get(ctx, k, otter.LoaderFunc[referenceKey, *Reference](func(ctx context.Context, k referenceKey) (*Reference, error) {
		doc, ok, err := c.next.Get(ctx, k.collection, k.key)
		if err != nil || !ok {
			return nil, err
		}
		return ParseReference(bytes.Clone(doc))
	}))
	return r, r != nil, err
}

// Get implements References.
func (c *ReferenceCache) Get(ctx context.Context, collection, key string) ([]byte, bool, error) {
	r, ok, err := c.Lookup(ctx, collection, key)
	if !ok || err != nil {
		return nil, false, err
	}
	return r.Doc, true, nil
}

// Put implements References. A document that ParseReference refuses is not stored.
func (c *ReferenceCache) Put(ctx context.Context, collection, key string, doc []byte) error {
	if err := CheckReferenceName("collection", collection); err != nil {
		return err
	}
	if err := CheckReferenceName("key", key); err != nil {
		return err
	}
	if _, err := ParseReference(doc); err != nil {
		return err
	}
	err := c.next.Put(ctx, collection, key, doc)
	c.forget(collection, key)
	return err
}

// Delete implements References.
func (c *ReferenceCache) Delete(ctx context.Context, collection, key string) (bool, error) {
	existed, err := c.next.Delete(ctx, collection, key)
	c.forget(collection, key)
	return existed, err
}

// List implements References. It does not go through the cache.
func (c *ReferenceCache) List(ctx context.Context, collection, after string, limit int) ([]ReferenceEntry, error) {
	return c.next.List(ctx, collection, after, limit)
}

func (c *ReferenceCache) forget(collection, key string) {
	c.Invalidate(collection, key)
	if c.changed != nil {
		c.changed(collection, key)
	}
}

// Invalidate forgets one entry; the next Lookup reads it anew.
func (c *ReferenceCache) Invalidate(collection, key string) {
	c.cache.Invalidate(referenceKey{collection, key})
}

// CacheStats are a cache's counters.
type CacheStats struct{ Hits, Misses, Size int64 }

// Stats returns the counters since the start.
func (c *ReferenceCache) Stats() CacheStats {
	return CacheStats{c.hits.Load(), c.miss.Load(), int64(c.cache.EstimatedSize())}
}

// Close stops the cache's goroutines.
func (c *ReferenceCache) Close() { c.cache.StopAllGoroutines() }

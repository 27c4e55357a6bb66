package objects

import (
	"context"
	"io"
	"iter"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/store"
)

// Area is a bucket of a service of the platform. Who holds it may use it: no identity is
// asked, and no front can reach it. Its objects are sealed under the platform's key.
type Area struct {
	s    *Service
	name string
	doc  *bucketDoc
}

// Area opens an area, and makes it the first time.
func (s *Service) Area(ctx context.Context, service string) (*Area, error) {
	bucket := "~" + service // not a bucket's name
	var d *bucketDoc
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		var ok bool
		if d, ok = s.records.buckets.Get(tx, bucket); ok {
			return nil
		}
		d = &bucketDoc{ID: uuid.NewString(), Internal: true, Created: s.deps.Clock.Now().UTC()}
		return s.records.buckets.Insert(tx, bucket, d)
	})
	return &Area{s, service, d}, err
}

// List yields the objects under a prefix in key order.
func (a *Area) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { a.s.all(ctx, a.doc, prefix, yield) }
}

// Open reads an object.
func (a *Area) Open(ctx context.Context, key string) (*Opened, error) {
	o, err := a.s.getObject(a.doc.ID, key)
	if err != nil {
		return nil, err
	}
	if o == nil {
		return nil, NoObject.Field("Key", "%s/%s does not exist", a.name, key)
	}
	return a.s.open(ctx, a.doc, o, a.name, key, Range{})
}

// Create puts an object under a new key; ObjectExists if the key is taken.
func (a *Area) Create(ctx context.Context, key string, body io.Reader) error {
	_, err := a.s.put(ctx, a.doc, key, body, PutOptions{Condition: Condition{Absent: true}})
	if PreconditionFailed.Is(err) {
		return ObjectExists.New("%s/%s exists already", a.name, key)
	}
	return err
}

// Delete removes an object; that it was not there is no error.
func (a *Area) Delete(_ context.Context, key string) error {
	return a.s.remove(a.doc, key, DeleteCondition{})
}

package warehousetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse"
)

// Faults as the object service has them.
var (
	NoSuchKey    = &fault.Reason{Kind: fault.NotFound, Name: "NoSuchKey"}
	KeyExists    = &fault.Reason{Kind: fault.Exists, Name: "KeyExists"}
	AccessDenied = &fault.Reason{Kind: fault.Denied, Name: "AccessDenied"}
)

// Memory is a set of objects by key. It serves as the warehouse's area.
type Memory struct {
	mu       sync.Mutex
	objects  map[string]object
	Opened   []string                          // keys, in the order of their opening
	OnCreate func(key string) error            // called before an object is made
	OnOpen   func(key string) error            // called before an object is opened
	Wrap     func(io.ReadCloser) io.ReadCloser // put around each opened object
}

type object struct {
	body     []byte
	modified time.Time
}

// NewMemory returns an empty set.
func NewMemory() *Memory { return &Memory{objects: map[string]object{}} }

// Put stores an object.
func (m *Memory) Put(key string, body []byte) { m.PutAt(key, body, time.Now()) }

// PutAt stores an object with its time.
func (m *Memory) PutAt(key string, body []byte, modified time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[key] = object{body, modified}
}

// Keys returns all keys below a prefix, sorted.
func (m *Memory) Keys(prefix string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []string
	for k := range m.objects {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	slices.Sort(out)
	return out
}

// Body returns an object's bytes, nil where there is none.
func (m *Memory) Body(key string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.objects[key].body
}

// List yields the objects below a prefix in the order of their keys.
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[warehouse.ObjectInfo, error] {
	return func(yield func(warehouse.ObjectInfo, error) bool) {
		for _, k := range m.Keys(prefix) {
			m.mu.Lock()
			o := m.objects[k]
			m.mu.Unlock()
			if !yield(warehouse.ObjectInfo{Key: k, Size: int64(len(o.body)), ETag: etag(o.body), Modified: o.modified}, nil) {
				return
			}
		}
	}
}

// Open returns an object's bytes.
func (m *Memory) Open(ctx context.Context, key string) (io.ReadCloser, warehouse.ObjectInfo, error) {
	if m.OnOpen != nil {
		if err := m.OnOpen(key); err != nil {
			return nil, warehouse.ObjectInfo{}, err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[key]
	if !ok {
		return nil, warehouse.ObjectInfo{}, NoSuchKey.New("there is no object %s", key)
	}
	m.Opened = append(m.Opened, key)
	body := io.NopCloser(bytes.NewReader(o.body))
	if m.Wrap != nil {
		body = m.Wrap(body)
	}
	return body, warehouse.ObjectInfo{Key: key, Size: int64(len(o.body)), ETag: etag(o.body), Modified: o.modified}, nil
}

func etag(body []byte) string { return fmt.Sprintf("%x", sha256.Sum256(body)) }

// Create makes an object that must not exist.
func (m *Memory) Create(ctx context.Context, key string, r io.Reader) error {
	if m.OnCreate != nil {
		if err := m.OnCreate(key); err != nil {
			return err
		}
	}
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.objects[key]; ok {
		return KeyExists.New("there is an object %s already", key)
	}
	m.objects[key] = object{body, time.Now()}
	return nil
}

// Delete removes an object.
func (m *Memory) Delete(ctx context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, key)
	return nil
}

// Buckets are sets of objects by bucket, read as the caller.
type Buckets struct {
	Sets map[string]*Memory
	Auth *Policy // nil: everything is allowed
}

// List authorises s3:ListBucket and yields a bucket's objects.
func (b *Buckets) List(ctx context.Context, bucket, prefix string) iter.Seq2[warehouse.ObjectInfo, error] {
	return func(yield func(warehouse.ObjectInfo, error) bool) {
		m, err := b.set(ctx, "s3:ListBucket", bucket, bucket)
		if err != nil {
			yield(warehouse.ObjectInfo{}, err)
			return
		}
		m.List(ctx, prefix)(yield)
	}
}

// Open authorises s3:GetObject and returns an object's bytes.
func (b *Buckets) Open(ctx context.Context, bucket, key string) (io.ReadCloser, warehouse.ObjectInfo, error) {
	m, err := b.set(ctx, "s3:GetObject", bucket, bucket+"/"+key)
	if err != nil {
		return nil, warehouse.ObjectInfo{}, err
	}
	return m.Open(ctx, key)
}

func (b *Buckets) set(ctx context.Context, action name.Action, bucket, resource string) (*Memory, error) {
	if b.Auth != nil {
		if err := b.Auth.Authorize(ctx, action, name.ARN{Service: "s3", Resource: resource}); err != nil {
			return nil, err
		}
	}
	m, ok := b.Sets[bucket]
	if !ok {
		return nil, NoSuchKey.New("there is no bucket %s", bucket)
	}
	return m, nil
}

// Policy is an authoriser that allows everything but what Deny names, and keeps a record.
type Policy struct {
	mu    sync.Mutex
	Deny  func(ctx context.Context, action name.Action, resource name.ARN) bool
	Asked []string // "action resource"
}

// Authorize records the question and answers it.
func (p *Policy) Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error {
	p.mu.Lock()
	p.Asked = append(p.Asked, fmt.Sprintf("%s %s", action, resource))
	deny := p.Deny
	p.mu.Unlock()
	if deny != nil && deny(ctx, action, resource) {
		return AccessDenied.New("not authorized to perform %s on %s", action, resource)
	}
	return nil
}

// SetDeny replaces the rule while sessions run.
func (p *Policy) SetDeny(deny func(ctx context.Context, action name.Action, resource name.ARN) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Deny = deny
}

package acme

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// storage keeps texts under keys. A ttl of 0 is for ever.
type storage interface {
	get(ctx context.Context, key string) (value string, ok bool, err error)
	set(ctx context.Context, key, value string, ttl time.Duration) error
	// add is set where there is nothing under the key, and reports whether that was so.
	add(ctx context.Context, key, value string, ttl time.Duration) (bool, error)
	remove(ctx context.Context, key string) error
	close()
}

// newStorage returns the storage that a configuration names.
func (k *kind) newStorage(c schema.Record, env gateway.Env) storage {
	name := fields.String(c, "storage")
	all, _ := c["storage_config"].(schema.Record)
	own, _ := all[name].(schema.Record)
	switch name {
	case "kong":
		return entities{env.Directory, env.Records}
	case "redis":
		return newRedis(own)
	case "consul":
		return newConsul(own, env.Clock)
	case "vault":
		return newVault(own, env.Clock)
	}
	return shm{k.memory, env.Clock}
}

const collection = "acme_storage"

func storageEntity() *schema.Entity {
	id, created, _, _ := gateway.Shared()
	return &schema.Entity{
		Name: collection, Private: true, Expires: true,
		Record: &schema.Field{Kind: schema.Nested, Fields: []*schema.Field{
			id, {Name: "key", Kind: schema.String, Required: true, Unique: true},
			{Name: "value", Kind: schema.String, Required: true, Encrypted: true}, created,
		}},
	}
}

// entities is the storage kong. A record's id follows from its key, so that adding is one
// transaction.
type entities struct {
	directory gateway.Directory
	records   gateway.Records
}

var space = uuid.MustParse("0b0f7a86-6a3b-49b6-8f9a-0a4f2c1f9d3e")

func idOf(key string) string { return uuid.NewSHA1(space, []byte(key)).String() }

func (s entities) get(_ context.Context, key string) (string, bool, error) {
	r, ok := s.directory.ByID(collection, idOf(key))
	return fields.String(r, "value"), ok, nil
}

func (s entities) close() {}

func (s entities) put(ctx context.Context, key, value string, ttl time.Duration, replace bool) (done bool, err error) {
	err = s.records.Edit(ctx, collection, idOf(key), func(old schema.Record) schema.Record {
		if done = old == nil || replace; !done {
			return nil
		}
		r := schema.Record{"key": key, "value": value}
		if ttl > 0 {
			r["ttl"] = max(1, float64(int64(ttl/time.Second)))
		}
		return r
	})
	return done && err == nil, err
}

func (s entities) set(ctx context.Context, key, value string, ttl time.Duration) error {
	_, err := s.put(ctx, key, value, ttl, true)
	return err
}

func (s entities) add(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	return s.put(ctx, key, value, ttl, false)
}

func (s entities) remove(ctx context.Context, key string) error {
	_, err := s.records.Delete(ctx, collection, idOf(key))
	return err
}

// memory is what the storages shm of a node hold.
type memory struct {
	mu sync.Mutex
	at map[string]entry
}

type entry struct {
	value string
	end   time.Time // zero: none
}

func (e entry) ended(now time.Time) bool { return !e.end.IsZero() && !now.Before(e.end) }

// maxEntries bounds a memory.
const maxEntries = 10_000

var errFull = errors.New("the storage is full")

func newMemory() *memory { return &memory{at: map[string]entry{}} }

// shm is the storage of that name.
type shm struct {
	*memory
	clock clock.Clock
}

func (s shm) close() {}

func (s shm) get(_ context.Context, key string) (string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.at[key]
	if !ok || e.ended(s.clock.Now()) {
		return "", false, nil
	}
	return e.value, true, nil
}

func (s shm) put(key, value string, ttl time.Duration, replace bool) (bool, error) {
	now := s.clock.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	old, there := s.at[key]
	if there && !replace && !old.ended(now) {
		return false, nil
	}
	if !there && len(s.at) >= maxEntries {
		for k, e := range s.at {
			if e.ended(now) {
				delete(s.at, k)
			}
		}
		if len(s.at) >= maxEntries {
			return false, errFull
		}
	}
	e := entry{value: value}
	if ttl > 0 {
		e.end = now.Add(ttl)
	}
	s.at[key] = e
	return true, nil
}

func (s shm) set(_ context.Context, key, value string, ttl time.Duration) error {
	_, err := s.put(key, value, ttl, true)
	return err
}

func (s shm) add(_ context.Context, key, value string, ttl time.Duration) (bool, error) {
	return s.put(key, value, ttl, false)
}

func (s shm) remove(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.at, key)
	return nil
}

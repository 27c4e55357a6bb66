package acme

import (
	"context"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Storage is a storage for tests of each alone.
type Storage struct{ s storage }

// NewStorage returns the storage that an accepted configuration names.
func NewStorage(c schema.Record, env gateway.Env) Storage {
	return Storage{(&kind{memory: newMemory()}).newStorage(c, env)}
}

func (s Storage) Get(ctx context.Context, key string) (string, bool, error) { return s.s.get(ctx, key) }
func (s Storage) Set(ctx context.Context, key, value string, ttl time.Duration) error {
	return s.s.set(ctx, key, value, ttl)
}
func (s Storage) Add(ctx context.Context, key, value string, ttl time.Duration) (bool, error) {
	return s.s.add(ctx, key, value, ttl)
}
func (s Storage) Remove(ctx context.Context, key string) error { return s.s.remove(ctx, key) }
func (s Storage) Close()                                       { s.s.close() }

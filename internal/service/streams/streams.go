package streams

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
)

// Config is what an operator may choose.
type Config struct {
	Account   string // twelve digits
	Dir       string // of the logs
	MaxShards int    // of the account; 1,000 if zero
	// SegmentBytes is when a shard begins a new segment; 64 MiB if zero.
	SegmentBytes int64
}

// Authorizer decides whether the caller in ctx may do action to resource.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// Keys wraps data keys under the platform's key.
type Keys interface {
	NewDataKey(ctx context.Context, context []byte) (plain [32]byte, wrapped []byte, err error)
	OpenDataKey(ctx context.Context, wrapped, context []byte) (plain [32]byte, err error)
}

// Deps are the parts the service needs.
type Deps struct {
	Store *store.Store
	Auth  Authorizer
	Keys  Keys
	Clock clock.Clock
	Log   *slog.Logger
	Guard *segment.Guard // refuses writes on a disk that is nearly full
}

// Service is the stream service of a node.
type Service struct {
	cfg     Config
	deps    Deps
	records records
	cancel  func()

	mu     sync.RWMutex
	shards map[shardID]*shard // open ones
	ending map[shardID]*shard // of deleted streams, until their directory is removed
	closed bool
}

type shardID struct {
	stream string // the stream's id
	index  int
}

// New returns the service. Shards are opened when they are first used.
func New(c Config, d Deps) (*Service, error) {
	if !name.ValidAccount(c.Account) {
		return nil, errors.New("streams: the account is not twelve digits")
	}
	if c.Dir == "" {
		return nil, errors.New("streams: no directory")
	}
	if c.MaxShards == 0 {
		c.MaxShards = 1000
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 64 << 20
	}
	s := &Service{cfg: c, deps: d, records: register(d.Store), shards: map[shardID]*shard{}, ending: map[shardID]*shard{}}
	s.cancel = d.Store.Subscribe(s.changed)
	return s, nil
}

// Close writes what is queued and closes the logs.
func (s *Service) Close() {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	open := slices.AppendSeq(slices.Collect(maps.Values(s.shards)), maps.Values(s.ending))
	clear(s.shards)
	clear(s.ending)
	s.mu.Unlock()
	for _, sh := range open {
		sh.close()
	}
}

func (s *Service) arn(region, stream string) name.ARN {
	return name.ARN{Service: "kinesis", Region: region, Account: s.cfg.Account, Resource: "stream/" + stream}
}

// shard returns an open shard.
func (s *Service) shard(d *streamDoc, index int) (*shard, error) {
	id := shardID{d.ID, index}
	s.mu.RLock()
	sh := s.shards[id]
	s.mu.RUnlock()
	if sh != nil {
		return sh, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, segment.Closed.New("the stream service is closing")
	}
	if sh := s.shards[id]; sh != nil {
		return sh, nil
	}
	if _, _, ok := s.records.streams.Lookup(s.deps.Store.Snapshot(), "id", d.ID); !ok {
		return nil, s.noStream(d.Name) // deleted since the caller looked
	}
	sh, err := openShard(s, id, filepath.Join(s.cfg.Dir, d.ID, shardName(index)))
	if err != nil {
		return nil, err
	}
	s.shards[id] = sh
	return sh, nil
}

// Run expires records until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	retry := work.Retry{Log: s.deps.Log, What: "streams: expiring records", Level: slog.LevelError, First: time.Minute, Last: time.Minute}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.Expire(ctx); err == nil {
				retry.Worked()
			} else if ctx.Err() == nil {
				retry.Failed(err)
			}
		}
	}
}

package delivery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Config is what an operator may choose.
type Config struct {
	Account string // twelve digits
	// Memory is how many bytes all lanes gather at one time; 256 MiB if zero. A lane that
	// finds it used up writes what it has, if that is a mebibyte.
	Memory int64
	// Interval is how long a delivery stream gathers that does not say; 300 s if zero, as Firehose has it.
	Interval time.Duration
}

// Authorizer decides whether the caller in ctx may do action to resource.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// Record is a record of a source.
type Record struct {
	Value  []byte
	Time   time.Time // of arrival
	Offset int64
}

// Source is one shard being read.
type Source interface {
	Bounds() (oldest, end int64)
	// Wait returns when there is a record at offset, or when ctx ends.
	Wait(ctx context.Context, offset int64) error
	// Read returns records of [from, before) in at most about bytes, at least one if there
	// is one; before 0 means the end.
	Read(ctx context.Context, from, before int64, bytes int) ([]Record, int64, error)
}

// Streams is where records come from.
type Streams interface {
	// ID finds a stream of the account as the caller in ctx.
	ID(ctx context.Context, stream string) (id string, shards int, err error)
	Source(streamID string, shard int) (Source, error)
	// A buffer is a stream of one shard of this service's own.
	EnsureBuffer(ctx context.Context, region, buffer string) (id string, err error)
	DeleteBuffer(ctx context.Context, region, buffer string) error
	AppendBuffer(ctx context.Context, region, buffer string, values [][]byte) error
}

// Objects is where they go. It acts as the caller in ctx.
type Objects interface {
	Put(ctx context.Context, bucket, key string, body io.Reader, headers map[string]string) error
	// Writable reports whether the caller may put objects there.
	Writable(ctx context.Context, bucket, prefix string) error
}

// Deps are the parts the service needs.
type Deps struct {
	Store   *store.Store
	Index   *kv.DB
	Auth    Authorizer
	Streams Streams
	Objects Objects
	Clock   clock.Clock
	Log     *slog.Logger
}

// Service is the delivery service of a node.
type Service struct {
	cfg     Config
	deps    Deps
	records records

	mu    sync.Mutex
	lanes map[laneID]*lane
	wake  chan struct{}

	gathered atomic.Int64 // bytes that lanes hold
}

// New returns the service; Run does its work.
func New(c Config, d Deps) (*Service, error) {
	if !name.ValidAccount(c.Account) {
		return nil, errors.New("delivery: the account is not twelve digits")
	}
	if c.Memory == 0 {
		c.Memory = 256 << 20
	}
	if c.Interval == 0 {
		c.Interval = 300 * time.Second
	}
	if c.Interval < time.Second || c.Interval > maxInterval {
		return nil, InvalidArgument.Field("delivery.interval", "delivery.interval is 1s to %s, not %s", maxInterval, c.Interval)
	}
	return &Service{cfg: c, deps: d, records: register(d.Store), lanes: map[laneID]*lane{}, wake: make(chan struct{}, 1)}, nil
}

// Run keeps a lane going for each shard of each delivery stream until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	cancel := s.deps.Store.Subscribe(func(_ *store.Snapshot, changes []store.Change) {
		ours := func(c store.Change) bool { return c.Collection == collection }
		if len(changes) > 0 && !slices.ContainsFunc(changes, ours) {
			return
		}
		select {
		case s.wake <- struct{}{}:
		default: // one is waiting already
		}
	})
	defer cancel()
	var running sync.WaitGroup
	defer func() {
		running.Wait()
		s.mu.Lock()
		clear(s.lanes) // so that a Run after this one starts them anew
		s.mu.Unlock()
	}()
	for {
		s.reconcile(ctx, &running)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// reconcile starts the lanes that should run and stops those that should not.
func (s *Service) reconcile(ctx context.Context, running *sync.WaitGroup) {
	s.mu.Lock()
	defer s.mu.Unlock()
	wanted := map[laneID]bool{}
	for _, d := range s.records.deliveries.All(s.deps.Store.Snapshot(), "") {
		for shard := range d.Start {
			id := laneID{d.ID, shard}
			wanted[id] = true
			if s.lanes[id] != nil {
				continue
			}
			laneCtx, stop := context.WithCancel(ctx)
			l := &lane{s: s, id: id, doc: d, stop: stop}
			s.lanes[id] = l
			running.Go(func() { l.run(laneCtx) })
		}
	}
	for id, l := range s.lanes {
		if !wanted[id] {
			l.stop()
			delete(s.lanes, id)
			b := s.deps.Index.NewBatch()
			b.Delete(laneKey(id))
			if err := b.CommitUnsynced(); err != nil { // left behind it does no harm: ids are not used again
				s.deps.Log.Warn("delivery: cannot forget a lane", "error", err)
			}
		}
	}
}

func (s *Service) arn(region, delivery string) name.ARN {
	return name.ARN{Service: "firehose", Region: region, Account: s.cfg.Account, Resource: "deliverystream/" + delivery}
}

// as returns ctx with the rights of who created the delivery stream.
func (d *deliveryDoc) as(ctx context.Context, request string) context.Context {
	ctx = caller.With(ctx, caller.Identity{Account: d.Owner.Account, ARN: d.Owner.ARN, UserID: d.Owner.UserID,
		UserName: d.Owner.UserName, Root: d.Owner.Root})
	return caller.WithRequest(ctx, caller.Request{ID: request, Region: d.Region})
}

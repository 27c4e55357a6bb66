package objects

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
)

// Config is what an operator may choose.
type Config struct {
	Account string // twelve digits
	Dir     string // of the segments
	// MaxUploads bounds the bodies being received at once; 128 if zero. Each holds about 3 MiB.
	MaxUploads int
	// SegmentBytes is when the common log begins a new segment; 128 MiB if zero.
	SegmentBytes int64
	// ReclaimEvery is how often space of deleted objects is given back; 10 minutes if zero.
	ReclaimEvery time.Duration
}

// Authorizer decides whether the caller in ctx may do action to resource.
type Authorizer interface {
	Authorize(ctx context.Context, action name.Action, resource name.ARN, attrs ...name.Attr) error
}

// Keys wraps data keys as the caller in ctx; an empty ref is the platform's key.
type Keys interface {
	NewDataKey(ctx context.Context, ref string, context []byte) (plain [32]byte, wrapped []byte, key name.ARN, err error)
	OpenDataKey(ctx context.Context, wrapped, context []byte) (plain [32]byte, err error)
}

// Deps are the parts the service needs.
type Deps struct {
	Store *store.Store
	Index *kv.DB
	Auth  Authorizer
	Keys  Keys
	Clock clock.Clock
	Log   *slog.Logger
	Guard *segment.Guard // refuses writes on a disk that is nearly full
}

// Service is the object service of a node.
type Service struct {
	cfg     Config
	deps    Deps
	records records
	bytes   *bytesLog
	uploads chan struct{} // one token per body being received

	// Locks order the writes to one key, so that conditions hold, and the calls of one upload;
	// keys and uploads share them by hash. Who holds one of each took the upload's first.
	keyLocks, uploadLocks [256]sync.Mutex

	// deleting is held for writing while a bucket is deleted, and for reading while something
	// is put into one, so that nothing acknowledged is in a bucket that was empty and is gone.
	deleting sync.RWMutex
}

// New opens the service's files.
func New(c Config, d Deps) (*Service, error) {
	if !name.ValidAccount(c.Account) {
		return nil, errors.New("objects: the account is not twelve digits")
	}
	if c.MaxUploads == 0 {
		c.MaxUploads = 128
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 128 << 20
	}
	if c.ReclaimEvery == 0 {
		c.ReclaimEvery = 10 * time.Minute
	}
	if err := segment.MakeDir(c.Dir); err != nil {
		return nil, err
	}
	bytes, err := openBytes(c, d)
	if err != nil {
		return nil, err
	}
	return &Service{cfg: c, deps: d, records: register(d.Store), bytes: bytes, uploads: make(chan struct{}, c.MaxUploads)}, nil
}

// Close writes what is queued and closes the files.
func (s *Service) Close() { s.bytes.close() }

func bucketARN(bucket string) name.ARN { return name.ARN{Service: "s3", Resource: bucket} }

func objectARN(bucket, key string) name.ARN {
	return name.ARN{Service: "s3", Resource: bucket + "/" + key}
}

// admit waits for a place among the bodies being received.
func (s *Service) admit(ctx context.Context) (release func(), err error) {
	select {
	case s.uploads <- struct{}{}:
		return func() { <-s.uploads }, nil
	default:
	}
	wait := time.NewTimer(5 * time.Second)
	defer wait.Stop()
	select {
	case s.uploads <- struct{}{}:
		return func() { <-s.uploads }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-wait.C:
		return nil, Busy.New("Please reduce your request rate.")
	}
}

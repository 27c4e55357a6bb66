package node

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
	"sluice.dev/sluice/internal/service/audit"
	"sluice.dev/sluice/internal/service/delivery"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/references"
	"sluice.dev/sluice/internal/service/iam"
	"sluice.dev/sluice/internal/service/kms"
	"sluice.dev/sluice/internal/service/objects"
	"sluice.dev/sluice/internal/service/streams"
	"sluice.dev/sluice/internal/service/warehouse"
)

// base is floor 0 at work.
type base struct {
	data  *dataDir
	clock clock.Clock
	log   *slog.Logger
	store *store.Store
	index *kv.DB
	guard *segment.Guard
	jobs  *work.Group
}

func openBase(ctx context.Context, c *Config, log *slog.Logger, undo *undo) (*base, error) {
	b := &base{clock: clock.System{}, log: log}
	var err error
	if b.data, err = openData(c); err != nil {
		return nil, err
	}
	undo.add(b.data.close)
	if b.store, err = store.Open(ctx, store.Config{URL: c.Store.URL, Key: b.data.key("store"), Clock: b.clock, Log: log}); err != nil {
		return nil, err
	}
	undo.add(func() { logError(log, "closing the control store", b.store.Close()) })
	if b.index, err = kv.Open(kv.Config{Dir: filepath.Join(c.Data, "index"), Key: b.data.key("index"), Log: log}); err != nil {
		return nil, err
	}
	undo.add(func() { logError(log, "closing the index", b.index.Close()) })
	b.guard = segment.NewGuard(c.Data, c.Disk.Reserve<<20, b.clock.Now)
	b.jobs = work.New(log, b.clock)
	b.jobs.Go("control store feed", b.store.Run)
	undo.add(b.jobs.Stop)
	return b, nil
}

func logError(log *slog.Logger, doing string, err error) {
	if err != nil {
		log.Error(doing, "error", err)
	}
}

// services is floor 1 at work.
type services struct {
	iam        *iam.Service
	kms        *kms.Service
	objects    *objects.Service
	streams    *streams.Service
	delivery   *delivery.Service
	warehouse  *warehouse.Service
	gateway    *gateway.Gateway
	references *gateway.ReferenceCache
	audit      *audit.Log
	observers  *observers
	staple     func(*tls.Certificate) *tls.Certificate // nil: no OCSP answers
}

func openServices(ctx context.Context, c *Config, b *base, m *metrics, undo *undo) (*services, error) {
	s := new(services)
	var err error
	if s.iam, err = iam.New(iam.Config{Account: c.Account},
		iam.Deps{Store: b.store, Index: b.index, Clock: b.clock, Log: b.log}); err != nil {
		return nil, err
	}
	if s.kms, err = kms.New(ctx, kms.Config{Account: c.Account, Root: b.data.key("kms")},
		kms.Deps{Store: b.store, Auth: s.iam, Clock: b.clock}); err != nil {
		return nil, err
	}
	if s.streams, err = streams.New(streams.Config{Account: c.Account, Dir: filepath.Join(c.Data, "streams")},
		streams.Deps{Store: b.store, Auth: s.iam, Keys: platformKeys{s.kms}, Clock: b.clock, Log: b.log, Guard: b.guard}); err != nil {
		return nil, err
	}
	undo.add(s.streams.Close)
	if s.objects, err = objects.New(objects.Config{Account: c.Account, Dir: filepath.Join(c.Data, "objects")},
		objects.Deps{Store: b.store, Index: b.index, Auth: s.iam, Keys: s.kms, Clock: b.clock, Log: b.log, Guard: b.guard}); err != nil {
		return nil, err
	}
	undo.add(s.objects.Close)
	if s.delivery, err = delivery.New(delivery.Config{Account: c.Account},
		delivery.Deps{Store: b.store, Index: b.index, Auth: s.iam, Streams: sources{s.streams}, Objects: buckets{s.objects}, Clock: b.clock, Log: b.log}); err != nil {
		return nil, err
	}
	if err := s.openWarehouse(ctx, c, b, undo); err != nil {
		return nil, err
	}
	s.references = gateway.CacheReferences(references.New(b.index), nil)
	undo.add(s.references.Close)
	if err := s.openGateway(ctx, c, b, m, undo); err != nil {
		return nil, err
	}
	for name, loop := range map[string]func(context.Context) error{
		"identities": s.iam.Run, "streams": s.streams.Run, "objects": s.objects.Run, "delivery": s.delivery.Run, "gateway": s.gateway.Run, "audit": s.audit.Run, "warehouse": s.warehouse.Run,
	} {
		b.jobs.Go(name, loop)
	}
	undo.add(b.jobs.Stop) // before the services that the loops use; a second Stop does nothing
	return s, nil
}

// workerGrace is how long a worker may take to give up a statement before it is ended. A
// statement over a disabled key should fail within a second; a new worker costs less.
const workerGrace = 300 * time.Millisecond

func (s *services) openWarehouse(ctx context.Context, c *Config, b *base, undo *undo) error {
	private, err := s.objects.Area(ctx, "warehouse")
	if err != nil {
		return err
	}
	worker, err := workerCommand()
	if err != nil {
		return fmt.Errorf("cannot find this program's own file: %w", err)
	}
	s.warehouse, err = warehouse.New(
		warehouse.Config{Account: c.Account, Region: c.Region, Worker: worker, Memory: c.Warehouse.Memory << 20, Quota: c.Warehouse.Quota << 20,
			Grace: workerGrace},
		warehouse.Deps{Store: b.store, Objects: tables{s.objects}, Area: area{private}, Authorizer: s.iam, Clock: b.clock, Log: b.log})
	if err == nil {
		undo.add(s.warehouse.Close)
	}
	return err
}

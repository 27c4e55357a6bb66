package node

import (
	"context"
	"crypto/tls"
	"log/slog"
	"maps"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/base/work"
	"sluice.dev/sluice/internal/service/audit"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/iam"
	"sluice.dev/sluice/internal/service/kms"
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

func openBase(ctx context.Context, c *Config, now clock.Clock, log *slog.Logger, undo *undo) (*base, error) {
	b := &base{clock: now, log: log}
	var err error
	if b.data, err = openData(ctx, c); err != nil {
		return nil, err
	}
	undo.add(b.data.close)
	if err := b.data.check(ctx, c, log); err != nil {
		return nil, err
	}
	b.guard = segment.NewGuard(c.Data, c.Disk.Reserve<<20, b.clock.Now, log)
	if err := b.guard.Check(); err != nil && !segment.DiskFull.Is(err) { // of a full disk the log has it now, before the node is ready
		return nil, err
	}
	if b.store, err = store.Open(ctx, store.Config{URL: c.Store.URL, Key: b.data.key("store"), Connections: c.Store.Connections, Room: b.guard.Check, Clock: b.clock, Log: log}); err != nil {
		return nil, err
	}
	undo.add(func() { logError(log, "closing the control store", b.store.Close()) })
	if b.data.reseal != nil {
		if err := b.data.reseal(); err != nil {
			return nil, err
		}
	}
	if b.index, err = kv.Open(b.data.index(log)); err != nil {
		return nil, b.data.unopened(indexStore, err)
	}
	undo.add(func() { logError(log, "closing the index", b.index.Close()) })
	if err := b.data.opened(ctx, c); err != nil {
		return nil, err
	}
	b.jobs = work.New(log, b.clock)
	b.jobs.Go("control store feed", b.store.Run)
	b.jobs.Go("disk space", b.guard.Run)
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
	cluster    *clustered
	local      *local // nil where another node runs what is kept on one
	iam        *iam.Service
	kms        *kms.Service
	gateway    *gateway.Gateway
	references *gateway.ReferenceCache
	edge       *edge.Service
	audit      *audit.Log
	observers  *observers
	staple     func(*tls.Certificate) *tls.Certificate // nil: no OCSP answers
}

func openServices(ctx context.Context, c *Config, b *base, m *metrics, ca *authority, l *listeners, undo *undo) (*services, error) {
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
	if s.cluster, err = openCluster(ctx, c, b, s.iam, l.cluster, undo); err != nil {
		return nil, err
	}
	loops := map[string]func(context.Context) error{"identities": s.iam.Run}
	if c.local() {
		if s.local, err = openLocal(ctx, c, b, s.iam, s.kms, undo); err != nil {
			return nil, err
		}
		maps.Copy(loops, s.local.loops())
	}
	if err := s.openGateway(ctx, c, b, m, undo); err != nil {
		return nil, err
	}
	s.openEdge(c, b, ca)
	s.cluster.serveLocal(s, c)
	if err := s.cluster.join(ctx, c, b); err != nil {
		return nil, err
	}
	loops["gateway"], loops["audit"], loops["edge"] = s.gateway.Run, s.audit.Run, s.edge.Run
	for name, loop := range loops {
		b.jobs.Go(name, loop)
	}
	undo.add(b.jobs.Stop) // before the services that the loops use; a second Stop does nothing
	return s, nil
}

package node

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"sluice.dev/sluice/internal/service/delivery"
	"sluice.dev/sluice/internal/service/iam"
	"sluice.dev/sluice/internal/service/kms"
	"sluice.dev/sluice/internal/service/objects"
	"sluice.dev/sluice/internal/service/streams"
	"sluice.dev/sluice/internal/service/warehouse"
)

// local are the services whose engine is this node's disk. In a cluster one node runs them,
// cluster.data_node, and the others forward to it.
type local struct {
	objects   *objects.Service
	streams   *streams.Service
	delivery  *delivery.Service
	warehouse *warehouse.Service
}

// local reports whether this node runs what is kept on one node.
func (c *Config) local() bool {
	return !c.Cluster.Enabled || c.Cluster.DataNode == c.Cluster.Node
}

func openLocal(ctx context.Context, c *Config, b *base, auth *iam.Service, keys *kms.Service, undo *undo) (s *local, err error) {
	s = new(local)
	if s.streams, err = streams.New(streams.Config{Account: c.Account, Dir: filepath.Join(c.Data, "streams")},
		streams.Deps{Store: b.store, Auth: auth, Keys: platformKeys{keys}, Clock: b.clock, Log: b.log, Guard: b.guard}); err != nil {
		return nil, err
	}
	undo.add(s.streams.Close)
	if s.objects, err = objects.New(objects.Config{Account: c.Account, Dir: filepath.Join(c.Data, "objects")},
		objects.Deps{Store: b.store, Index: b.index, Auth: auth, Keys: keys, Clock: b.clock, Log: b.log, Guard: b.guard}); err != nil {
		return nil, err
	}
	undo.add(s.objects.Close)
	if s.delivery, err = delivery.New(delivery.Config{Account: c.Account, Interval: c.Delivery.Interval},
		delivery.Deps{Store: b.store, Index: b.index, Auth: auth, Streams: sources{s.streams}, Objects: buckets{s.objects}, Clock: b.clock, Log: b.log}); err != nil {
		return nil, err
	}
	return s, s.openWarehouse(ctx, c, b, auth, undo)
}

func (s *local) loops() map[string]func(context.Context) error {
	return map[string]func(context.Context) error{"streams": s.streams.Run, "objects": s.objects.Run, "delivery": s.delivery.Run, "warehouse": s.warehouse.Run}
}

// workerGrace is how long a worker may take to give up a statement before it is ended. A
// statement over a disabled key should fail within a second; a new worker costs less.
const workerGrace = 300 * time.Millisecond

func (s *local) openWarehouse(ctx context.Context, c *Config, b *base, auth *iam.Service, undo *undo) error {
	private, err := s.objects.Area(ctx, "warehouse")
	if err != nil {
		return err
	}
	worker, err := workerCommand()
	if err != nil {
		return fmt.Errorf("cannot find this program's own file: %w", err)
	}
	s.warehouse, err = warehouse.New(
		warehouse.Config{Account: c.Account, Region: c.Region, Worker: worker, Memory: c.Warehouse.Memory << 20, Quota: c.Warehouse.Quota << 20, Timeout: c.Warehouse.Timeout,
			Grace: workerGrace},
		warehouse.Deps{Store: b.store, Objects: tables{s.objects}, Area: area{private}, Authorizer: auth, Clock: b.clock, Log: b.log})
	if err == nil {
		undo.add(s.warehouse.Close)
	}
	return err
}

package cluster_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/cluster"
)

// may lets a caller do one action, on one node.
type may struct {
	action name.Action
	node   string
}

var denied = &fault.Reason{Kind: fault.Denied, Name: "Denied"}

func (m may) Authorize(_ context.Context, action name.Action, on name.ARN, _ ...name.Attr) error {
	if action != m.action || on.Resource != m.node {
		return denied.New("not allowed: %s on %s", action, on.Resource)
	}
	return nil
}

// open returns the service of a cluster's node "a" whose caller has a right.
func open(t *testing.T, right may) *cluster.Service {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := store.Open(t.Context(), store.Config{URL: "sqlite://" + filepath.Join(t.TempDir(), "control.db"), Clock: clock.System{}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	svc := cluster.New(cluster.Config{Account: "123456789012", Region: "us-east-1", Cluster: "c", Self: cluster.Self{Node: "a"}},
		cluster.Deps{Store: s, Auth: right, Clock: clock.System{}, Log: log, Health: func() error { return nil },
			Parts: func() []cluster.Part { return nil }, Busy: func() int64 { return 0 }, Peers: func() []string { return nil }})
	k, err := lease.New(t.Context(), lease.Config{Node: "a", Owner: "owner of a", TTL: time.Minute}, lease.Deps{Store: s, Log: log, About: svc.About})
	if err != nil {
		t.Fatal(err)
	}
	svc.SetKeeper(k)
	t.Cleanup(func() {
		if err := k.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return svc
}

// Each operation asks for its own right, on the node that it is about, before it does anything.
func TestEachOperationHasItsRight(t *testing.T) {
	operations := map[may]func(*cluster.Service) error{
		{cluster.ListNodes, "node/*"}: func(s *cluster.Service) error {
			_, err := s.Nodes(t.Context())
			return err
		},
		{cluster.DescribeNode, "node/a"}: func(s *cluster.Service) error {
			_, err := s.Describe(t.Context(), "a")
			return err
		},
		// Who may cordon sees what became of it, without the right to describe.
		{cluster.CordonNode, "node/a"}: func(s *cluster.Service) error {
			n, err := s.Cordon(t.Context(), "a", true, false)
			if err == nil && n.State != cluster.Cordoned {
				t.Errorf("a node that was cordoned is %s", n.State)
			}
			return err
		},
		{cluster.ForgetNode, "node/a"}: func(s *cluster.Service) error {
			if err := s.Forget(t.Context(), "a"); !cluster.NodeAlive.Is(err) {
				return err
			}
			return nil // asked, and refused for another reason
		},
	}
	for right := range operations {
		s := open(t, right)
		for needed, do := range operations {
			if err := do(s); needed == right && err != nil || needed != right && !denied.Is(err) {
				t.Errorf("with %v, the operation that needs %v: %v", right, needed, err)
			}
		}
	}
	s := open(t, may{cluster.CordonNode, "node/b"})
	if _, err := s.Cordon(t.Context(), "a", true, true); !denied.Is(err) {
		t.Errorf("the right for another node: %v", err)
	}
	if _, err := s.Cordon(t.Context(), "b", true, true); !cluster.NoSuchNode.Is(err) {
		t.Errorf("a node that is none: %v", err)
	}
}

package acceptance_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// Two of three nodes may fall: nothing that was acknowledged is lost, no client sees more than
// one failed request, and the nodes come back.
func TestTwoOfThreeNodesMayFall(t *testing.T) {
	for name, balance := range map[string]func(*site){"behind HAProxy": (*site).haproxy, "behind the gateway": (*site).gate} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, dbtest.Postgres(t), "", balance)
			s.serve()
			l := s.load(4)
			l.more(t, 20)
			times := max(1, *rounds/10)
			for range times {
				for _, n := range s.nodes[:2] {
					n.Kill()
					l.more(t, 20)
				}
				s.nodes[2].Pause(time.Second) // on a busy machine the last node is slow, and has not fallen
				l.more(t, 1)
				s.holds(l, s.nodes[2])
				for _, n := range s.nodes[:2] {
					n.Launch()
				}
				s.balanced(3)
				s.nodes[2].Kill() // those that came back carry on
				l.more(t, 20)
				s.nodes[2].Launch()
				s.balanced(3)
			}
			l.stop()
			for _, n := range s.nodes {
				s.holds(l, n)
			}
			for i := range l.failed {
				if n := l.failed[i].Load(); n > int64(times) {
					t.Errorf("client %d saw %d failed requests of %d in all; last: %v", i, n, l.reads.Load(), l.last)
				}
			}
			if l.refused > 3*times { // one for each node that fell, at most
				t.Errorf("%d changes were not taken; last: %v", l.refused, l.last)
			}
			t.Logf("%d reads; %d changes taken, %d not", l.reads.Load(), len(l.changed), l.refused)
		})
	}
}

// A rolling upgrade, node by node, as the documents say: drain, stop, start the new program,
// let it work again. Nobody notices.
func TestARollingUpgradeFailsNoRequest(t *testing.T) {
	s := newSite(t, dbtest.MariaDB(t), plat.Build(t, "-ldflags", "-X sluice.dev/sluice/internal/node.version=v0.0.1"), nil)
	s.serve()
	if out := s.sluice(s.nodes[0], "node", "list"); strings.Count(out, "v0.0.1") != 3 {
		t.Errorf("the nodes are of another version:\n%s", out)
	}
	l := s.load(4)
	for i, n := range s.nodes {
		other := s.nodes[(i+1)%3]
		name := string(rune('a' + i))
		if out := s.sluice(other, "node", "drain", name, "--timeout", "30s"); !strings.Contains(out, name+" is drained") {
			t.Errorf("%s", out)
		}
		n.Stop()
		n.Upgrade()
		n.Launch()
		if out := s.sluice(other, "node", "uncordon", name); !strings.Contains(out, name+" is up") {
			t.Errorf("%s", out)
		}
		l.more(t, 10)
	}
	l.stop()
	if out := s.sluice(s.nodes[0], "node", "list"); strings.Contains(out, "v0.0.1") {
		t.Errorf("a node is still of the old version:\n%s", out)
	}
	for i := range l.failed {
		if n := l.failed[i].Load(); n > 0 {
			t.Errorf("client %d saw %d failed requests", i, n)
		}
	}
	if l.refused > 0 || l.last != nil {
		t.Errorf("%d changes were not taken; last: %v", l.refused, l.last)
	}
	t.Logf("%d reads, %d changes", l.reads.Load(), len(l.changed))
}

// Without the database the gateway serves on and changes are refused; with it all goes on.
func TestTheDatabaseRestarts(t *testing.T) {
	server := dbtest.Postgres(t)
	s := newSite(t, server, "", nil)
	s.serve()
	l := s.load(2)
	l.more(t, 5)
	server.Stop(t)
	plat.Until(t, "changes are refused", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.refused == 0 {
			return errors.New("none was")
		}
		return nil
	})
	server.Start(t)
	l.more(t, 5)
	l.stop()
	for i := range l.failed {
		if n := l.failed[i].Load(); n > 0 {
			t.Errorf("client %d saw %d failed requests; last: %v", i, n, l.last)
		}
	}
	for _, n := range s.nodes {
		s.holds(l, n)
	}
}

// Nodes that cannot reach each other, but reach the database, serve on and see each other's
// changes.
func TestThePartitionedNodesServeOn(t *testing.T) {
	s := newSite(t, dbtest.Postgres(t), "", nil)
	s.upstream()
	peers := func(n *plat.Node, want int) error {
		var st struct{ Peers []string }
		name := string(rune('a' + slices.Index(s.nodes, n)))
		if err := n.Call("GET", "/api/v1/cluster/nodes/"+name, nil, &st); err != nil {
			return err
		}
		if len(st.Peers) != want {
			return fmt.Errorf("%s is connected with %v", name, st.Peers)
		}
		return nil
	}
	for _, n := range s.nodes {
		plat.Until(t, "all nodes are connected", func() error { return peers(n, 2) })
	}
	s.lan.Split(s.lan.Hosts[:1], s.lan.Hosts[1:])
	plat.Until(t, "the first is cut off", func() error { return peers(s.nodes[0], 0) })
	for i, n := range s.nodes {
		path := fmt.Sprintf("/parted%d", i)
		if err := s.change(n.Endpoints.KongAdmin, path); err != nil {
			t.Fatal(err)
		}
		made := time.Now()
		for _, other := range s.nodes {
			plat.Until(t, "the change comes through", func() error { return s.get(other.Endpoints.Proxy + path) })
		}
		if took := time.Since(made); took > 2*time.Second {
			t.Errorf("a change took %s across the partition", took)
		}
	}
	s.lan.Heal()
	for _, n := range s.nodes {
		plat.Until(t, "all nodes are connected again", func() error { return peers(n, 2) })
	}
}

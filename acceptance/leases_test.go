package acceptance_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// holder is the node that holds a lease, as a node sees it, and the lease's token.
func holder(n *plat.Node, name string) (node string, token int64, err error) {
	var st struct{ Leases []lease.Holding }
	if err := n.Call("GET", "/api/v1/cluster", nil, &st); err != nil {
		return "", 0, err
	}
	for _, l := range st.Leases {
		if l.Name == name {
			return l.Node, l.Token, nil
		}
	}
	return "", 0, fmt.Errorf("nobody holds %q", name)
}

// A lease moves within five seconds from a node that was killed, and from one that stands
// still; the one that stood still finds itself without it when it wakes, and joins in again.
func TestLeasesMove(t *testing.T) {
	nodes := clusterOf(t, 3, dbtest.Postgres(t).URL)
	const name = "edge rollouts"
	byName := map[string]*plat.Node{"a": nodes[0], "b": nodes[1], "c": nodes[2]}
	var first string
	var token int64
	plat.Until(t, "a node leads", func() (err error) {
		first, token, err = holder(nodes[0], name)
		return err
	})
	other := func(not string) *plat.Node {
		for n, node := range byName {
			if n != not && node.Running() {
				return node
			}
		}
		t.Fatal("no node is left")
		return nil
	}
	moved := func(from string, since time.Time) string {
		t.Helper()
		asked := other(from)
		var to string
		plat.Until(t, "the lease moves", func() error {
			n, next, err := holder(asked, name)
			if err == nil && n == from {
				err = fmt.Errorf("%s holds it", n)
			}
			if err == nil && next <= token {
				t.Fatalf("token %d follows %d", next, token)
			}
			to = n
			return err
		})
		if took := time.Since(since); took > 5*time.Second {
			t.Errorf("the lease moved from %s to %s after %s", from, to, took)
		}
		_, token, _ = holder(asked, name)
		return to
	}

	at := time.Now()
	if err := syscall.Kill(byName[first].PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	second := moved(first, at)
	if err := syscall.Kill(byName[first].PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	plat.Until(t, "the node that stood still is up again", func() error {
		var st struct{ State string }
		if err := other(first).Call("GET", "/api/v1/cluster/nodes/"+first, nil, &st); err != nil {
			return err
		}
		if st.State != "up" {
			return fmt.Errorf("it is %s", st.State)
		}
		return nil
	})
	for _, n := range nodes {
		plat.Until(t, "all agree on who leads", func() error {
			got, _, err := holder(n, name)
			if err == nil && got != second {
				err = fmt.Errorf("%s says %s, and it is %s", n.Dir, got, second)
			}
			return err
		})
	}

	at = time.Now()
	byName[second].Kill()
	third := moved(second, at)
	at = time.Now()
	byName[third].Kill() // one is left
	last := moved(third, at)
	t.Logf("the lease went from %s to %s to %s to %s", first, second, third, last)
	byName[second].Launch()
	byName[third].Launch()
	for _, n := range nodes {
		plat.Until(t, "three nodes are up", func() error {
			var st struct{ Nodes map[string]int }
			if err := n.Call("GET", "/api/v1/cluster", nil, &st); err != nil {
				return err
			}
			if st.Nodes["up"] != 3 {
				return fmt.Errorf("%v", st.Nodes)
			}
			return nil
		})
	}
}

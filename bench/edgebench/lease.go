package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"sluice.dev/sluice/bench/rig"
)

// benchLease kills the node that holds a lease, again and again.
func benchLease(ctx context.Context, o options) error {
	c, err := o.three(ctx)
	if err != nil {
		return err
	}
	defer c.Stop()
	var took []float64
	for range o.kills {
		holder, err := moved(c.Nodes[0], "")
		if err != nil {
			return err
		}
		i := int(holder[0] - 'a')
		began := time.Now()
		if err := c.Nodes[i].Stop(syscall.SIGKILL); err != nil {
			return err
		}
		if _, err := moved(c.Nodes[(i+1)%len(c.Nodes)], holder); err != nil {
			return err
		}
		took = append(took, time.Since(began).Seconds())
		if c.Nodes[i], err = c.Nodes[i].Again(ctx); err != nil {
			return err
		}
		if err := c.Whole(); err != nil {
			return err
		}
	}
	slowest := slices.Max(took)
	rig.Report("lease", fmt.Sprintf("a lease moves from a node that was killed, %d kills, median", o.kills), rig.Median(took), "s")
	rig.Judge("lease", "the same, at worst", slowest, "s", "≤ 5", slowest <= 5)
	return nil
}

// moved waits until another node than from holds the lease of rollouts, as a node sees it.
func moved(n *rig.Node, from string) (to string, err error) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		var seen struct{ Leases []struct{ Name, Node string } }
		if err := n.Call("GET", "/api/v1/cluster", nil, &seen); err != nil {
			return "", err
		}
		for _, l := range seen.Leases {
			if l.Name == "edge rollouts" && l.Node != "" && l.Node != from {
				return l.Node, nil
			}
		}
	}
	return "", errors.New("the lease did not move within a minute")
}

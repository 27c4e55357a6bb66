package main

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// benchManifest has agents that no node knows report at once, to three nodes, with a manifest
// that none knows either.
func benchManifest(ctx context.Context, o options) error {
	c, err := o.three(ctx)
	if err != nil {
		return err
	}
	defer c.Stop()
	var slowest []float64
	most, least := int64(0), int64(1<<62)
	for round := range o.rounds {
		name := fmt.Sprintf("crowd-%d", round)
		r, err := simulated(ctx, simulate.Config{URLs: c.Agents(), Agents: o.crowd, Class: name, Prefix: name + "-", Hash: "manifest of " + name, Manifest: edgetest.Manifest("java"),
			Period: time.Minute, Duration: 5 * time.Second, Connections: o.crowd, Burst: true})
		if err != nil {
			return err
		}
		if r.Heartbeats < int64(o.crowd) {
			return fmt.Errorf("only %d of %d heartbeats were answered in 5 s", r.Heartbeats, o.crowd)
		}
		asked := r.Operations["DESCRIBE manifest"]
		most, least = max(most, asked), min(least, asked)
		slowest = append(slowest, r.Max.Seconds())
	}
	rig.Judge("manifest", fmt.Sprintf("%d first heartbeats at once, until the last is answered", o.crowd), rig.Median(slowest), "s", "< 2", rig.Median(slowest) < 2)
	rig.Judge("manifest", "agents that were asked for the manifest, at most", float64(most), "", "exactly 1", most == 1 && least == 1)
	return nil
}

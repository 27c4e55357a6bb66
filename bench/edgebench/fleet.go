package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
)

// fewAgents make the heartbeats that memory is compared with.
const fewAgents = 300

// benchFleet has three nodes hear many agents that report rarely: first each stays with one
// node, then each goes to the next node every time, so that every node knows all.
func benchFleet(ctx context.Context, o options) error {
	c, err := o.three(ctx)
	if err != nil {
		return err
	}
	defer c.Stop()
	time.Sleep(3 * time.Second) // idle is what it is after the start's own work
	idle, err := residents(c)
	if err != nil {
		return err
	}
	rig.Report("fleet", "memory of a node at rest, the largest of three", slices.Max(idle), "MB")
	// What heartbeats leave to be collected is no agent's: before is what a node has that hears
	// as many heartbeats from few agents.
	few := simulate.Config{URLs: c.Agents(), Agents: fewAgents, Class: "fleet", Prefix: "few-", Period: o.period * fewAgents / time.Duration(o.fleet), Duration: 30 * time.Second, Connections: connections}
	if _, err := simulated(ctx, few); err != nil {
		return err
	}
	busy, err := residents(c)
	if err != nil {
		return err
	}
	rig.Report("fleet", fmt.Sprintf("memory of a node with as many heartbeats of %d agents, the largest of three", fewAgents), slices.Max(busy), "MB")
	agents := simulate.Config{URLs: c.Agents(), Agents: o.fleet, Class: "fleet", Prefix: "fleet-", Period: o.period, Duration: o.period + time.Second, Connections: connections}
	failed := int64(0)
	// beat reports how agents that make so many rounds fare, and what each costs a node that
	// knows a part of them.
	beat := func(what string, rounds int, part float64) error {
		agents.Duration = time.Duration(rounds)*o.period + time.Second
		r, err := simulate.Run(ctx, agents)
		if err != nil {
			return err
		}
		if r.Failed > 0 {
			rig.Report("fleet", what+": errors, the last was "+r.LastError, float64(r.Failed), "")
		}
		failed += r.Failed
		rig.Report("fleet", what+": heartbeats", r.Rate, "/s")
		rig.Report("fleet", what+": p99", ms(r.P99), "ms")
		now, err := residents(c)
		if err != nil {
			return err
		}
		rig.Report("fleet", what+": memory of a node, the largest of three", slices.Max(now), "MB")
		worst := 0.0
		for i := range now {
			worst = max(worst, (now[i]-busy[i])*1e6/(float64(o.fleet)*part))
		}
		name := fmt.Sprintf("%s: memory of an agent, the most of three nodes that know %.0f each", what, float64(o.fleet)*part)
		rig.Judge("fleet", name, worst, "B", "< 3072", worst < 3072)
		return nil
	}
	if err := beat("registering", 1, 1.0/3); err != nil {
		return err
	}
	if err := beat("each with its node", 1, 1.0/3); err != nil {
		return err
	}
	agents.Roam = true
	if err := beat("each with the next node every time", 2, 1); err != nil {
		return err
	}
	rig.Judge("fleet", "errors", float64(failed), "", "0", failed == 0)
	return nil
}

// residents are the nodes' resident memories in MB.
func residents(c *rig.Cluster) ([]float64, error) {
	var out []float64
	for _, n := range c.Nodes {
		mb, err := n.RSS()
		if err != nil {
			return nil, err
		}
		out = append(out, mb)
	}
	return out, nil
}

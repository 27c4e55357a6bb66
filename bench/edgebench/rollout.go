package main

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// How agents report and waves go out while a flow is rolled out: each wave takes as long as
// its agents take to come and fetch the flow, and to say that they run it.
const (
	rolloutPeriod = 10 * time.Second
	rolloutWaves  = "1 %, 10 %, all"
	rolloutRate   = 2000
)

// benchRollout publishes flows to agents that report to three nodes.
func benchRollout(ctx context.Context, o options) error {
	c, err := o.three(ctx)
	if err != nil {
		return err
	}
	defer c.Stop()
	agents, leave := context.WithCancel(ctx)
	defer leave()
	var seen simulate.Report
	var failed error
	gone := make(chan struct{})
	registered := make(chan struct{})
	go func() {
		defer close(gone)
		seen, failed = simulate.Run(agents, simulate.Config{URLs: c.Agents(), Agents: o.targets, Class: "targets", Prefix: "target-", Hash: "java", Manifest: edgetest.Manifest("java"),
			Period: rolloutPeriod, Connections: connections, Progress: func(r simulate.Report) {
				if registered != nil && r.Heartbeats >= int64(o.targets) {
					close(registered)
					registered = nil
				}
			}})
	}()
	select {
	case <-registered:
	case <-gone:
		return failed
	}
	var took []float64
	for range o.rounds {
		d, err := publish(c, o.targets)
		if err != nil {
			return err
		}
		took = append(took, d.Seconds())
	}
	leave()
	<-gone
	if failed == nil && seen.Failed > 0 {
		failed = fmt.Errorf("%d reports failed, the last: %s", seen.Failed, seen.LastError)
	}
	if failed != nil {
		return failed
	}
	name := fmt.Sprintf("a flow from its publishing to %d agents that say they run it, who report every %s; waves of %s, %d agents a second", o.targets, rolloutPeriod, rolloutWaves, rolloutRate)
	rig.Judge("rollout", name, rig.Median(took), "s", "< 60", rig.Median(took) < 60)
	rig.Report("rollout", "p99 of heartbeats, first ones included", ms(seen.P99), "ms")
	return nil
}

// publish draws one more processor, publishes the flow and waits until all agents run it. It
// returns how long that took by the database's clock.
func publish(c *rig.Cluster, targets int) (time.Duration, error) {
	const api = "/efm/api"
	var flows []struct{ ID string }
	if err := c.Nodes[0].Call("GET", api+"/designer/flows?agentClass=targets", nil, &flows); err != nil {
		return 0, err
	}
	designer := api + "/designer/flows/" + flows[0].ID
	add := func(noun string, configuration map[string]any) (string, error) {
		var made struct {
			Configuration struct{ Identifier string } `json:"componentConfiguration"`
		}
		err := c.Nodes[0].Call("POST", designer+"/process-groups/root/"+noun, map[string]any{"revision": map[string]any{"version": 0}, "componentConfiguration": configuration}, &made)
		return made.Configuration.Identifier, err
	}
	from, err := add("processors", map[string]any{"type": "org.apache.nifi.processors.standard.GenerateFlowFile", "schedulingPeriod": "1 sec"})
	if err != nil {
		return 0, err
	}
	to, err := add("processors", map[string]any{"type": "org.apache.nifi.processors.standard.LogAttribute", "autoTerminatedRelationships": []string{"success"}})
	if err != nil {
		return 0, err
	}
	if _, err := add("connections", map[string]any{"source": map[string]any{"id": from}, "destination": map[string]any{"id": to}, "selectedRelationships": []string{"success"}}); err != nil {
		return 0, err
	}
	var published struct{ Rollout struct{ Number int64 } }
	plan := map[string]any{"waves": []any{map[string]any{"percent": 1}, map[string]any{"percent": 10}}, "max_failed_percent": 1, "rate": rolloutRate}
	if err := c.Nodes[0].Call("POST", designer+"/publish", map[string]any{"comments": "measured", "plan": plan}, &published); err != nil {
		return 0, err
	}
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		var r struct {
			State          string
			Created, Ended time.Time
			States         map[string]int
		}
		if err := c.Nodes[1].Call("GET", fmt.Sprintf("%s/rollouts/%d", api, published.Rollout.Number), nil, &r); err != nil {
			return 0, err
		}
		switch {
		case r.State == "DONE" && r.States["DONE"] == targets:
			return r.Ended.Sub(r.Created), nil
		case r.State != "RUNNING":
			return 0, fmt.Errorf("the rollout is %s: %v", r.State, r.States)
		}
	}
	return 0, fmt.Errorf("the rollout took more than five minutes")
}

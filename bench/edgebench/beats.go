package main

import (
	"context"
	"path/filepath"
	"syscall"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
)

// connections is how many requests of simulated agents are under way at most.
const connections = 128

// benchBeats has one node hear agents at a fixed rate: first those it does not know, then the
// same again.
func benchBeats(ctx context.Context, o options) error {
	n, err := rig.Start(ctx, rig.Config{Program: o.program, Data: filepath.Join(o.dir, "node")})
	if err != nil {
		return err
	}
	defer func() { _ = n.Stop(syscall.SIGTERM) }() // the figures are out by then
	const period = 10 * time.Second
	agents := simulate.Config{URLs: []string{n.Agents()}, Agents: o.rate * int(period/time.Second), Class: "beats", Prefix: "beats-",
		Period: period, Duration: o.duration, Connections: connections}
	began, err := n.CPU()
	if err != nil {
		return err
	}
	stop := o.record(n, "first")
	first, err := register(ctx, agents)
	stop()
	if err != nil {
		return err
	}
	registered, err := n.CPU()
	if err != nil {
		return err
	}
	rig.Report("beats", "first heartbeats of agents", first.Rate, "/s")
	rig.Report("beats", "first heartbeats, p99", ms(first.P99), "ms")
	rig.Report("beats", "first heartbeats, CPU of the node", float64((registered-began).Microseconds())/float64(first.Heartbeats), "µs/heartbeat")
	var rates, p50s, p99s, costs []float64
	for range o.rounds {
		before, err := n.CPU()
		if err != nil {
			return err
		}
		stop := o.record(n, "beats")
		r, err := simulated(ctx, agents)
		stop()
		if err != nil {
			return err
		}
		after, err := n.CPU()
		if err != nil {
			return err
		}
		rates, p50s, p99s = append(rates, r.Rate), append(p50s, ms(r.P50)), append(p99s, ms(r.P99))
		costs = append(costs, float64((after-before).Microseconds())/float64(r.Heartbeats))
	}
	rate, p99 := rig.Median(rates), rig.Median(p99s)
	rig.Judge("beats", "heartbeats of known agents", rate, "/s", "5000 within 1 % (EFM: 600 on six cores)", rate >= 0.99*5000)
	rig.Report("beats", "p50", rig.Median(p50s), "ms")
	rig.Judge("beats", "p99, from when they were due", p99, "ms", "< 100", p99 < 100)
	rig.Report("beats", "CPU of the node", rig.Median(costs), "µs/heartbeat")
	return nil
}

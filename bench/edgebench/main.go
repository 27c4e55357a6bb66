// Command edgebench measures a cluster, and what agents at the edge ask of it, with the real
// program and its simulator of agents:
//
//	beats     heartbeats of one node at a fixed rate, and its first registrations
//	fleet     a hundred thousand agents on three nodes: memory, latency, errors
//	manifest  agents that all report at once with a manifest that nobody knows
//	rollout   a flow published to ten thousand agents, in waves
//	writes    what unchanged heartbeats write to the database
//	routes    how soon a route made on one node serves on the others
//	lease     how soon a lease moves from a node that was killed
//
// Nodes, their database (PostgreSQL) and the simulator share the machine's processors. It
// prints one JSON object per figure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
)

// options are the flags.
type options struct {
	program  string
	dir      string
	rounds   int
	duration time.Duration
	rate     int
	fleet    int
	period   time.Duration
	crowd    int
	targets  int
	changes  int
	kills    int
	profile  string
}

func main() {
	var o options
	flag.StringVar(&o.program, "program", "bin/sluice", "the program under measurement")
	flag.StringVar(&o.dir, "dir", "", "directory for the nodes' data (default: a new one here)")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of each measurement; the fleet has one")
	flag.DurationVar(&o.duration, "duration", 20*time.Second, "length of one measurement of beats and writes")
	flag.IntVar(&o.rate, "rate", 5000, "heartbeats per second of beats")
	flag.IntVar(&o.fleet, "fleet", 100_000, "agents of the fleet")
	flag.DurationVar(&o.period, "period", time.Minute, "time between two heartbeats of one of the fleet's agents")
	flag.IntVar(&o.crowd, "crowd", 1000, "agents that bring a new manifest at once")
	flag.IntVar(&o.targets, "targets", 10_000, "agents of the rollout, and of writes")
	flag.IntVar(&o.changes, "changes", 100, "routes that are made")
	flag.IntVar(&o.kills, "kills", 10, "holders of the lease that are killed")
	flag.StringVar(&o.profile, "profile", "", "directory for what perf records of the nodes")
	only := flag.String("only", "", "comma-separated: beats,fleet,manifest,rollout,writes,routes,lease")
	flag.Parse()
	if err := run(context.Background(), o, *only); err != nil {
		fmt.Fprintln(os.Stderr, "edgebench:", err)
		if errors.Is(err, exec.ErrNotFound) {
			os.Exit(3)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only string) (err error) {
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp(".", "edgebench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	}
	for _, b := range []struct {
		name string
		run  func(context.Context, options) error
	}{{"beats", benchBeats}, {"fleet", benchFleet}, {"manifest", benchManifest}, {"rollout", benchRollout}, {"writes", benchWrites}, {"routes", benchRoutes}, {"lease", benchLease}} {
		if only != "" && !slices.Contains(strings.Split(only, ","), b.name) {
			continue
		}
		own := o
		own.dir = filepath.Join(o.dir, b.name)
		if err := os.MkdirAll(own.dir, 0o700); err != nil {
			return err
		}
		load, err := loadAverage()
		if err != nil {
			return err
		}
		rig.Report(b.name, "load average of the last minute, before", load, "")
		if err := b.run(ctx, own); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// three starts a cluster of three nodes.
func (o options) three(ctx context.Context, more ...string) (*rig.Cluster, error) {
	return rig.StartCluster(ctx, o.program, o.dir, 3, more...)
}

// simulated runs agents that must not fail.
func simulated(ctx context.Context, c simulate.Config) (simulate.Report, error) {
	r, err := simulate.Run(ctx, c)
	if err == nil && r.Failed > 0 {
		err = fmt.Errorf("%d of %d reports failed, the last: %s", r.Failed, r.Heartbeats, r.LastError)
	}
	return r, err
}

// register runs agents until each has reported, and what that made is written.
func register(ctx context.Context, c simulate.Config) (simulate.Report, error) {
	reported, enough := context.WithCancel(ctx)
	defer enough()
	c.Duration = 0
	c.Progress = func(r simulate.Report) {
		if r.Heartbeats >= int64(c.Agents+c.Connections) { // those under way are in no order
			enough()
		}
	}
	r, err := simulated(reported, c)
	time.Sleep(3 * time.Second)
	return r, err
}

// loadAverage is how many processes the machine ran in the last minute, in the mean.
func loadAverage() (float64, error) {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(strings.Fields(string(raw))[0], 64)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

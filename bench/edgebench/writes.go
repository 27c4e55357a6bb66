package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
)

// told is how long the database may take to tell what it has counted: a session that rests
// tells it after ten seconds.
const told = 11 * time.Second

// writesPeriod is the time between an agent's heartbeats.
const writesPeriod = 5 * time.Second

// benchWrites counts, by the database's own statistics, the rows that change while agents
// report that nothing is new.
func benchWrites(ctx context.Context, o options) error {
	return errors.Join(countUnchanged(ctx, o), countHeard(ctx, o))
}

// steady starts three nodes that know agents, and a connection to their database. stop ends
// both.
func steady(ctx context.Context, o options, more ...string) (db *sql.DB, agents simulate.Config, stop func(), err error) {
	c, err := o.three(ctx, more...)
	if err != nil {
		return nil, agents, nil, err
	}
	agents = simulate.Config{URLs: c.Agents(), Agents: o.targets, Class: "steady", Prefix: "steady-", Period: writesPeriod, Duration: o.duration, Connections: connections}
	if _, err = register(ctx, agents); err == nil {
		db, err = sql.Open("pgx", c.Database)
	}
	if err != nil {
		c.Stop()
		return nil, agents, nil, err
	}
	return db, agents, func() {
		_ = db.Close() // only asked
		c.Stop()
	}, nil
}

// countUnchanged counts with nobody reporting, and then with agents.
func countUnchanged(ctx context.Context, o options) error {
	o.dir = filepath.Join(o.dir, "unchanged")
	db, agents, stop, err := steady(ctx, o)
	if err != nil {
		return err
	}
	defer stop()
	var counts [3]changes
	var reported float64
	for i := range counts {
		if i == 2 {
			r, err := simulated(ctx, agents)
			if err != nil {
				return err
			}
			reported = float64(r.Heartbeats)
		}
		time.Sleep(told)
		if counts[i], err = count(ctx, db); err != nil {
			return err
		}
	}
	quiet, busy := counts[1].since(counts[0]), counts[2].since(counts[1])
	rig.Report("writes", fmt.Sprintf("unchanged heartbeats of %d agents", o.targets), reported, "")
	rig.Judge("writes", "rows of agents that change, in all", busy.agents, "", "0", busy.agents == 0)
	rig.Report("writes", "other rows, by sessions and leases, nobody reporting", quiet.other/quiet.seconds, "/s")
	rig.Report("writes", "other rows, agents reporting", busy.other/busy.seconds, "/s")
	rig.Report("writes", "transactions, nobody reporting", quiet.commits/quiet.seconds, "/s")
	rig.Report("writes", "transactions, agents reporting", busy.commits/busy.seconds, "/s")
	return nil
}

// countHeard counts where agents may say nothing for a short time only: so often nodes write
// down, of many agents with one statement, that they still hear them.
func countHeard(ctx context.Context, o options) error {
	o.dir = filepath.Join(o.dir, "heard")
	const silence = 15 * time.Second
	db, agents, stop, err := steady(ctx, o, "SLUICE_EDGE_MAX_HEARTBEAT_INTERVAL="+silence.String())
	if err != nil {
		return err
	}
	defer stop()
	agents.Duration = told + 2*silence + time.Second
	ended := make(chan error, 1)
	go func() {
		_, err := simulated(ctx, agents)
		ended <- err
	}()
	time.Sleep(told)
	before, err := count(ctx, db)
	if err != nil {
		return err
	}
	time.Sleep(2 * silence)
	after, err := count(ctx, db)
	if err != nil {
		return err
	}
	d := after.since(before)
	rig.Report("writes", "rows that tell that an agent is still heard, of each in the longest silence that agents may keep", d.agents/float64(o.targets)/(d.seconds/silence.Seconds()), "")
	return <-ended
}

// changes are what a database has counted: changed rows of the table that has what there is
// once per agent, those of all other tables, and transactions.
type changes struct{ seconds, agents, other, commits float64 }

func (c changes) since(b changes) changes {
	return changes{c.seconds - b.seconds, c.agents - b.agents, c.other - b.other, c.commits - b.commits}
}

func count(ctx context.Context, db *sql.DB) (c changes, err error) {
	err = db.QueryRowContext(ctx, `SELECT extract(epoch FROM clock_timestamp()), sum(n) FILTER (WHERE relname = 'sluice_rows'), sum(n) FILTER (WHERE relname <> 'sluice_rows'),
		(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())
		FROM (SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables) AS t`).Scan(&c.seconds, &c.agents, &c.other, &c.commits)
	return c, err
}

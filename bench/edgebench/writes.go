package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/agent/simulate"
)

// benchWrites counts, by the database's own statistics, the rows that change while nobody
// reports and while agents report that nothing is new. Nodes say of agents that they still
// hear them once in the longest silence (many rows with one statement), so that is short the
// second time.
func benchWrites(ctx context.Context, o options) error {
	return errors.Join(countWrites(ctx, o, 5*time.Minute), countWrites(ctx, o, 10*time.Second))
}

func countWrites(ctx context.Context, o options, silence time.Duration) error {
	o.dir += silence.String()
	c, err := o.three(ctx, "SLUICE_EDGE_MAX_HEARTBEAT_INTERVAL="+silence.String())
	if err != nil {
		return err
	}
	defer c.Stop()
	db, err := sql.Open("pgx", c.Database)
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }() // only asked
	const period = 5 * time.Second
	agents := simulate.Config{URLs: c.Agents(), Agents: o.targets, Class: "steady", Prefix: "steady-", Period: period, Connections: connections}
	if _, err := register(ctx, agents); err != nil {
		return err
	}
	agents.Duration = max(o.duration, 2*silence)
	if silence > o.duration {
		agents.Duration = o.duration // it does not pass
	}
	reported := int64(0)
	quiet, err := changed(ctx, db, func() error {
		select {
		case <-ctx.Done():
		case <-time.After(agents.Duration):
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if silence < agents.Duration { // they are missing by now, and come back
		if _, err := register(ctx, agents); err != nil {
			return err
		}
	}
	busy, err := changed(ctx, db, func() error {
		r, err := simulated(ctx, agents)
		reported = r.Heartbeats
		return err
	})
	if err != nil {
		return err
	}
	s := agents.Duration.Seconds()
	each := busy.rows / float64(reported)
	name := fmt.Sprintf("rows of agents that %d unchanged heartbeats of %d agents write, each; silence up to %s, %s long", reported, o.targets, silence, agents.Duration)
	if silence > agents.Duration {
		rig.Judge("writes", name, each, "", "0", busy.rows == 0)
	} else {
		rig.Report("writes", name, each, "")
		rig.Report("writes", "rows that say that an agent is still heard, of an agent in the longest silence", busy.rows/float64(o.targets)/(s/silence.Seconds()), "")
	}
	rig.Report("writes", "other rows, by sessions and leases, nobody reporting", quiet.other/s, "/s")
	rig.Report("writes", "other rows, agents reporting", busy.other/s, "/s")
	rig.Report("writes", "commits, nobody reporting", quiet.commits/s, "/s")
	rig.Report("writes", "commits, agents reporting", busy.commits/s, "/s")
	return nil
}

// changes are what a database counted: rows of the table that has what there is once per
// agent, rows of all other tables, and transactions.
type changes struct{ rows, other, commits float64 }

// changed is what changes while fn runs.
func changed(ctx context.Context, db *sql.DB, fn func() error) (c changes, err error) {
	count := func() (c changes, err error) {
		time.Sleep(2 * time.Second) // servers tell what they have counted about once a second
		err = db.QueryRowContext(ctx, `SELECT sum(n) FILTER (WHERE relname = 'sluice_rows'), sum(n) FILTER (WHERE relname <> 'sluice_rows'),
			(SELECT xact_commit FROM pg_stat_database WHERE datname = current_database())
			FROM (SELECT relname, n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables) AS t`).Scan(&c.rows, &c.other, &c.commits)
		return c, err
	}
	before, err := count()
	if err != nil {
		return c, err
	}
	if err := fn(); err != nil {
		return c, err
	}
	after, err := count()
	return changes{after.rows - before.rows, after.other - before.other, after.commits - before.commits}, err
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options is what the command line says.
type Options struct {
	Program string // the sluice program, for the node to be started
	Data    string // data directory; a new one if empty
	Events  int    // good events to post
	Keep    bool   // leave the node running
	Out     io.Writer
}

// defaultWait bounds each wait for something to become true.
const defaultWait = 60 * time.Second

// demo is one run.
type demo struct {
	Options
	node  *process
	api   *clients
	names names
	start time.Time
}

// names are what the demonstration makes.
type names struct{ bucket, stream, delivery, prefix, collection, keyID string }

// Run runs the demonstration. Any difference between what was acknowledged and what SQL
// finds is an error.
func Run(ctx context.Context, o Options) (err error) {
	if o.Events < 1000 {
		return errors.New("--events is at least 1000")
	}
	d := &demo{Options: o, start: time.Now(),
		names: names{bucket: "flights", stream: "departures", delivery: "departures-to-lake", prefix: "events/", collection: "airlines"}}
	if d.Data == "" {
		if d.Data, err = os.MkdirTemp("", "sluice-demo-"); err != nil {
			return err
		}
		if !d.Keep {
			defer func() { err = errors.Join(err, os.RemoveAll(d.Data)) }()
		}
	}
	defer func() {
		if d.node != nil && (err != nil || !d.Keep) {
			err = errors.Join(err, d.node.stop())
			if err == nil {
				err = os.Remove(d.node.log) // it told of nothing
			} else {
				err = fmt.Errorf("%w (the node's log is %s)", err, d.node.log)
			}
		}
	}()
	return d.run(ctx)
}

func (d *demo) run(ctx context.Context) error {
	d.say("1. A node, on free ports, in a fresh directory")
	var err error
	if d.node, err = start(ctx, d.Program, d.Data); err != nil {
		return err
	}
	d.api = newClients(d.node)
	d.note("ready in %s; AWS APIs at %s, the gateway at %s", d.node.took.Round(time.Millisecond), d.node.endpoints.AWS, d.node.endpoints.Proxy)

	d.say("2. Keys, storage, streams, the gateway, identities")
	if err := d.setUp(ctx); err != nil {
		return err
	}

	d.say("3. Events through the gateway (%d flights, and some that must be refused)", d.Events)
	if err := d.refusals(ctx); err != nil {
		return err
	}
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	seen := d.watch(watching)
	sent, err := d.post(ctx)
	if err != nil {
		return err
	}

	d.say("5. SQL over the lake")
	if err := d.delivered(ctx, len(sent.acked)); err != nil {
		return err
	}
	stopWatching()
	sql, err := d.openSQL(ctx, d.api.key)
	if err != nil {
		return err
	}
	defer func() { _ = sql.Close(context.WithoutCancel(ctx)) }() // the node goes away too
	if err := d.tables(ctx, sql); err != nil {
		return err
	}
	if err := d.answer(ctx, sql); err != nil {
		return err
	}

	d.say("6. The proof")
	if err := d.prove(ctx, sql, sent, <-seen); err != nil {
		return err
	}
	d.note("the whole took %s", time.Since(d.start).Round(time.Millisecond))
	if d.Keep {
		d.whatNext()
	}
	return nil
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, "\n"+format+"\n", args...) }

func (d *demo) note(format string, args ...any) { fmt.Fprintf(d.Out, "   "+format+"\n", args...) }

// until asks again and again, as a user would, until ok or the time is up.
func until(ctx context.Context, what string, ok func() (bool, error)) error {
	deadline := time.Now().Add(defaultWait)
	for {
		done, err := ok()
		if done {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s took longer than %s: %w", what, defaultWait, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// unexpected tells what an interface answered where something else belongs.
func unexpected(what string, got any) error {
	return fmt.Errorf("%s: got %v", what, got)
}

package node

import (
	"context"
	"io"
	"log/slog"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
)

// RunAt is Run by another clock than the machine's.
func RunAt(ctx context.Context, c *Config, now clock.Clock, logs io.Writer, ready func(handout.Endpoints)) error {
	return run(ctx, c, now, logs, ready)
}

// ListenStreams opens the listeners of a gate.stream_listen, and closes them.
func ListenStreams(value string) error {
	c := Defaults()
	c.Gate.StreamListen = value
	var f flows
	defer f.close()
	return f.listen(c)
}

// KongSettings returns what GET / of the Admin API shows of a configuration.
func KongSettings(edit func(c *Config)) (map[string]any, error) {
	c := Defaults()
	edit(c)
	if err := c.complete(); err != nil {
		return nil, err
	}
	return c.kongSettings(), nil
}

// Kinds returns every kind of plugin a node has.
func Kinds(log *slog.Logger) []gateway.Plugin {
	return newObservers(log).with(kinds(), collector.New(collector.Deps{}))
}

// Batch sends a batch of records through its message and back.
func Batch(region, stream string, records []collector.Record) (string, string, []collector.Record, error) {
	a, err := decodeAppended((&appended{region, stream, records}).encode())
	return a.Region, a.Stream, a.Records, err
}

// DecodeBatch reads a message and counts its records.
func DecodeBatch(message []byte) (int, error) {
	a, err := decodeAppended(message)
	return len(a.Records), err
}

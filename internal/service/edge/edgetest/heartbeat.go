package edgetest

import (
	"context"

	"sluice.dev/sluice/internal/service/edge"
)

// Heartbeats takes the heartbeats of agents.
type Heartbeats interface {
	Heartbeat(ctx context.Context, h *edge.Heartbeat, send func([]edge.Operation) error) error
}

// Heartbeat sends the heartbeat of an agent that gets its answer, and returns that.
func Heartbeat(ctx context.Context, s Heartbeats, h *edge.Heartbeat) (got []edge.Operation, err error) {
	err = s.Heartbeat(ctx, h, func(ops []edge.Operation) error {
		got = ops
		return nil
	})
	return got, err
}

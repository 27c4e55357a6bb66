package edge_test

import (
	"context"
	"testing"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

// BenchmarkUnchangedHeartbeat is what most heartbeats are, without HTTP: of an agent that
// runs the flow of its class.
func BenchmarkUnchangedHeartbeat(b *testing.B) {
	n := alone(b, edge.Config{})
	all := agents(1, "pumps")
	known(b, n, all)
	publish(b, n, draw(b, n, "pumps", "1 sec").ID, edge.Plan{})
	for all[0].flow == "" {
		all[0].obey(b, n, all[0].beat(b, n), "FULLY_APPLIED")
	}
	h := all[0].heartbeat()
	h.Raw = make([]byte, 400)
	b.ReportAllocs()
	for b.Loop() {
		again := *h
		if ops, err := edgetest.Heartbeat(context.Background(), n, &again); err != nil || len(ops) > 0 {
			b.Fatal(ops, err)
		}
	}
}

package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How far the heap grows before it is collected. Where little lives, the gateway's hot path
// gains more from rare collections than the memory is worth
// (docs/decisions/0003-http-data-plane.md). Where much does, as with a hundred thousand
// agents, what waits to be collected would be several times that.
const (
	collectMost  = 400      // percent of what lives
	collectLeast = 100      // percent of what lives
	collectRoom  = 64 << 20 // bytes beyond what lives, between the two
	collectLook  = 5 * time.Second
)

// collectAt is the percentage for a heap of which so many bytes live.
func collectAt(live uint64) int {
	return int(min(collectMost, max(collectLeast, collectRoom*100/max(live, 1))))
}

// collect keeps the percentage to what lives until ctx ends. It begins by giving back what
// the start has needed, such as for the derivation of keys.
func collect(ctx context.Context) {
	debug.FreeOSMemory()
	lives := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(collectLook)
	defer tick.Stop()
	for set := collectMost; ; {
		metrics.Read(lives)
		// A change stops the world for a moment, so a small one is not worth it.
		if want := collectAt(lives[0].Value.Uint64()); max(want, set)*10 > min(want, set)*11 {
			debug.SetGCPercent(want)
			set = want
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

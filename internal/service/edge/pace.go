package edge

import (
	"sync"
	"time"
)

// Pace bounds how many operations a node hands out in a time; those that are left out are
// handed out with the agents' next heartbeats.
type Pace struct {
	// Every is the time, All how many operations of any kind are handed out in it, and Kinds
	// how many of one kind, as OPERATION/operand. 0 is no bound.
	Every time.Duration
	All   int
	Kinds map[string]int
}

// pacer counts what was handed out.
type pacer struct {
	pace Pace

	mu    sync.Mutex
	since time.Time
	used  map[string]int // "" is all
}

func newPacer(p Pace) *pacer { return &pacer{pace: p, used: map[string]int{}} }

// take reports whether one more operation may be handed out now, and counts it.
func (p *pacer) take(kind string, now time.Time) bool {
	if p.pace.Every <= 0 || p.pace.All == 0 && p.pace.Kinds[kind] == 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.since) >= p.pace.Every {
		p.since = now
		clear(p.used)
	}
	for name, bound := range map[string]int{"": p.pace.All, kind: p.pace.Kinds[kind]} {
		if bound > 0 && p.used[name] >= bound {
			return false
		}
	}
	p.used[""]++
	p.used[kind]++
	return true
}

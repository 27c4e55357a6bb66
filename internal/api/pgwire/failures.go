package pgwire

import (
	"context"
	"sync"
	"time"
)

const (
	failureMemory = time.Minute     // within which wrong passwords add up
	maxFailDelay  = 5 * time.Second // of one answer
	maxFailures   = 4096            // addresses and users remembered
)

// failures slows down who guesses passwords: each wrong one from an address, or for a
// user, within a minute doubles the time until the client hears of it. Who knows the
// password never waits.
type failures struct {
	mu    sync.Mutex
	after map[string]failure
}

type failure struct {
	count int
	last  time.Time
}

// wait counts a wrong password under each key and blocks for as long as the worst demands.
func (f *failures) wait(ctx context.Context, base time.Duration, keys ...string) {
	timer := time.NewTimer(f.delay(time.Now(), base, keys...))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

func (f *failures) delay(now time.Time, base time.Duration, keys ...string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.after == nil {
		f.after = map[string]failure{}
	}
	worst := 0
	for _, key := range keys {
		x := f.after[key]
		if now.Sub(x.last) > failureMemory {
			x.count = 0
		}
		x.count, x.last = x.count+1, now
		f.after[key] = x
		worst = max(worst, x.count)
	}
	if len(f.after) > maxFailures {
		for key, x := range f.after {
			if now.Sub(x.last) > failureMemory || len(f.after) > maxFailures {
				delete(f.after, key)
			}
		}
	}
	return min(base<<min(worst-1, 10), maxFailDelay)
}

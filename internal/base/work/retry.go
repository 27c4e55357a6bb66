package work

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// Retry is the state of a loop that tries again what failed. It says how long to wait, and
// it logs: the first failure and each new kind of one, the same one again after ten, a
// hundred and a thousand times, and the success that ends it. The zero waits are those of
// Group. It is safe for concurrent use.
type Retry struct {
	Log   *slog.Logger
	What  string        // is tried, as the log says it: "delivery: writing an object"
	Level slog.Level    // of failures; LevelInfo, the zero value, stands for LevelWarn
	First time.Duration // the first wait
	Last  time.Duration // the longest wait

	mu       sync.Mutex
	failures int // in a row
	wait     time.Duration
	kind     string // of the newest failure
	times    int    // of that kind in a row
	next     int    // when it is logged again
}

// Failed notes a failure, and returns how long to wait before the next attempt.
func (r *Retry) Failed(err error, args ...any) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, last := r.First, r.Last
	if first == 0 {
		first = firstWait
	}
	if last == 0 {
		last = lastWait
	}
	r.wait = min(max(2*r.wait, first), last)
	r.failures++
	kind := kindOf(err)
	if kind != r.kind {
		r.kind, r.times, r.next = kind, 0, 1
	}
	r.times++
	if r.times >= r.next {
		r.next *= 10
		level := r.Level
		if level == slog.LevelInfo {
			level = slog.LevelWarn
		}
		args = append([]any{"error", err, "in", r.wait}, args...)
		if r.times > 1 {
			args = append(args, "times", r.times)
		}
		r.Log.Log(context.Background(), level, r.What+" failed and is tried again", args...)
	}
	return r.wait
}

// Worked notes a success.
func (r *Retry) Worked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failures > 1 {
		r.Log.Info(r.What+" works again", "failures", r.failures)
	}
	r.failures, r.wait, r.kind, r.times, r.next = 0, 0, "", 0, 0
}

// Wait is Failed, and waits; false if ctx ended before.
func (r *Retry) Wait(ctx context.Context, err error, args ...any) bool {
	t := time.NewTimer(r.Failed(err, args...))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// kindOf is an error's text without what changes from one time to the next: ports,
// offsets, times, ids.
func kindOf(err error) string {
	text, _, _ := strings.Cut(err.Error(), "\n") // of a panic, what it says
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r >= '0' && r <= '9' }), "#")
}

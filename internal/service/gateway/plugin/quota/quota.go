package quota

import (
	"context"
	"time"
)

// Period is one of the six kinds of window.
type Period int

// The periods, the shortest first.
const (
	Second Period = iota
	Minute
	Hour
	Day
	Month
	Year
	Periods // how many there are
)

// Names are the periods as configurations spell them, and Titles as headers do.
var (
	Names  = [Periods]string{"second", "minute", "hour", "day", "month", "year"}
	Titles = [Periods]string{"Second", "Minute", "Hour", "Day", "Month", "Year"}
)

// Window returns the bounds of the window a moment falls into, in seconds since 1970.
func (p Period) Window(now time.Time) (start, end int64) {
	switch p {
	case Second, Minute, Hour, Day:
		length := [...]int64{1, 60, 3600, 86400}[p]
		start = now.Unix() - now.Unix()%length
		return start, start + length
	case Month:
		t := now.UTC()
		first := time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
		return first.Unix(), first.AddDate(0, 1, 0).Unix()
	}
	first := time.Date(now.UTC().Year(), 1, 1, 0, 0, 0, 0, time.UTC)
	return first.Unix(), first.AddDate(1, 0, 0).Unix()
}

// Subject is who is counted, and by which plugin entity. The strings may lie in an
// exchange's memory.
type Subject struct{ Plugin, Who string }

// Limits are the limits by period; 0 for none.
type Limits [Periods]int64

// Longest returns the longest limited period.
func (l *Limits) Longest() Period {
	for p := Year; p > Second; p-- {
		if l[p] != 0 {
			return p
		}
	}
	return Second
}

// Usage is what a call left, by limited period.
type Usage struct {
	Left  [Periods]int64 // not negative
	Reset [Periods]int64 // seconds until the window ends, at least 1
	Full  Period         // which had no room, so that nothing was taken; -1 for none
}

// Counter counts. Implementations are safe for any number of callers.
type Counter interface {
	// Take counts n in every limited window, or in none where Usage.Full says so.
	Take(ctx context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error)
	// Add counts n though a limit be exceeded; 0 looks only.
	Add(ctx context.Context, s Subject, l *Limits, n int64, now time.Time) (Usage, error)
	// Close gives back what is held.
	Close()
}

// tally is one subject's counts, each in the window that began at start.
type tally struct {
	start, count [Periods]int64
}

// roll begins the windows that are due. It never goes back: a clock that steps back must
// not reset a count.
func (t *tally) roll(l *Limits, now time.Time, u *Usage) {
	for p := range Periods {
		if l[p] == 0 {
			continue
		}
		start, end := p.Window(now)
		if t.start[p] < start {
			t.start[p], t.count[p] = start, 0
		}
		u.Reset[p] = max(end-now.Unix(), 1)
	}
}

// take counts n where there is room in every window, or in any case by force, and fills
// in what is left.
func (t *tally) take(l *Limits, n int64, force bool, u *Usage) {
	u.Full = -1
	for p := range Periods {
		if l[p] != 0 && t.count[p]+n > l[p] {
			u.Full = p
		}
	}
	counted := force || u.Full < 0
	for p := range Periods {
		if l[p] == 0 {
			continue
		}
		if counted {
			t.count[p] += n
		}
		u.Left[p] = max(l[p]-t.count[p], 0)
	}
}

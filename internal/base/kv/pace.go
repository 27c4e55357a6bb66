package kv

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"sluice.dev/sluice/internal/base/work"
)

// Pebble tries a flush or a compaction that failed again at once, hundreds of times a
// second, and logs each. These bounds are on the time between two attempts.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 30 * time.Second
)

// pace slows down the background work that fails.
type pace struct {
	retry       work.Retry // of what is logged
	flushes     pause
	compactions pause
}

func newPace(log *slog.Logger) *pace {
	return &pace{retry: work.Retry{Log: log, What: "index: work in the background", Level: slog.LevelError, First: firstPause, Last: lastPause}}
}

// pause is how long the next attempt of one kind of work has to wait.
type pause struct {
	until atomic.Int64 // unix nanoseconds
	mu    sync.Mutex
	wait  time.Duration
}

func (p *pause) note(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.wait = 0
		p.until.Store(0)
		return
	}
	p.wait = min(max(2*p.wait, firstPause), lastPause)
	p.until.Store(time.Now().Add(p.wait).UnixNano())
}

func (p *pause) left() time.Duration {
	if at := p.until.Load(); at > 0 {
		return time.Until(time.Unix(0, at))
	}
	return 0
}

func (p *pace) listen(l *pebble.EventListener) {
	l.BackgroundError = func(err error) {
		if !errors.Is(err, pebble.ErrClosed) && !pebble.IsCorruptionError(err) { // that is reported by its file
			p.retry.Failed(err)
		}
	}
	l.FlushEnd = func(info pebble.FlushInfo) { p.flushes.note(info.Err); p.worked(info.Err) }
	l.CompactionEnd = func(info pebble.CompactionInfo) { p.compactions.note(info.Err); p.worked(info.Err) }
}

func (p *pace) worked(err error) {
	if err == nil && p.flushes.left() <= 0 && p.compactions.left() <= 0 {
		p.retry.Worked()
	}
}

// slowFS makes a flush that failed wait before it makes its next table.
type slowFS struct {
	vfs.FS
	pace *pace
	stop context.Context //nolint:containedctx // ends with the map
}

func (s *slowFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if left := s.pace.flushes.left(); left > 0 && category == flushCategory {
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-s.stop.Done():
			return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrClosed}
		case <-t.C:
		}
	}
	return s.FS.Create(name, category)
}

func (s *slowFS) Unwrap() vfs.FS { return s.FS }

// flushCategory is how Pebble names the tables that it flushes.
const flushCategory = vfs.DiskWriteCategory("pebble-memtable-flush")

// scheduler makes compactions that failed wait.
type scheduler struct {
	*pebble.ConcurrencyLimitScheduler
	pace *pace
	stop chan struct{}
	done sync.WaitGroup
}

func newScheduler(p *pace) *scheduler {
	// Its own granter would start a compaction again within 100 ms; ours does it below.
	return &scheduler{pebble.NewConcurrencyLimitSchedulerWithNoPeriodicGrantingForTest(), p, make(chan struct{}), sync.WaitGroup{}}
}

// held is the map as the scheduler sees it: it allows no compaction during a pause.
type held struct {
	pebble.DBForCompaction
	pace *pace
}

func (h held) GetAllowedWithoutPermission() int {
	if h.pace.compactions.left() > 0 {
		return 0
	}
	return h.DBForCompaction.GetAllowedWithoutPermission()
}

func (s *scheduler) Register(n int, db pebble.DBForCompaction) {
	s.ConcurrencyLimitScheduler.Register(n, held{db, s.pace})
	s.done.Go(func() {
		tick := time.NewTicker(firstPause)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				// Giving back a grant hands it to what waits for one.
				if granted, g := s.TrySchedule(); granted {
					g.Done()
				}
			}
		}
	})
}

func (s *scheduler) Unregister() {
	close(s.stop)
	s.done.Wait()
	s.ConcurrencyLimitScheduler.Unregister()
}

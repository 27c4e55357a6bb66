package segment

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Free returns how many bytes the file system of dir has left for this process.
func Free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, nil
}

// Guard refuses writes before the disk is so full that the indexes beside the segments
// could no longer be kept. It asks the file system every hundred milliseconds, and when
// what was taken since may have reached the reserve. It logs when it begins to refuse, and
// when what it refused would fit again, once each.
type Guard struct {
	dir     string
	reserve int64
	now     func() time.Time
	log     *slog.Logger
	free    func(dir string) (int64, error)
	checked atomic.Int64 // unix nanoseconds
	left    atomic.Int64 // bytes above the reserve, as far as known

	mu   sync.Mutex
	full bool
	room int64 // bytes above the reserve from which on the disk counts as not full
}

// NewGuard watches the file system of dir; reserve is how many bytes must stay free.
func NewGuard(dir string, reserve int64, now func() time.Time, log *slog.Logger) *Guard {
	return &Guard{dir: dir, reserve: reserve, now: now, log: log, free: Free}
}

// Check returns DiskFull while less than the reserve is free.
func (g *Guard) Check() error { return g.Take(0) }

// Take announces a write of n bytes; DiskFull if it would reach into the reserve.
func (g *Guard) Take(n int64) error {
	now := g.now().UnixNano()
	if left := g.left.Add(-n); left < 0 || now-g.checked.Load() > int64(100*time.Millisecond) {
		free, err := g.free(g.dir)
		if err != nil {
			return Broken.Wrap(err, "the disk does not answer")
		}
		g.checked.Store(now)
		g.left.Store(free - g.reserve - n)
		refused := free-g.reserve < n || free < g.reserve
		g.report(free, n, refused)
		if refused {
			return DiskFull.New("the disk is full: less than %d MiB would be left, and nothing was written", g.reserve>>20)
		}
	}
	return nil
}

// report logs when the disk becomes full and when it is no longer. A disk that stays near
// its reserve, where small writes fit and large ones do not, stays full.
func (g *Guard) report(free, n int64, refused bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case refused && !g.full:
		g.full, g.room = true, max(n, g.reserve/16)
		g.log.Warn("the disk is full: writes are refused and reads go on; free some space", "data", g.dir, "free_bytes", free, "reserve_bytes", g.reserve)
	case refused:
		g.room = max(n, g.room)
	case g.full && free-g.reserve >= g.room:
		g.full = false
		g.log.Info("the disk has room again: writes are accepted", "data", g.dir, "free_bytes", free, "reserve_bytes", g.reserve)
	}
}

// Run asks the file system every second until ctx ends, so that the log says what the disk
// is like on a node without writes too.
func (g *Guard) Run(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := g.Check(); Broken.Is(err) {
			return err // the caller logs it, and tries again
		}
	}
}

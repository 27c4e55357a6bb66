package segment_test

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/base/segment"
)

// A full disk is reported once, however many writes it refuses, and once when there is room
// again; a disk that stays near its reserve is not reported anew for each write that fits.
func TestGuardReportsAFullDiskOnce(t *testing.T) {
	const reserve = 160 << 20
	var out strings.Builder
	free := int64(reserve + 10<<20)
	g := segment.NewGuard("/data", reserve, time.Now, slog.New(slog.NewTextHandler(&out, nil)))
	g.SetFree(func() int64 { return free })
	expect := func(what string, warnings, infos int) {
		t.Helper()
		if w, i := strings.Count(out.String(), "level=WARN"), strings.Count(out.String(), "level=INFO"); w != warnings || i != infos {
			t.Errorf("%s: %d warnings and %d notes, want %d and %d:\n%s", what, w, i, warnings, infos, out.String())
		}
	}
	synctest.Test(t, func(t *testing.T) {
		later := func() { time.Sleep(time.Second) } // the guard asks again
		if err := g.Take(1 << 20); err != nil {
			t.Error(err)
		}
		expect("with room", 0, 0)
		for range 100 {
			if err := g.Take(16 << 20); !segment.DiskFull.Is(err) {
				t.Errorf("a write into the reserve: %v", err)
			}
			later()
			if err := g.Check(); err != nil { // there is room for small writes
				t.Error(err)
			}
		}
		expect("near the reserve", 1, 0)
		free = reserve - 1
		later()
		if err := g.Check(); !segment.DiskFull.Is(err) {
			t.Errorf("below the reserve: %v", err)
		}
		expect("below the reserve", 1, 0)
		free = reserve + 20<<20
		for range 3 {
			later()
			if err := g.Check(); err != nil {
				t.Error(err)
			}
		}
		expect("with room again", 1, 1)
		if !strings.Contains(out.String(), "data=/data free_bytes=178257920 reserve_bytes=167772160") {
			t.Errorf("the log does not name the disk, or how full it is:\n%s", out.String())
		}
	})
}

// The log says that the disk is full, and that it no longer is, without a write too.
func TestGuardWatchesAnIdleNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		var mu sync.Mutex
		free := int64(1)
		g := segment.NewGuard("/data", 2, time.Now, slog.New(slog.NewTextHandler(&out, nil)))
		g.SetFree(func() int64 { mu.Lock(); defer mu.Unlock(); return free })
		go func() {
			if err := g.Run(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		for _, step := range []struct {
			free int64
			says string
		}{{1, "level=WARN"}, {3, "level=INFO"}} {
			mu.Lock()
			free = step.free
			mu.Unlock()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, step.says) {
				t.Errorf("with %d bytes free: %q", step.free, got)
			}
			out.Reset()
		}
	})
}

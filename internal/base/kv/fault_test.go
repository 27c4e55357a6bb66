package kv_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"sluice.dev/sluice/internal/base/kv"
)

// lockedBuffer is what background work logs to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// fullFor is a disk that takes no table while full is set.
type fullFor struct {
	full     atomic.Bool
	attempts atomic.Int64
}

func (f *fullFor) MaybeError(op errorfs.Op) error {
	if op.Kind != errorfs.OpCreate || !strings.HasSuffix(op.Path, ".sst") {
		return nil
	}
	f.attempts.Add(1)
	if f.full.Load() {
		return syscall.ENOSPC
	}
	return nil
}

func (f *fullFor) String() string { return "full" }

// A flush onto a full disk is tried again more and more slowly, is logged once, and succeeds
// when there is room.
func TestFlushOntoAFullDisk(t *testing.T) {
	fault := new(fullFor)
	var logged lockedBuffer
	disk := vfs.NewCrashableMem()
	db, err := kv.OpenOn(errorfs.Wrap(disk, fault), kv.Config{Dir: "/index", Key: [32]byte{1}, Log: slog.New(slog.NewTextHandler(&logged, nil))})
	if err != nil {
		t.Fatal(err)
	}
	fault.full.Store(true)
	value := bytes.Repeat([]byte{1}, 100_000)
	for n := range 100 { // more than a table in memory holds, and less than two
		if err := db.Set(entry(n), value); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(20 * time.Second)
	for fault.attempts.Load() < 3 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	began, before := time.Now(), fault.attempts.Load()
	time.Sleep(700 * time.Millisecond)
	if tried := fault.attempts.Load() - before; before < 3 || tried > 10 {
		t.Errorf("%d attempts in %v after the first %d", tried, time.Since(began), before)
	}
	if lines := strings.Count(logged.String(), "\n"); lines > 2 || !strings.Contains(logged.String(), "no space") {
		t.Errorf("%d lines were logged:\n%.2000s", lines, logged.String())
	}
	fault.full.Store(false)
	for n := range 100 {
		if err := db.Set(entry(n), value); err != nil { // a second table in memory waits for the first
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// A disk that fails a write of the log fails the commit that waits for it, or ends the
// process; nothing is acknowledged that is not there after a crash.
func TestNothingIsAcknowledgedThatIsLost(t *testing.T) {
	for _, at := range []int64{1, 5, 20} {
		disk := vfs.NewCrashableMem()
		cfg := kv.Config{Dir: "/index", Key: [32]byte{1}}
		fault := &failingLog{after: at}
		db, err := kv.OpenOn(errorfs.Wrap(disk, fault), cfg)
		if err != nil {
			t.Fatal(err)
		}
		fault.on.Store(true)
		acked := 0
		func() {
			defer func() { _ = recover() }() // what ends the process
			for n := range 50 {
				if db.Set(entry(n), []byte("v")) != nil {
					return
				}
				acked++
			}
		}()
		if acked == 50 {
			t.Fatal("no fault came")
		}
		cut := disk.CrashClone(vfs.CrashCloneCfg{})
		cfg.Exists = true
		after, err := kv.OpenOn(cut, cfg)
		if err != nil {
			t.Fatal(err)
		}
		for n := range acked {
			if _, ok, err := after.Get(entry(n)); !ok || err != nil {
				t.Errorf("entry %d of %d acknowledged ones: %v, %v", n, acked, ok, err)
			}
		}
		if err := after.Close(); err != nil {
			t.Error(err)
		}
	}
}

// failingLog fails syncs of the log from one on.
type failingLog struct {
	on    atomic.Bool
	n     atomic.Int64
	after int64
}

func (f *failingLog) MaybeError(op errorfs.Op) error {
	if !f.on.Load() || !strings.HasSuffix(op.Path, ".log") || op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData {
		return nil
	}
	if f.n.Add(1) > f.after {
		return syscall.EIO
	}
	return nil
}

func (f *failingLog) String() string { return "failing log" }

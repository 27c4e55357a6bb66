package kv_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"sluice.dev/sluice/internal/base/kv"
)

// The power is cut again and again, with a part of what was not yet synced on the disk and
// the rest not. What was acknowledged is there; a batch is there whole or not at all.
func TestPowerCuts(t *testing.T) {
	disk := vfs.NewCrashableMem()
	cfg := kv.Config{Dir: "/index", Key: [32]byte{3}}
	acked := map[string]string{}
	next := 0
	for round := range 25 {
		if round > 0 { // what a power cut tears is no damage
			cfg.Exists = true
			if damage, err := kv.InspectOn(disk, cfg); damage != nil || err != nil {
				t.Fatalf("round %d: %v, %v", round, damage, err)
			}
		}
		db, err := kv.OpenOn(disk, cfg)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		for key, want := range acked {
			got, ok, err := db.Get([]byte(key))
			if err != nil || !ok || string(got) != want {
				t.Fatalf("round %d: %s is %q (%v, %v), want %q", round, key, got, ok, err, want)
			}
		}
		halves := map[string]int{}
		for e, err := range db.Scan(t.Context(), kv.Prefix([]byte("pair/"))) {
			if err != nil {
				t.Fatal(err)
			}
			halves[string(e.Key[:len("pair/00000000")])]++
		}
		for pair, n := range halves {
			if n != 2 {
				t.Fatalf("round %d: %s has %d halves", round, pair, n)
			}
		}
		for range 1 + rand.IntN(300) {
			next++
			key, value := fmt.Sprintf("k/%04d", rand.IntN(500)), fmt.Sprintf("value %d", next)
			if rand.IntN(4) == 0 { // not waited for: the next acknowledgement covers it
				b := db.NewBatch()
				b.Set(fmt.Appendf(nil, "pair/%08d/a", next), []byte(value))
				b.Set(fmt.Appendf(nil, "pair/%08d/b", next), []byte(value))
				if err := b.CommitUnsynced(); err != nil {
					t.Fatal(err)
				}
				continue
			}
			if err := db.Set([]byte(key), []byte(value)); err != nil {
				t.Fatal(err)
			}
			acked[key] = value
		}
		cut := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rand.IntN(101), RNG: rand.New(rand.NewPCG(uint64(round), rand.Uint64()))})
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		disk = cut
	}
}

package engine_test

import (
	"strconv"
	"testing"

	"sluice.dev/sluice/internal/agent/engine"
)

// BenchmarkFlow moves flow files from a source over a processor to a sink; each is one synced
// write and two moves.
func BenchmarkFlow(b *testing.B) {
	for _, tasks := range []int{1, 8} {
		b.Run("tasks="+strconv.Itoa(tasks), func(b *testing.B) {
			r := newBench()
			e, err := engine.Open(b.Context(), engine.Config{Dir: b.TempDir()}, engine.Deps{Definitions: r.definitions(), Log: discard, Clock: system})
			if err != nil {
				b.Fatal(err)
			}
			defer e.Close()
			f := line("!")
			f.Threads = 24
			for i := range f.Root.Processors {
				f.Root.Processors[i].Tasks, f.Root.Processors[i].Yield = tasks, "1 ms"
			}
			if err := e.Apply(b.Context(), f); err != nil {
				b.Fatal(err)
			}
			go func() {
				for range b.N {
					r.in <- "an event of some bytes"
				}
			}()
			for range b.N {
				<-r.out
			}
		})
	}
}

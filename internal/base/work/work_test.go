package work_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/work"
)

func TestALoopThatFailsIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := work.New(slog.New(slog.DiscardHandler), clock.System{})
		runs := 0
		g.Go("shaky", func(ctx context.Context) error {
			runs++
			switch runs {
			case 1:
				return errors.New("no luck")
			case 2:
				panic("worse")
			}
			<-ctx.Done()
			return nil
		})
		time.Sleep(time.Second)
		synctest.Wait()
		st := g.States()[0]
		if runs != 3 || !st.Running || st.Restarts != 2 || st.LastError == "" {
			t.Fatalf("after %d runs: %+v", runs, st)
		}
		g.Stop()
		g.Stop() // twice is as once
		if st := g.States()[0]; st.Running {
			t.Fatalf("still running after Stop: %+v", st)
		}
	})
}

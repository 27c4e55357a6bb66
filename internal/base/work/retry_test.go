package work_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice.dev/sluice/internal/base/work"
)

func TestRetrySaysTheSameThingOnce(t *testing.T) {
	var out strings.Builder
	r := work.Retry{Log: slog.New(slog.NewTextHandler(&out, nil)), What: "writing", First: time.Second, Last: time.Minute}
	var waits []time.Duration
	for n := range 100_000 {
		waits = append(waits, r.Failed(fmt.Errorf("no space left at byte %d", n)))
	}
	if lines := strings.Count(out.String(), "\n"); lines != 6 || !strings.Contains(out.String(), "times=100000") {
		t.Errorf("%d lines, want 6 for 1, 10, … 100,000 times:\n%s", lines, out.String())
	}
	if waits[0] != time.Second || waits[1] != 2*time.Second || waits[99_999] != time.Minute {
		t.Errorf("waits %v, %v … %v", waits[0], waits[1], waits[99_999])
	}
	out.Reset()
	r.Failed(errors.New("permission denied"))
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("another failure is not logged at once: %q", out.String())
	}
	out.Reset()
	r.Worked()
	r.Worked()
	if got := out.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "failures=100001") {
		t.Errorf("the end is logged as %q", got)
	}
	if wait := r.Failed(errors.New("x")); wait != time.Second {
		t.Errorf("after a success the first wait is %v", wait)
	}
}

func TestRetryWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := work.Retry{Log: slog.New(slog.DiscardHandler), What: "x", First: time.Hour, Last: time.Hour}
		began := time.Now()
		if !r.Wait(t.Context(), errors.New("x")) || time.Since(began) != time.Hour {
			t.Errorf("waited %v", time.Since(began))
		}
	})
}

package fields_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestDurations(t *testing.T) {
	const longest = 100 * 365 * 24 * time.Hour
	for n, want := range map[float64]time.Duration{0: 0, 1.5: 1500 * time.Millisecond, 9e15: longest, 1e300: longest, -1: -time.Second, -9e15: -longest} {
		if got := fields.Seconds(schema.Record{"n": n}, "n"); got != want {
			t.Errorf("%v seconds: %v", n, got)
		}
		if got := fields.Duration(schema.Record{"n": n * 1000}, "n"); got != want {
			t.Errorf("%v milliseconds: %v", n*1000, got)
		}
	}
}

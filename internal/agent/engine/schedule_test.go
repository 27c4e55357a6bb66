package engine_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/internal/agent/engine"
)

func TestCron(t *testing.T) {
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC) // a Saturday
	for spec, want := range map[string]string{
		"* * * * * ?":        "2026-11-21T10:00:01Z",
		"0 0/15 * * * ?":     "2026-11-21T10:15:00Z",
		"0 0 12 * * ?":       "2026-11-21T12:00:00Z",
		"0 30 9 ? * MON-FRI": "2026-11-23T09:30:00Z",
		"0 0 0 1 1 ? 2030":   "2030-01-01T00:00:00Z",
		"0 0 0 L * ?":        "2026-11-30T00:00:00Z",
		"30 0 0 29 FEB ?":    "2028-02-29T00:00:30Z",
		"0 0 8 ? * SAT,SUN":  "2026-11-22T08:00:00Z",
		"0 0 0 ? * FRI-MON":  "2026-11-22T00:00:00Z",
		"0 0 0 30 2 ?":       "0001-01-01T00:00:00Z",
		"0 0 0 1-7/3 DEC *":  "2026-12-01T00:00:00Z",
		"15,45 * * * * * *":  "2026-11-21T10:00:15Z",
	} {
		got, err := engine.NextCron(spec, at)
		if err != nil || got.Format(time.RFC3339) != want {
			t.Errorf("%s: %s, %v, want %s", spec, got.Format(time.RFC3339), err, want)
		}
	}
	for _, spec := range []string{"", "* * * * *", "60 * * * * ?", "x * * * * ?", "*/0 * * * * ?", "0 0 0 32 * ?", "0 0 0 ? * MOO", "0 0 0 1 1 ? 1"} {
		if _, err := engine.NextCron(spec, at); err == nil {
			t.Errorf("%q is a schedule", spec)
		}
	}
}

func TestUnits(t *testing.T) {
	for s, want := range map[string]time.Duration{"30 sec": 30 * time.Second, "5 mins": 5 * time.Minute, "100ms": 100 * time.Millisecond, "1.5 hours": 90 * time.Minute, "0 sec": 0, " 2 Days ": 48 * time.Hour} {
		if got, err := engine.ParseDuration(s); got != want || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]int64{"1 GB": 1 << 30, "64KB": 64 << 10, "10 B": 10, "7": 7, "1.5 mb": 3 << 19} {
		if got, err := engine.ParseSize(s); got != want || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "30", "-1 sec", "1 parsec", "999999999999 weeks"} {
		if _, err := engine.ParseDuration(s); err == nil {
			t.Errorf("%q is a time span", s)
		}
	}
	for _, s := range []string{"", "1 PBB", "-1", "999999999999999 TB"} {
		if _, err := engine.ParseSize(s); err == nil {
			t.Errorf("%q is a size", s)
		}
	}
}

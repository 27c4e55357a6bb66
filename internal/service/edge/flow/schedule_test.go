package flow_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"sluice.dev/sluice/internal/service/edge/flow"
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
		"0 0 0 L-2 * ?":      "2026-11-28T00:00:00Z",
		"0 0 0 15W * ?":      "2026-12-15T00:00:00Z",
		"0 0 0 1W AUG ?":     "2027-08-02T00:00:00Z", // the 1st is a Sunday
		"0 0 0 1W 5 ?":       "2027-05-03T00:00:00Z", // a Saturday, and no day goes into the month before
		"0 0 0 LW 2 ?":       "2027-02-26T00:00:00Z", // the 28th is a Sunday
		"0 0 0 31W 6 ?":      "2027-06-30T00:00:00Z",
		"0 0 0 ? * FRIL":     "2026-11-27T00:00:00Z",
		"0 0 0 ? * 6#3":      "2026-12-18T00:00:00Z",
		"0 0 0 ? * 1#5":      "2026-11-29T00:00:00Z",
		"0 0 0 ? * L":        "2026-11-28T00:00:00Z",
		"0 0 0 ? * 0":        "2026-11-22T00:00:00Z",
		"0 0 22-2/2 * * ?":   "2026-11-21T22:00:00Z",
	} {
		c, err := flow.ParseCron(spec)
		if err != nil {
			t.Errorf("%s: %v", spec, err)
		} else if got := c.Next(at).Format(time.RFC3339); got != want {
			t.Errorf("%s: %s, want %s", spec, got, want)
		}
	}
	for _, spec := range []string{"", "* * * * *", "60 * * * * ?", "x * * * * ?", "*/0 * * * * ?", "0 0 0 32 * ?", "0 0 0 ? * MOO", "0 0 0 1 1 ? 1",
		"0 0 0 6#3 * ?", "0 0 0 ? * LW", "0 0 0 L-x * ?", "0 0 0 LX * ?", "0 0 0 W * ?", "0 0 0 ? * 8#1", "0 0 0 ? * #", "0 0 0 ? * 15W"} {
		if _, err := flow.ParseCron(spec); err == nil {
			t.Errorf("%q is a schedule", spec)
		}
	}
}

// Clocks that go forward at midnight, or are half an hour off, do not keep a schedule from
// its next time.
func TestCronWhereClocksDiffer(t *testing.T) {
	for _, c := range []struct{ zone, from, spec, want string }{
		{"America/Santiago", "2026-09-05T10:00:00-04:00", "0 0 12 ? * SUN", "2026-09-06T12:00:00-03:00"},
		{"America/Santiago", "2026-09-05T10:00:00-04:00", "0 30 1 6 9 ?", "2026-09-06T01:30:00-03:00"},
		{"Asia/Kolkata", "2026-11-21T10:10:00+05:30", "0 0 11 * * ?", "2026-11-21T11:00:00+05:30"},
		{"America/New_York", "2026-03-07T12:00:00-05:00", "0 0 3 * * ?", "2026-03-08T03:00:00-04:00"},
	} {
		zone, err := time.LoadLocation(c.zone)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		schedule, err := flow.ParseCron(c.spec)
		if err != nil {
			t.Fatal(err)
		}
		if got := schedule.Next(at.In(zone)).Format(time.RFC3339); got != c.want {
			t.Errorf("%s in %s: %s, want %s", c.spec, c.zone, got, c.want)
		}
	}
}

func TestUnits(t *testing.T) {
	for s, want := range map[string]time.Duration{"30 sec": 30 * time.Second, "5 mins": 5 * time.Minute, "100ms": 100 * time.Millisecond, "1.5 hours": 90 * time.Minute, "0 sec": 0, " 2 Days ": 48 * time.Hour} {
		if got, err := flow.ParseDuration(s); got != want || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for s, want := range map[string]int64{"1 GB": 1 << 30, "64KB": 64 << 10, "10 B": 10, "7": 7, "1.5 mb": 3 << 19} {
		if got, err := flow.ParseSize(s); got != want || err != nil {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "30", "-1 sec", "1 parsec", "999999999999 weeks"} {
		if _, err := flow.ParseDuration(s); err == nil {
			t.Errorf("%q is a time span", s)
		}
	}
	for _, s := range []string{"", "1 PBB", "-1", "999999999999999 TB"} {
		if _, err := flow.ParseSize(s); err == nil {
			t.Errorf("%q is a size", s)
		}
	}
}

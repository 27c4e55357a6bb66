package pgtext_test

import (
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/warehouse/pgtext"
)

// FuzzRead checks that no text brings the readers down, and that what they read they read
// again from the text that is written for it.
func FuzzRead(f *testing.F) {
	for _, s := range []string{"2001-02-03", "17 Dec 1997", "J2451187", "0044-03-15 BC", "1/2/16 3:04 PM PST", "2001-02-03T04:05:06.789+05:30", "infinity", "1 year -2 mons +3 days 04:05:06", "P1Y2M", "1-2", "now", "24:00", "+", "::", "jan-", "j", "0.e"} {
		f.Add(s)
	}
	in := pgtext.Reader{Zone: time.UTC, Now: func() time.Time { return time.Unix(1e9, 0) }}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := in.Date(s); err == nil {
			if again, err := in.Date(string(pgtext.AppendDate(nil, v))); err != nil || again != v {
				t.Errorf("%q is day %d, then %d (%v)", s, v, again, err)
			}
		}
		if v, err := in.Timestamp(s); err == nil {
			if again, err := in.Timestamp(string(pgtext.AppendTimestamp(nil, v, nil))); err != nil || again != v {
				t.Errorf("%q is %d, then %d (%v)", s, v, again, err)
			}
		}
		if v, err := in.TimestampTZ(s); err == nil {
			if again, err := in.TimestampTZ(string(pgtext.AppendTimestamp(nil, v, time.UTC))); err != nil || again != v {
				t.Errorf("%q is %d, then %d (%v)", s, v, again, err)
			}
		}
		if v, err := in.Time(s); err == nil {
			if again, err := in.Time(string(pgtext.AppendTime(nil, v))); err != nil || again != v {
				t.Errorf("%q is %d, then %d (%v)", s, v, again, err)
			}
		}
		if v, err := pgtext.ParseInterval(s); err == nil {
			if again, err := pgtext.ParseInterval(string(pgtext.AppendInterval(nil, v.Months, v.Days, v.Micros))); err != nil || again != v {
				t.Errorf("%q is %v, then %v (%v)", s, v, again, err)
			}
		}
		_, _ = pgtext.Boolean(s)
		_, _ = pgtext.Bytes([]byte(s))
	})
}

// Long spans of time are exact, and as long as what is written for them.
func TestLongIntervals(t *testing.T) {
	for text, want := range map[string]string{
		"7000000000000":             "1944444444:26:40",
		"1944444444:26:40":          "1944444444:26:40",
		"2562047788:00:54.775807":   "2562047788:00:54.775807",
		"-2562047788:00:54.775807":  "-2562047788:00:54.775807",
		"3000000:00:00.000001":      "3000000:00:00.000001",
		"1 day -3000000:00:00.5":    "1 day -3000000:00:00.5",
		"3000000:00:00.000001 ago":  "-3000000:00:00.000001",
		"2562047788:00:54.775808":   "",
		"99999999999999999999:00":   "",
		"2562047788:00:54 1 second": "",
	} {
		v, err := pgtext.ParseInterval(text)
		got := ""
		if err == nil {
			got = string(pgtext.AppendInterval(nil, v.Months, v.Days, v.Micros))
		}
		if got != want {
			t.Errorf("%s is %q (%v), want %q", text, got, err, want)
		}
	}
}

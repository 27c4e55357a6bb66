package engine

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// cron is a schedule in Quartz' form: second, minute, hour, day of month, month, day of week
// and perhaps a year. Of its signs * ? , - / and names are understood, and L for the last day
// of a month.
type cron struct {
	second, minute, hour, day, month, weekday uint64       // a bit for each value
	years                                     map[int]bool // nil for any
	lastDay                                   bool
}

var (
	monthNames   = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}
	weekdayNames = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
)

func parseCron(s string) (*cron, error) {
	fields := strings.Fields(s)
	if len(fields) != 6 && len(fields) != 7 {
		return nil, fmt.Errorf("%q is not a cron schedule of 6 or 7 fields, seconds first", s)
	}
	c := &cron{}
	if fields[3] == "L" {
		c.lastDay, fields[3] = true, "*"
	}
	for i, f := range []struct {
		into      *uint64
		low, high int
		names     []string
	}{{&c.second, 0, 59, nil}, {&c.minute, 0, 59, nil}, {&c.hour, 0, 23, nil}, {&c.day, 1, 31, nil}, {&c.month, 1, 12, monthNames}, {&c.weekday, 1, 7, weekdayNames}} {
		err := cronField(fields[i], f.low, f.high, f.names, func(n int) { *f.into |= 1 << n })
		if err != nil {
			return nil, fmt.Errorf("cron schedule %q: %w", s, err)
		}
	}
	if len(fields) == 7 && fields[6] != "*" {
		c.years = map[int]bool{}
		if err := cronField(fields[6], 1970, 2199, nil, func(n int) { c.years[n] = true }); err != nil {
			return nil, fmt.Errorf("cron schedule %q: %w", s, err)
		}
	}
	return c, nil
}

func cronField(field string, low, high int, names []string, set func(int)) error {
	value := func(s string) (int, error) {
		for i, name := range names {
			if strings.EqualFold(s, name) {
				return low + i, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is not of %d to %d", s, low, high)
		}
		return n, nil
	}
	for item := range strings.SplitSeq(field, ",") {
		span, by, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(by)
			if err != nil || n < 1 {
				return fmt.Errorf("%q is no step", by)
			}
			step = n
		}
		from, to := low, high
		if span != "*" && span != "?" {
			a, b, ranged := strings.Cut(span, "-")
			var err error
			if from, err = value(a); err != nil {
				return err
			}
			switch {
			case ranged:
				if to, err = value(b); err != nil {
					return err
				}
			case !stepped:
				to = from
			}
			if to < from { // FRI-MON
				for n := from; n <= high; n += step {
					set(n)
				}
				from = low
			}
		}
		for n := from; n <= to; n += step {
			set(n)
		}
	}
	return nil
}

// next is the first time of the schedule after t; zero if there is none in the next years.
func (c *cron) next(t time.Time) time.Time {
	t = t.Truncate(time.Second).Add(time.Second)
	limit := t.AddDate(8, 0, 0)
	for t.Before(limit) {
		switch {
		case c.years != nil && !c.years[t.Year()]:
			t = time.Date(t.Year()+1, 1, 1, 0, 0, 0, 0, t.Location())
		case c.month&(1<<int(t.Month())) == 0:
			t = time.Date(t.Year(), t.Month()+1, 1, 0, 0, 0, 0, t.Location())
		case !c.onDay(t):
			t = time.Date(t.Year(), t.Month(), t.Day()+1, 0, 0, 0, 0, t.Location())
		case c.hour&(1<<t.Hour()) == 0:
			t = t.Truncate(time.Hour).Add(time.Hour)
		case c.minute&(1<<t.Minute()) == 0:
			t = t.Truncate(time.Minute).Add(time.Minute)
		case c.second&(1<<t.Second()) == 0:
			t = t.Add(time.Second)
		default:
			return t
		}
	}
	return time.Time{}
}

func (c *cron) onDay(t time.Time) bool {
	if c.lastDay && t.AddDate(0, 0, 1).Day() != 1 {
		return false
	}
	return c.day&(1<<t.Day()) != 0 && c.weekday&(1<<(int(t.Weekday())+1)) != 0
}

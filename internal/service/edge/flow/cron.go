package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Cron is a schedule in the form of Quartz, which both kinds of agents use: second, minute,
// hour, day of the month, month, day of the week and perhaps a year. Days of the week count
// from 1 for Sunday.
type Cron struct {
	values [6]uint64    // of the fields but the year, a bit for each
	years  map[int]bool // nil for any
	days   []func(time.Time) bool
	weeks  []func(time.Time) bool // days of the week that only a month's calendar tells, as days are days of the month
}

// The fields, by their place.
const (
	cronSecond = iota
	cronMinute
	cronHour
	cronDay
	cronMonth
	cronWeekday
	cronYear
)

type cronField struct {
	name      string
	low, high int
	words     []string // of the values from low on
}

var cronFields = [...]cronField{
	cronSecond:  {"seconds", 0, 59, nil},
	cronMinute:  {"minutes", 0, 59, nil},
	cronHour:    {"hours", 0, 23, nil},
	cronDay:     {"day of the month", 1, 31, nil},
	cronMonth:   {"month", 1, 12, strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC")},
	cronWeekday: {"day of the week", 1, 7, strings.Fields("SUN MON TUE WED THU FRI SAT")},
	cronYear:    {"year", 1970, 2199, nil},
}

// ParseCron reads a schedule.
func ParseCron(s string) (*Cron, error) {
	fields := strings.Fields(s)
	if n := len(fields); n != cronYear && n != cronYear+1 {
		return nil, fmt.Errorf("it has %d fields, not 6 or 7", n)
	}
	c := &Cron{}
	for i, text := range fields {
		if i == cronYear && text == "*" {
			continue
		}
		for part := range strings.SplitSeq(strings.ToUpper(text), ",") {
			if !c.day(i, part) && !c.span(i, part) {
				return nil, fmt.Errorf("%q is wrong for the %s", part, cronFields[i].name)
			}
		}
	}
	return c, nil
}

func (c *Cron) set(field, n int) {
	if field != cronYear {
		c.values[field] |= 1 << n
		return
	}
	if c.years == nil {
		c.years = map[int]bool{}
	}
	c.years[n] = true
}

// span takes what every field may have: values, ranges and steps.
func (c *Cron) span(field int, part string) bool {
	f := &cronFields[field]
	span, by, stepped := strings.Cut(part, "/")
	step := 1
	if stepped {
		var ok bool
		if step, ok = whole(by, 1, f.high); !ok {
			return false
		}
	}
	from, to := f.low, f.high
	if span != "*" {
		a, b, ranged := strings.Cut(span, "-")
		var ok bool
		if from, ok = f.value(a); !ok {
			return false
		}
		switch {
		case ranged:
			if to, ok = f.value(b); !ok {
				return false
			}
		case !stepped:
			to = from
		}
	}
	size := f.high - f.low + 1
	if to < from { // FRI-MON goes over the end
		to += size
	}
	for n := from; n <= to; n += step {
		c.set(field, f.low+(n-f.low)%size)
	}
	return true
}

// value reads one value of the field. Where days of the week count from 0, that is Sunday too.
func (f *cronField) value(s string) (int, bool) {
	if i := slices.Index(f.words, s); i >= 0 {
		return f.low + i, true
	}
	if f == &cronFields[cronWeekday] && s == "0" {
		return f.low, true
	}
	return whole(s, f.low, f.high)
}

func whole(s string, low, high int) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= low && n <= high && s[0] != '+'
}

// day takes what only the fields of days have: ? for any, L for the last, W for the working
// day next to one, # for the first to the fifth in the month.
func (c *Cron) day(field int, part string) bool {
	switch {
	case field != cronDay && field != cronWeekday:
		return false
	case part == "?":
		return c.span(field, "*")
	case field == cronDay:
		return c.dayOfMonth(part)
	}
	return c.dayOfWeek(part)
}

func (c *Cron) dayOfMonth(part string) bool {
	day, before, working := 31, 0, false // the 31st is the last day of every month
	if last, ok := strings.CutPrefix(part, "L"); ok {
		if n, ok := strings.CutPrefix(last, "-"); ok {
			if before, ok = whole(n, 1, 31); !ok {
				return false
			}
		} else if working = last == "W"; !working && last != "" {
			return false
		}
	} else if n, ok := strings.CutSuffix(part, "W"); ok {
		working = true
		if day, ok = whole(n, 1, 31); !ok {
			return false
		}
	} else {
		return false
	}
	c.days = append(c.days, func(t time.Time) bool {
		want := min(day, lastDay(t)) - before
		if working {
			want = workingDay(t, want)
		}
		return t.Day() == want
	})
	return true
}

func (c *Cron) dayOfWeek(part string) bool {
	f := &cronFields[cronWeekday]
	if part == "L" {
		return c.span(cronWeekday, "SAT")
	}
	name, nth, counted := strings.Cut(part, "#")
	if !counted {
		var last bool
		if name, last = strings.CutSuffix(part, "L"); !last {
			return false
		}
	}
	weekday, ok := f.value(name)
	n := 0 // the last
	if ok && counted {
		n, ok = whole(nth, 1, 5)
	}
	if !ok {
		return false
	}
	c.weeks = append(c.weeks, func(t time.Time) bool {
		if int(t.Weekday())+1 != weekday {
			return false
		}
		if n == 0 {
			return t.Day()+7 > lastDay(t)
		}
		return (t.Day()-1)/7+1 == n
	})
	return true
}

// lastDay is the number of the last day of a month.
func lastDay(t time.Time) int { return time.Date(t.Year(), t.Month()+1, 0, 0, 0, 0, 0, time.UTC).Day() }

// workingDay is the day of Monday to Friday next to another day of the same month.
func workingDay(t time.Time, day int) int {
	switch time.Date(t.Year(), t.Month(), day, 0, 0, 0, 0, time.UTC).Weekday() {
	case time.Saturday:
		if day == 1 {
			return 3
		}
		return day - 1
	case time.Sunday:
		if day == lastDay(t) {
			return day - 2
		}
		return day + 1
	}
	return day
}

// Next is the first time of the schedule after t, in t's location; zero if there is none in
// the next years.
func (c *Cron) Next(t time.Time) time.Time {
	t = t.Truncate(time.Second).Add(time.Second)
	limit := t.AddDate(8, 0, 0)
	for t.Before(limit) {
		switch {
		case c.years != nil && !c.years[t.Year()]:
			t = midnight(t, t.Year()+1, 1, 1)
		case !c.has(cronMonth, int(t.Month())):
			t = midnight(t, t.Year(), t.Month()+1, 1)
		case !c.onDay(t):
			t = midnight(t, t.Year(), t.Month(), t.Day()+1)
		case !c.has(cronHour, t.Hour()): // not Truncate, as some zones are half an hour off
			t = t.Add(time.Hour - time.Duration(t.Minute())*time.Minute - time.Duration(t.Second())*time.Second)
		case !c.has(cronMinute, t.Minute()):
			t = t.Add(time.Minute - time.Duration(t.Second())*time.Second)
		case !c.has(cronSecond, t.Second()):
			t = t.Add(time.Second)
		default:
			return t
		}
	}
	return time.Time{}
}

// midnight is the beginning of a day after t. Where clocks go forward at midnight that may
// be named an hour of the day before: it is never before t.
func midnight(t time.Time, year int, month time.Month, day int) time.Time {
	next := time.Date(year, month, day, 0, 0, 0, 0, t.Location())
	if !next.After(t) {
		return t.Add(time.Hour)
	}
	return next
}

func (c *Cron) has(field, n int) bool { return c.values[field]&(1<<n) != 0 }

func (c *Cron) onDay(t time.Time) bool {
	applies := func(rule func(time.Time) bool) bool { return rule(t) }
	return (c.has(cronDay, t.Day()) || slices.ContainsFunc(c.days, applies)) &&
		(c.has(cronWeekday, int(t.Weekday())+1) || slices.ContainsFunc(c.weeks, applies))
}

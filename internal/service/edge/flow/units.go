package flow

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// amount is a number and its unit, as flows write durations and sizes.
var amount = regexp.MustCompile(`^\s*(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*$`)

var durationUnits = map[string]time.Duration{
	"ns": 1, "nano": 1, "nanos": 1, "nanosecond": 1, "nanoseconds": 1,
	"nsec": 1, "nsecs": 1,
	"us": time.Microsecond, "usec": time.Microsecond, "usecs": time.Microsecond, "micro": time.Microsecond, "micros": time.Microsecond, "microsecond": time.Microsecond, "microseconds": time.Microsecond,
	"ms": time.Millisecond, "msec": time.Millisecond, "msecs": time.Millisecond, "milli": time.Millisecond, "millis": time.Millisecond, "millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hrs": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "wk": 7 * 24 * time.Hour, "wks": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

var sizeUnits = map[string]int64{"": 1, "b": 1, "kb": 1 << 10, "mb": 1 << 20, "gb": 1 << 30, "tb": 1 << 40}

// measure reads an amount as a multiple of the units' own.
func measure[N ~int64](s string, units map[string]N) (N, bool) {
	m := amount.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	unit, ok := units[strings.ToLower(m[2])]
	n, err := strconv.ParseFloat(m[1], 64)
	if n *= float64(unit); !ok || err != nil || n > math.MaxInt64/2 {
		return 0, false
	}
	return N(n), true
}

// ParseDuration reads a time span as flows write it: 30 sec, 5 mins, 100 ms.
func ParseDuration(s string) (time.Duration, error) {
	d, ok := measure(s, durationUnits)
	if !ok {
		return 0, fmt.Errorf("%q is not a duration such as 30 sec", s)
	}
	return d, nil
}

// ParseSize reads an amount of data as flows write it: 1 GB, 64 KB. The units are powers of
// 1024, and bytes where there is none.
func ParseSize(s string) (int64, error) {
	n, ok := measure(s, sizeUnits)
	if !ok {
		return 0, fmt.Errorf("%q is not a size such as 1 MB", s)
	}
	return n, nil
}

// isDuration and isSize report whether agents of both kinds read a text as such: those in
// Java know no microseconds, and no size without a unit.
func isDuration(s string) bool {
	_, err := ParseDuration(s)
	return err == nil && durationUnits[unit(s)] != time.Microsecond
}

func isSize(s string) bool {
	_, err := ParseSize(s)
	return err == nil && unit(s) != ""
}

func unit(s string) string {
	return strings.ToLower(strings.TrimLeft(strings.TrimSpace(s), "0123456789. \t\r\n"))
}

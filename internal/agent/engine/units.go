package engine

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	durationForm = regexp.MustCompile(`^\s*(\d{1,12}(?:\.\d{1,9})?)\s*([A-Za-z]+)\s*$`)
	sizeForm     = regexp.MustCompile(`^\s*(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*$`)
)

var durationUnits = map[string]time.Duration{
	"ns": 1, "nano": 1, "nanos": 1, "nanosecond": 1, "nanoseconds": 1,
	"us": time.Microsecond, "micro": time.Microsecond, "micros": time.Microsecond, "microsecond": time.Microsecond, "microseconds": time.Microsecond,
	"ms": time.Millisecond, "milli": time.Millisecond, "millis": time.Millisecond, "millisecond": time.Millisecond, "milliseconds": time.Millisecond,
	"s": time.Second, "sec": time.Second, "secs": time.Second, "second": time.Second, "seconds": time.Second,
	"m": time.Minute, "min": time.Minute, "mins": time.Minute, "minute": time.Minute, "minutes": time.Minute,
	"h": time.Hour, "hr": time.Hour, "hrs": time.Hour, "hour": time.Hour, "hours": time.Hour,
	"d": 24 * time.Hour, "day": 24 * time.Hour, "days": 24 * time.Hour,
	"w": 7 * 24 * time.Hour, "wk": 7 * 24 * time.Hour, "wks": 7 * 24 * time.Hour, "week": 7 * 24 * time.Hour, "weeks": 7 * 24 * time.Hour,
}

// ParseDuration reads a time span as flows write it: 30 sec, 5 mins, 100 ms.
func ParseDuration(s string) (time.Duration, error) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a time span such as 30 sec", s)
	}
	unit, ok := durationUnits[strings.ToLower(m[2])]
	n, err := strconv.ParseFloat(m[1], 64)
	if !ok || err != nil || n*float64(unit) > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is not a time span such as 30 sec", s)
	}
	return time.Duration(n * float64(unit)), nil
}

// ParseSize reads a data size as flows write it: 1 GB, 64 KB; the units are powers of 1024.
func ParseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a data size such as 10 MB", s)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	shift, ok := map[string]int{"": 0, "B": 0, "KB": 10, "MB": 20, "GB": 30, "TB": 40}[strings.ToUpper(m[2])]
	if bytes := n * float64(int64(1)<<shift); err == nil && ok && bytes < math.MaxInt64/2 {
		return int64(bytes), nil
	}
	return 0, fmt.Errorf("%q is not a data size such as 10 MB", s)
}

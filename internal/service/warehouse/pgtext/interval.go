package pgtext

import (
	"math"
	"strconv"
	"strings"
)

// Interval is PostgreSQL's: months, days and microseconds are apart.
type Interval struct {
	Months, Days int32
	Micros       int64
}

// unit is so many months, days or microseconds.
type unit struct {
	months, days, micros float64
}

// sum gathers an interval's parts.
type sum struct {
	unit
	clock int64 // microseconds of H:MM:SS, which a float would round beyond 285 years
}

// units by their names, singular.
var units = map[string]unit{
	"us": {0, 0, 1}, "usec": {0, 0, 1}, "microsecond": {0, 0, 1}, "usecond": {0, 0, 1},
	"ms": {0, 0, 1000}, "msec": {0, 0, 1000}, "millisecond": {0, 0, 1000}, "msecond": {0, 0, 1000},
	"s": {0, 0, secondMicros}, "sec": {0, 0, secondMicros}, "second": {0, 0, secondMicros},
	"m": {0, 0, 60 * secondMicros}, "min": {0, 0, 60 * secondMicros}, "minute": {0, 0, 60 * secondMicros},
	"h": {0, 0, 3600 * secondMicros}, "hr": {0, 0, 3600 * secondMicros}, "hour": {0, 0, 3600 * secondMicros},
	"d": {0, 1, 0}, "day": {0, 1, 0}, "w": {0, 7, 0}, "week": {0, 7, 0},
	"mon": {1, 0, 0}, "month": {1, 0, 0}, "quarter": {3, 0, 0}, "qtr": {3, 0, 0}, "y": {12, 0, 0}, "yr": {12, 0, 0}, "year": {12, 0, 0},
	"dec": {120, 0, 0}, "decade": {120, 0, 0}, "c": {1200, 0, 0}, "cent": {1200, 0, 0}, "century": {1200, 0, 0}, "centurie": {1200, 0, 0},
	"mil": {12000, 0, 0}, "millennium": {12000, 0, 0}, "millennia": {12000, 0, 0},
}

// ParseInterval reads PostgreSQL's forms of an interval.
func ParseInterval(s string) (Interval, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	var total sum
	ok := false
	if p, found := strings.CutPrefix(strings.TrimPrefix(t, "-"), "p"); found && p != "" {
		ok = total.iso(p)
		if t[0] == '-' {
			total.negate()
		}
	} else {
		ok = total.verbose(t)
	}
	if !ok {
		return Interval{}, invalid("interval", s)
	}
	micros := int64(0)
	if math.Abs(total.micros) < math.MaxInt64 {
		micros = int64(math.RoundToEven(total.micros))
		if sum := micros + total.clock; (sum > micros) == (total.clock > 0) { // else it has wrapped
			micros = sum
		} else {
			total.micros = math.Inf(1)
		}
	}
	if math.Abs(total.months) > math.MaxInt32 || math.Abs(total.days) > math.MaxInt32 || math.Abs(total.micros) >= math.MaxInt64 {
		return Interval{}, &Error{Message: "interval field value out of range: \"" + s + "\"", Range: true}
	}
	return Interval{int32(total.months), int32(total.days), micros}, nil
}

func (t *sum) negate() {
	t.months, t.days, t.micros, t.clock = -t.months, -t.days, -t.micros, -t.clock
}

// add takes n of a unit; a fraction of a month goes into days, of a day into time.
func (t *sum) add(n float64, unit unit) {
	whole, fraction := math.Modf(n)
	switch {
	case unit.months >= 12:
		t.months += whole*unit.months + math.RoundToEven(fraction*unit.months)
	case unit.months > 0:
		months := n * unit.months
		whole, fraction = math.Modf(months)
		t.months += whole
		t.addDays(fraction * 30)
	case unit.days > 0:
		t.addDays(n * unit.days)
	default:
		t.micros += n * unit.micros
	}
}

func (t *sum) addDays(n float64) {
	whole, fraction := math.Modf(n)
	t.days += whole
	t.micros += math.RoundToEven(fraction * dayMicros)
}

// verbose reads "1 year 2 mons -3 days 04:05:06 ago", "1-2" and "3 4:05:06".
func (t *sum) verbose(s string) bool {
	words := tokens(strings.TrimPrefix(s, "@"))
	if len(words) == 0 {
		return false
	}
	ago := false
	if n := len(words); words[n-1] == "ago" {
		words, ago = words[:n-1], true
	}
	for i := 0; i < len(words); i++ {
		word := words[i]
		if strings.Contains(word, ":") {
			micros, ok := span(word)
			if !ok {
				return false
			}
			if t.clock != 0 { // PostgreSQL takes one
				return false
			}
			t.clock = micros
			continue
		}
		sign := strings.TrimLeft(word, "+-")
		if y, m, dashed := strings.Cut(sign, "-"); dashed {
			years, ok := number(y)
			months, ok2 := number(m)
			if !ok || !ok2 || months > 11 {
				return false
			}
			n := float64(years*12 + months)
			if word[0] == '-' {
				n = -n
			}
			t.months += n
			continue
		}
		n, err := strconv.ParseFloat(word, 64)
		if err != nil || !plainNumber(word) {
			return false
		}
		switch {
		case i+1 < len(words) && strings.Contains(words[i+1], ":"): // days before a time
			t.addDays(n)
		case i+1 == len(words): // a number alone counts seconds
			t.micros += n * secondMicros
		default:
			i++
			unit, ok := units[words[i]]
			if !ok {
				if unit, ok = units[strings.TrimSuffix(words[i], "s")]; !ok {
					return false
				}
			}
			t.add(n, unit)
		}
	}
	if ago {
		t.negate()
	}
	return true
}

func plainNumber(s string) bool {
	return strings.IndexFunc(s, func(c rune) bool { return (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' }) < 0
}

// tokens cuts at white space and between a number and its unit.
func tokens(s string) []string {
	var out []string
	for _, f := range strings.Fields(s) {
		at := strings.IndexFunc(f, func(c rune) bool { return 'a' <= c && c <= 'z' })
		if at > 0 {
			out = append(out, f[:at], f[at:])
		} else {
			out = append(out, f)
		}
	}
	return out
}

// span reads [-]H:MM[:SS[.ff]], where the hours have no limit.
func span(s string) (int64, bool) {
	sign := int64(1)
	if s[0] == '-' || s[0] == '+' {
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	whole, fraction, dotted := strings.Cut(parts[len(parts)-1], ".")
	parts[len(parts)-1] = whole
	if dotted && len(parts) == 2 {
		parts = append([]string{"0"}, parts...)
	}
	micros, unit := int64(0), int64(3600*secondMicros)
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32) // the largest interval has 2562047788 hours
		if err != nil || i > 0 && n > 59 || i == 0 && int64(n) > math.MaxInt64/unit {
			return 0, false
		}
		micros += int64(n) * unit
		unit /= 60
	}
	if dotted && fraction != "" {
		f, ok := fractionMicros(fraction)
		if !ok {
			return 0, false
		}
		micros += int64(f)
	}
	return sign * micros, micros >= 0 // else it has wrapped
}

// iso reads what follows the P of ISO 8601.
func (t *sum) iso(s string) bool {
	date, clock, _ := strings.Cut(s, "t")
	read := func(s string, units map[byte]unit) bool {
		for s != "" {
			at := strings.IndexFunc(s, func(c rune) bool { return 'a' <= c && c <= 'z' })
			if at <= 0 {
				return false
			}
			n, err := strconv.ParseFloat(s[:at], 64)
			unit, ok := units[s[at]]
			if err != nil || !ok {
				return false
			}
			t.add(n, unit)
			s = s[at+1:]
		}
		return true
	}
	return (date != "" || clock != "") &&
		read(date, map[byte]unit{'y': units["year"], 'm': units["month"], 'w': units["week"], 'd': units["day"]}) &&
		read(clock, map[byte]unit{'h': units["hour"], 'm': units["minute"], 's': units["second"]})
}

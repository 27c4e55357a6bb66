package pgtext

import (
	"fmt"
	"strings"
	"time"
)

// Error is a text that is no value of its type.
type Error struct {
	Message string
	Range   bool // the form is right, the value is not
}

func (e *Error) Error() string { return e.Message }

func invalid(kind, s string) error {
	return &Error{Message: fmt.Sprintf("invalid input syntax for type %s: \"%s\"", kind, s)}
}

func outOfRange(s string) error {
	return &Error{Message: fmt.Sprintf("date/time field value out of range: \"%s\"", s), Range: true}
}

var months = map[string]int{
	"jan": 1, "january": 1, "feb": 2, "february": 2, "mar": 3, "march": 3, "apr": 4, "april": 4, "may": 5, "jun": 6, "june": 6,
	"jul": 7, "july": 7, "aug": 8, "august": 8, "sep": 9, "sept": 9, "september": 9, "oct": 10, "october": 10, "nov": 11, "november": 11,
	"dec": 12, "december": 12,
}

var weekdays = map[string]bool{
	"sun": true, "sunday": true, "mon": true, "monday": true, "tue": true, "tues": true, "tuesday": true, "wed": true, "weds": true,
	"wednesday": true, "thu": true, "thur": true, "thurs": true, "thursday": true, "fri": true, "friday": true, "sat": true, "saturday": true,
}

// abbreviations of zones, by hours, of PostgreSQL's default set; the ones in use.
var abbreviations = map[string]float64{
	"utc": 0, "gmt": 0, "z": 0, "zulu": 0, "ut": 0, "wet": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5, "mst": -7, "mdt": -6, "pst": -8, "pdt": -7,
	"akst": -9, "akdt": -8, "hst": -10, "ast": -4, "adt": -3, "nst": -3.5, "cet": 1, "cest": 2, "met": 1, "mest": 2, "bst": 1, "west": 1, "eet": 2, "eest": 3,
	"msk": 3, "jst": 9, "kst": 9, "aest": 10, "aedt": 11, "acst": 9.5, "awst": 8, "nzst": 12, "nzdt": 13, "sast": 2, "pkt": 5,
}

// parse cuts a text into fields and gathers what they say.
func (r Reader) parse(s, kind string) (*moment, error) {
	m := &moment{clockOnly: kind == "time"}
	fields, ok := split(s)
	if !ok || len(fields) == 0 || len(fields) > 12 {
		return nil, invalid(kind, s)
	}
	for _, f := range fields {
		if !r.field(m, strings.ToLower(f), f) {
			return nil, invalid(kind, s)
		}
	}
	if m.half != "" {
		const noon = dayMicros / 2
		switch {
		case !m.hasClock || m.clock >= noon+dayMicros/24:
			return nil, outOfRange(s)
		case m.half == "pm" && m.clock < noon:
			m.clock += noon
		case m.half == "am" && m.clock >= noon:
			m.clock -= noon
		}
	}
	if m.hasDate || len(m.numbers) == 0 && m.month == 0 {
		if len(m.numbers) > 0 || m.month != 0 && !m.hasDate {
			return nil, invalid(kind, s)
		}
		return m, nil
	}
	if !m.order() {
		return nil, invalid(kind, s)
	}
	return m, nil
}

// split cuts at white space and commas, and where a clock follows a date by T.
func split(s string) ([]string, bool) {
	var out []string
	for _, f := range strings.FieldsFunc(s, func(c rune) bool {
		return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v' || c == ','
	}) {
		if i := strings.IndexAny(f, "Tt"); i > 0 && i+1 < len(f) && isDigit(f[i-1]) && isDigit(f[i+1]) {
			out = append(out, f[:i])
			f = f[i+1:]
			if !strings.Contains(f, ":") { // 040506 of ISO's basic form
				f = basicClock(f)
			}
		}
		if strings.Contains(f, ":") && isDigit(f[0]) { // a clock may carry its zone or half
			end := strings.IndexFunc(f, func(c rune) bool { return (c < '0' || c > '9') && c != ':' && c != '.' })
			if end > 0 {
				out = append(out, f[:end])
				f = f[end:]
			}
		}
		out = append(out, f)
	}
	return out, true
}

// basicClock turns HHMMSS[.ff][zone] into HH:MM:SS….
func basicClock(f string) string {
	n := 0
	for n < len(f) && isDigit(f[n]) {
		n++
	}
	switch n {
	case 4:
		return f[:2] + ":" + f[2:]
	case 6:
		return f[:2] + ":" + f[2:4] + ":" + f[4:]
	}
	return f
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// field takes one field; word is its lower case.
func (r Reader) field(m *moment, word, raw string) bool {
	switch {
	case isDigit(word[0]) && strings.Contains(word, ":"):
		clock, ok := clockOf(word)
		if !ok || m.hasClock {
			return false
		}
		m.clock, m.hasClock = clock, true
		return true
	case isDigit(word[0]):
		return m.numeric(word)
	case word[0] == '+' || word[0] == '-':
		if word == "-infinity" {
			return m.forever(-1)
		}
		if word == "+infinity" {
			return m.forever(1)
		}
		return m.offset(word)
	}
	switch {
	case word == "am", word == "pm":
		m.half = word
	case word == "bc", word == "ad":
		m.bc = word == "bc"
	case word == "infinity":
		return m.forever(1)
	case word == "now":
		return r.special(m, 0, true)
	case word == "today":
		return r.special(m, 0, false)
	case word == "tomorrow":
		return r.special(m, 1, false)
	case word == "yesterday":
		return r.special(m, -1, false)
	case word == "epoch":
		m.year, m.month, m.day, m.hasDate, m.hasClock, m.zone = 1970, 1, 1, true, true, time.UTC
	case word == "allballs":
		m.clock, m.hasClock, m.zone = 0, true, time.UTC
	case weekdays[word]:
	case months[word] != 0:
		if m.month != 0 {
			return false
		}
		m.month = months[word]
	case word[0] == 'j' && len(word) > 1 && isDigit(word[1]):
		n, ok := number(word[1:])
		m.julian, m.hasJulian, m.hasDate = n, true, true
		return ok
	case strings.ContainsAny(word, "-/.") && mixedDate(word) != nil:
		for _, part := range mixedDate(word) {
			if !r.field(m, part, part) {
				return false
			}
		}
	default:
		return m.zoneName(word, raw)
	}
	return true
}

func (m *moment) forever(sign int) bool {
	m.infinity = sign
	return !m.hasDate && !m.hasClock
}

func (r Reader) special(m *moment, shift int, withClock bool) bool {
	now := r.Now().In(r.Zone)
	d := now.AddDate(0, 0, shift)
	m.year, m.month, m.day, m.hasDate = d.Year(), int(d.Month()), d.Day(), true
	if withClock {
		m.clock = int64(now.Hour()*3600+now.Minute()*60+now.Second())*secondMicros + int64(now.Nanosecond()/1000)
		m.hasClock = true
	}
	return true
}

// mixedDate cuts Jan-08-1999 and the like into its parts, nil where it is none.
func mixedDate(word string) []string {
	parts := strings.FieldsFunc(word, func(c rune) bool { return c == '-' || c == '/' || c == '.' })
	if len(parts) < 2 || len(parts) > 3 {
		return nil
	}
	named := 0
	for _, p := range parts {
		if months[p] != 0 {
			named++
		} else if _, ok := number(p); !ok {
			return nil
		}
	}
	if named != 1 {
		return nil
	}
	return parts
}

// numeric takes a field that begins with a digit and is no clock.
func (m *moment) numeric(word string) bool {
	if n, ok := number(word); ok {
		switch {
		case (m.hasDate || m.clockOnly) && !m.hasClock && (len(word) == 6 || len(word) == 4): // a clock without colons
			clock, ok := clockOf(basicClock(word))
			m.clock, m.hasClock = clock, true
			return ok
		case len(word) == 8 && m.untouched():
			m.year, m.month, m.day, m.hasDate = n/10000, n/100%100, n%100, true
			return true
		case len(word) == 6 && m.untouched():
			m.year, m.month, m.day, m.hasDate = century(n/10000), n/100%100, n%100, true
			return true
		}
		m.numbers = append(m.numbers, word)
		return len(m.numbers) <= 3
	}
	if parts := mixedDate(word); parts != nil {
		for _, p := range parts {
			if months[p] != 0 {
				if m.month != 0 {
					return false
				}
				m.month = months[p]
			} else {
				m.numbers = append(m.numbers, p)
			}
		}
		return true
	}
	separator := byte(0)
	for i := range len(word) {
		switch c := word[i]; {
		case isDigit(c):
		case (c == '-' || c == '/' || c == '.') && (separator == 0 || separator == c):
			separator = c
		default:
			return false
		}
	}
	parts := strings.Split(word, string(separator))
	switch {
	case len(parts) == 2 && separator == '.' && len(parts[0]) == 4 && len(parts[1]) == 3: // year and day of the year
		year, ok := number(parts[0])
		day, ok2 := number(parts[1])
		m.year, m.dayOfYear, m.hasDate = year, day, true
		return ok && ok2 && day > 0
	case len(parts) == 3 && m.untouched():
		m.numbers = parts
		return true
	}
	return false
}

// untouched reports that nothing of a date was read yet.
func (m *moment) untouched() bool { return !m.hasDate && m.month == 0 && len(m.numbers) == 0 }

// century completes a year of two digits.
func century(n int) int {
	if n < 70 {
		return n + 2000
	}
	return n + 1900
}

// order gives the numbers their places: year first when it looks like one, else MDY.
func (m *moment) order() bool {
	var v [3]int
	for i, s := range m.numbers {
		n, ok := number(s)
		if !ok {
			return false
		}
		v[i] = n
	}
	year := ""
	if m.month != 0 { // the month has a name
		if len(m.numbers) != 2 {
			return false
		}
		if len(m.numbers[0]) > 2 {
			m.year, m.day, year = v[0], v[1], m.numbers[0]
		} else {
			m.day, m.year, year = v[0], v[1], m.numbers[1]
		}
	} else {
		if len(m.numbers) != 3 {
			return false
		}
		if len(m.numbers[0]) > 2 {
			m.year, m.month, m.day, year = v[0], v[1], v[2], m.numbers[0]
		} else {
			m.month, m.day, m.year, year = v[0], v[1], v[2], m.numbers[2]
		}
		if m.month == 0 {
			m.month = 13 // out of range, and not absent
		}
	}
	if len(year) <= 2 && !m.bc {
		m.year = century(m.year)
	}
	m.hasDate = true
	return true
}

// offset reads +hh, +hhmm, +hh:mm and +hh:mm:ss.
func (m *moment) offset(word string) bool {
	parts := strings.Split(word[1:], ":")
	if len(parts) == 1 {
		switch p := parts[0]; len(p) {
		case 3, 4:
			parts = []string{p[:len(p)-2], p[len(p)-2:]}
		case 6:
			parts = []string{p[:2], p[2:4], p[4:]}
		}
	}
	seconds, unit := 0, 3600
	for i, p := range parts {
		n, ok := number(p)
		if !ok || i > 2 || i > 0 && n > 59 || i == 0 && n > 15 {
			return false
		}
		seconds += n * unit
		unit /= 60
	}
	if word[0] == '-' {
		seconds = -seconds
	}
	m.zone = time.FixedZone("", seconds)
	return m.hasDate || m.hasClock || len(m.numbers) > 0
}

func (m *moment) zoneName(word, raw string) bool {
	if m.zone != nil {
		return false
	}
	name, rest := word, ""
	if i := strings.IndexAny(word, "+-"); i > 0 { // GMT+3 counts as POSIX has it: west
		name, rest = word[:i], word[i:]
	}
	if hours, ok := abbreviations[name]; ok {
		m.zone = time.FixedZone("", int(hours*3600))
		if rest != "" {
			return m.offset(map[byte]string{'+': "-", '-': "+"}[rest[0]] + rest[1:])
		}
		return true
	}
	if !strings.Contains(raw, "/") {
		return false
	}
	zone, err := time.LoadLocation(canonicalZone(raw))
	m.zone = zone
	return err == nil
}

// canonicalZone gives each part of a zone's name its capital letter.
func canonicalZone(s string) string {
	b := []byte(strings.ToLower(s))
	for i := range b {
		if (i == 0 || b[i-1] == '/' || b[i-1] == '_' || b[i-1] == '-') && 'a' <= b[i] && b[i] <= 'z' {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

package pgtext

import (
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // the worker has no files
)

// The values that stand for the infinities, the engine's.
const (
	DateInfinity    = 1<<31 - 1
	InstantInfinity = 1<<63 - 1
)

const (
	secondMicros = 1_000_000
	dayMicros    = 86_400 * secondMicros
)

// Reader reads dates and times in a session's time zone.
type Reader struct {
	Zone *time.Location
	Now  func() time.Time
}

// moment is what a text says.
type moment struct {
	year, month, day int
	bc, hasDate      bool
	dayOfYear        int
	clock            int64 // microseconds; a day has at most 24:00:00
	hasClock         bool
	clockOnly        bool   // a time of day is read: digits without colons are one
	half             string // am or pm
	zone             *time.Location
	infinity         int // 1 or -1
	numbers          []string
	julian           int
	hasJulian        bool
}

// Date reads a date, in days since 1970-01-01.
func (r Reader) Date(s string) (int32, error) {
	if days, ok := isoDay(s); ok {
		return days, nil
	}
	m, err := r.parse(s, "date")
	if err != nil {
		return 0, err
	}
	if m.infinity != 0 {
		return int32(m.infinity) * DateInfinity, nil
	}
	if !m.hasDate {
		return 0, invalid("date", s)
	}
	days, err := m.days(s)
	if days > 1<<31-2 || days < -(1<<31-2) {
		return 0, outOfRange(s)
	}
	return int32(days), err
}

// Timestamp reads a timestamp without time zone, in microseconds since 1970-01-01. A zone
// in the text is ignored, as PostgreSQL does.
func (r Reader) Timestamp(s string) (int64, error) {
	m, err := r.parse(s, "timestamp")
	if err != nil {
		return 0, err
	}
	return m.micros(s, "timestamp")
}

// TimestampTZ reads a timestamp with time zone, in microseconds since 1970-01-01 UTC.
func (r Reader) TimestampTZ(s string) (int64, error) {
	m, err := r.parse(s, "timestamp with time zone")
	if err != nil {
		return 0, err
	}
	local, err := m.micros(s, "timestamp with time zone")
	if err != nil || m.infinity != 0 {
		return local, err
	}
	zone := m.zone
	if zone == nil {
		zone = r.Zone
	}
	seconds, rest := local/secondMicros, local%secondMicros
	if rest < 0 {
		seconds, rest = seconds-1, rest+secondMicros
	}
	wall := time.Unix(seconds, 0).UTC()
	at := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, zone)
	return at.Unix()*secondMicros + rest, nil
}

// Time reads a time of day without zone, in microseconds.
func (r Reader) Time(s string) (int64, error) {
	m, err := r.parse(s, "time")
	if err != nil {
		return 0, err
	}
	if m.infinity != 0 || !m.hasClock {
		return 0, invalid("time", s)
	}
	return m.clock, nil
}

// isoDay reads exactly YYYY-MM-DD.
func isoDay(s string) (int32, bool) {
	if len(s) != 10 || s[4] != '-' || s[7] != '-' {
		return 0, false
	}
	year, ok := number(s[:4])
	month, ok2 := number(s[5:7])
	day, ok3 := number(s[8:])
	if !ok || !ok2 || !ok3 || year == 0 || !validDay(year, month, day) {
		return 0, false
	}
	return int32(civil(year, month, day)), true
}

func number(s string) (int, bool) {
	if s == "" || len(s) > 9 {
		return 0, false
	}
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}

func validDay(year, month, day int) bool {
	return month >= 1 && month <= 12 && day >= 1 && day <= monthDays(year, month)
}

func monthDays(year, month int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// civil returns the days since 1970-01-01 of a day of the proleptic Gregorian calendar.
func civil(year, month, day int) int64 {
	y := int64(year)
	if month <= 2 {
		y--
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	shifted := int64(month+9) % 12
	ofEra := y - era*400
	ofYear := (153*shifted+2)/5 + int64(day) - 1
	return era*146097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719468
}

func (m *moment) days(s string) (int64, error) {
	if m.hasJulian {
		return int64(m.julian) - 2440588, nil
	}
	year := m.year
	if m.bc {
		if year <= 0 {
			return 0, outOfRange(s)
		}
		year = 1 - year
	} else if year <= 0 {
		return 0, outOfRange(s)
	}
	if m.dayOfYear > 0 {
		last := 365 + monthDays(year, 2) - 28
		if m.dayOfYear > last {
			return 0, outOfRange(s)
		}
		return civil(year, 1, 1) + int64(m.dayOfYear) - 1, nil
	}
	if !validDay(year, m.month, m.day) {
		return 0, outOfRange(s)
	}
	days := civil(year, m.month, m.day)
	if days < -2440588 { // the Julian period
		return 0, outOfRange(s)
	}
	return days, nil
}

func (m *moment) micros(s, kind string) (int64, error) {
	if m.infinity != 0 {
		return int64(m.infinity) * InstantInfinity, nil
	}
	if !m.hasDate {
		return 0, invalid(kind, s)
	}
	days, err := m.days(s)
	if err != nil {
		return 0, err
	}
	if days > 106_650_000 || days < -2440588 { // year 294246
		return 0, outOfRange(s)
	}
	return days*dayMicros + m.clock, nil
}

// clockOf reads HH:MM[:SS[.ffffff]] or MM:SS.ffffff.
func clockOf(s string) (int64, bool) {
	parts := strings.Split(s, ":")
	if len(parts) > 3 {
		return 0, false
	}
	whole, fraction, dotted := strings.Cut(parts[len(parts)-1], ".")
	if dotted && len(parts) == 2 { // MM:SS.ff
		parts = append([]string{"0"}, parts...)
	}
	parts[len(parts)-1] = whole
	var v [3]int
	for i, p := range parts {
		n, ok := number(p)
		if !ok {
			return 0, false
		}
		v[i] = n
	}
	if v[0] > 24 || v[1] > 59 || v[2] > 60 {
		return 0, false
	}
	micros := int64(v[0]*3600+v[1]*60+v[2]) * secondMicros
	if dotted && fraction != "" {
		f, ok := fractionMicros(fraction)
		if !ok {
			return 0, false
		}
		micros += f
	}
	return micros, micros <= dayMicros
}

// fractionMicros reads the digits behind a point, rounded to microseconds.
func fractionMicros(digits string) (int64, bool) {
	f, err := strconv.ParseFloat("0."+digits, 64)
	if err != nil || strings.ContainsAny(digits, "eE+-_xX") {
		return 0, false
	}
	return int64(f*secondMicros + 0.5), true
}

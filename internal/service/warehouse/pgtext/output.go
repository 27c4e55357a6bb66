package pgtext

import (
	"bytes"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// AppendFloat writes the shortest digits that read back the same, as PostgreSQL does.
func AppendFloat(b []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(b, "NaN"...)
	case math.IsInf(v, 1):
		return append(b, "Infinity"...)
	case math.IsInf(v, -1):
		return append(b, "-Infinity"...)
	}
	low, high, exact := 1e-4, 1e15, float64(1<<53)
	if bits == 32 {
		low, high, exact = float64(float32(low)), 1e6, 1<<24
	}
	a := math.Abs(v)
	if a == 0 || a >= low && a < high {
		return strconv.AppendFloat(b, v, 'f', -1, bits)
	}
	start := len(b)
	b = strconv.AppendFloat(b, v, 'e', -1, bits)
	if a > exact && a < 1e30 && halfway(string(b[start:]), v, bits) {
		// PostgreSQL does not take digits that lie between two numbers and are rounded to
		// this one only because it is even.
		precision := bytes.IndexByte(b[start:], 'e') - 1 // digits, behind which there is a point
		if v < 0 {
			precision--
		}
		for ; halfway(string(b[start:]), v, bits); precision++ {
			b = strconv.AppendFloat(b[:start], v, 'e', precision, bits)
		}
	}
	return b
}

// halfway reports whether digits, which read as the integer v, are as far from it as from
// one of its neighbors.
func halfway(digits string, v float64, bits int) bool {
	up, down := math.Nextafter(v, math.Inf(1)), math.Nextafter(v, math.Inf(-1))
	if bits == 32 {
		up, down = float64(math.Nextafter32(float32(v), float32(math.Inf(1)))), float64(math.Nextafter32(float32(v), float32(math.Inf(-1))))
	}
	const precision = 256 // enough for integers below 1e30
	said, _, err := big.ParseFloat(digits, 10, precision, big.ToNearestEven)
	if err != nil {
		return false
	}
	for _, neighbor := range []float64{up, down} {
		sum := new(big.Float).SetPrec(precision).Add(big.NewFloat(v), big.NewFloat(neighbor))
		if sum.Quo(sum, big.NewFloat(2)).Cmp(said) == 0 {
			return true
		}
	}
	return false
}

// AppendDate writes days since 1970-01-01.
func AppendDate(b []byte, days int32) []byte {
	switch days {
	case DateInfinity:
		return append(b, "infinity"...)
	case -DateInfinity:
		return append(b, "-infinity"...)
	}
	return appendDay(b, time.Unix(int64(days)*86400, 0).UTC(), "")
}

// appendDay writes a date and rest behind it; years before 1 are marked BC.
func appendDay(b []byte, t time.Time, rest string) []byte {
	year := t.Year()
	bc := ""
	if year < 1 {
		year, bc = 1-year, " BC"
	}
	b = fmt.Appendf(b, "%04d-%02d-%02d", year, t.Month(), t.Day())
	b = append(b, rest...)
	return append(b, bc...)
}

// AppendTime writes microseconds since midnight.
func AppendTime(b []byte, micros int64) []byte {
	s := micros / 1_000_000
	b = fmt.Appendf(b, "%02d:%02d:%02d", s/3600, s/60%60, s%60)
	return appendFraction(b, micros%1_000_000)
}

func appendFraction(b []byte, micros int64) []byte {
	if micros == 0 {
		return b
	}
	return append(b, strings.TrimRight(fmt.Sprintf(".%06d", micros), "0")...)
}

// AppendTimestamp writes microseconds since 1970-01-01; with a zone it is that instant there.
func AppendTimestamp(b []byte, micros int64, zone *time.Location) []byte {
	switch micros {
	case InstantInfinity:
		return append(b, "infinity"...)
	case -InstantInfinity:
		return append(b, "-infinity"...)
	}
	t := time.UnixMicro(micros).UTC()
	offset := ""
	if zone != nil {
		t = t.In(zone)
		_, seconds := t.Zone()
		sign := "+"
		if seconds < 0 {
			sign, seconds = "-", -seconds
		}
		offset = fmt.Sprintf("%s%02d", sign, seconds/3600)
		if seconds%3600 != 0 {
			offset += fmt.Sprintf(":%02d", seconds/60%60)
		}
		if seconds%60 != 0 { // local mean time, before there were zones
			offset += fmt.Sprintf(":%02d", seconds%60)
		}
	}
	clock := appendFraction(fmt.Appendf([]byte(" "), "%02d:%02d:%02d", t.Hour(), t.Minute(), t.Second()), int64(t.Nanosecond()/1000))
	return appendDay(b, t, string(clock)+offset)
}

// AppendInterval writes PostgreSQL's own style: 1 year 2 mons 3 days 04:05:06. What is
// positive behind something negative says so.
func AppendInterval(b []byte, months, days int32, micros int64) []byte {
	start := len(b)
	wasNegative := false
	part := func(negative bool) {
		if len(b) > start {
			b = append(b, ' ')
		}
		if wasNegative && !negative {
			b = append(b, '+')
		}
		wasNegative = negative
	}
	unit := func(n int64, name string) {
		if n == 0 {
			return
		}
		part(n < 0)
		b = append(strconv.AppendInt(b, n, 10), ' ')
		if b = append(b, name...); n != 1 {
			b = append(b, 's')
		}
	}
	unit(int64(months/12), "year")
	unit(int64(months%12), "mon")
	unit(int64(days), "day")
	if micros != 0 || len(b) == start {
		part(micros < 0)
		if micros < 0 {
			b, micros = append(b, '-'), -micros
		}
		b = AppendTime(b, micros)
	}
	return b
}

package pgwire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// appendFloat writes the shortest digits that read back the same, as PostgreSQL does.
func appendFloat(b []byte, v float64, bits int) []byte {
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

// appendNumeric writes PostgreSQL's binary form of decimal digits: groups of four, without
// groups of zeros at either end.
func appendNumeric(b []byte, text string) []byte {
	sign := uint16(0)
	if digits, ok := strings.CutPrefix(text, "-"); ok {
		sign, text = 0x4000, digits
	}
	whole, fraction, _ := strings.Cut(text, ".")
	scale := len(fraction)
	whole = strings.Repeat("0", (4-len(whole)%4)%4) + whole
	fraction += strings.Repeat("0", (4-scale%4)%4)
	digits, weight := whole+fraction, len(whole)/4-1
	for strings.HasPrefix(digits, "0000") {
		digits, weight = digits[4:], weight-1
	}
	for strings.HasSuffix(digits, "0000") {
		digits = digits[:len(digits)-4]
	}
	if digits == "" {
		sign, weight = 0, 0
	}
	put := func(v uint16) { b = binary.BigEndian.AppendUint16(b, v) }
	put(uint16(len(digits) / 4))
	put(uint16(int16(weight)))
	put(sign)
	put(uint16(scale))
	for ; digits != ""; digits = digits[4:] {
		group := 0
		for _, c := range []byte(digits[:4]) {
			group = group*10 + int(c-'0')
		}
		put(uint16(group))
	}
	return b
}

// readNumeric reads PostgreSQL's binary form of a numeric into decimal digits.
func readNumeric(v []byte) (string, error) {
	const head = 8
	if len(v) < head || len(v) != head+2*int(binary.BigEndian.Uint16(v)) {
		return "", errors.New("a binary numeric is cut")
	}
	groups := (len(v) - head) / 2
	weight, sign, scale := int(int16(binary.BigEndian.Uint16(v[2:]))), binary.BigEndian.Uint16(v[4:]), int(binary.BigEndian.Uint16(v[6:]))
	switch sign {
	case 0, 0x4000:
	case 0xc000:
		return "NaN", nil
	case 0xd000:
		return "Infinity", nil
	case 0xf000:
		return "-Infinity", nil
	default:
		return "", fmt.Errorf("a binary numeric has the sign %#x", sign)
	}
	const most = 16383 // digits on either side, PostgreSQL's limit
	if weight > most/4 || weight < -most/4 || scale > most {
		return "", errors.New("a binary numeric is out of range")
	}
	group := func(i int) string { // the four digits whose weight is i groups
		at := weight - i
		if at < 0 || at >= groups {
			return "0000"
		}
		return fmt.Sprintf("%04d", binary.BigEndian.Uint16(v[head+2*at:]))
	}
	var whole, fraction strings.Builder
	for i := weight; i >= 0; i-- {
		whole.WriteString(group(i))
	}
	for i := -1; fraction.Len() < scale; i-- {
		fraction.WriteString(group(i))
	}
	digits := strings.TrimLeft(whole.String(), "0")
	if digits == "" {
		digits = "0"
	}
	if sign != 0 {
		digits = "-" + digits
	}
	if scale > 0 {
		digits += "." + fraction.String()[:scale]
	}
	return digits, nil
}

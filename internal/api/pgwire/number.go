package pgwire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

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

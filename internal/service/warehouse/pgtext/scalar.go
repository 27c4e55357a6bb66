package pgtext

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unsafe"
)

// Boolean reads true, false and what PostgreSQL takes for them.
func Boolean(s string) (bool, error) {
	t := strings.ToLower(strings.TrimSpace(s))
	if t != "" {
		for word, v := range map[string]bool{"true": true, "yes": true, "on": true, "1": true, "false": false, "no": false, "off": false, "0": false} {
			if strings.HasPrefix(word, t) && (t != "o" || len(word) == 1) {
				return v, nil
			}
		}
	}
	return false, invalid("boolean", s)
}

// Integer reads an integer: digits and a sign, with white space around them.
func Integer[T int16 | int32 | int64](s string) (T, error) {
	kind := map[uintptr]string{2: "smallint", 4: "integer", 8: "bigint"}[unsafe.Sizeof(T(0))]
	trimmed := strings.TrimSpace(s)
	if strings.Contains(trimmed, "_") {
		return 0, invalid(kind, s)
	}
	v, err := strconv.ParseInt(trimmed, 10, int(unsafe.Sizeof(T(0)))*8)
	switch {
	case errors.Is(err, strconv.ErrRange):
		return 0, &Error{Message: fmt.Sprintf("value \"%s\" is out of range for type %s", s, kind), Range: true}
	case err != nil:
		return 0, invalid(kind, s)
	}
	return T(v), nil
}

// Bytes reads bytea: \x and hexadecimal digits, or text in which \nnn is a byte in octal
// and \\ a backslash.
func Bytes(s []byte) ([]byte, error) {
	bad := &Error{Message: "invalid input syntax for type bytea"}
	if len(s) >= 2 && s[0] == '\\' && s[1] == 'x' {
		digits := strings.Join(strings.Fields(string(s[2:])), "")
		b, err := hex.DecodeString(digits)
		if err != nil {
			return nil, bad
		}
		return b, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\':
			out = append(out, s[i])
		case i+1 < len(s) && s[i+1] == '\\':
			out = append(out, '\\')
			i++
		case i+3 < len(s):
			n, err := strconv.ParseUint(string(s[i+1:i+4]), 8, 8)
			if err != nil {
				return nil, bad
			}
			out = append(out, byte(n))
			i += 3
		default:
			return nil, bad
		}
	}
	return out, nil
}

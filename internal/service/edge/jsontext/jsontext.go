// Package jsontext checks that a text from outside is JSON which a recursive reader may
// read: well-formed, UTF-8, and not nested without end; and that it has no member which
// its reader would pass over. It does not read it.
package jsontext

import (
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// Check returns what is wrong with a text, for the person who sent it: that it is nested
// deeper than depth levels, not UTF-8, or not JSON.
func Check(text []byte, depth int) error {
	if err := Depth(text, depth); err != nil {
		return err
	}
	if !utf8.Valid(text) {
		return errors.New("not UTF-8")
	}
	if !gjson.ValidBytes(text) {
		return errors.New("not JSON")
	}
	return nil
}

// Depth returns an error if a text is nested deeper than depth levels, whatever else it is.
func Depth(text []byte, depth int) error {
	level, inside, escaped := 0, false, false
	for i, c := range text {
		switch {
		case escaped:
			escaped = false
		case inside && c == '\\':
			escaped = true
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			if level++; level > depth {
				return fmt.Errorf("nested more than %d levels deep at byte %d", depth, i)
			}
		case c == '}' || c == ']':
			level--
		}
	}
	return nil
}

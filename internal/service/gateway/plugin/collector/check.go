package collector

import "strconv"

// maxDepth bounds how deep arrays and objects may nest. Readers recurse, and a body is
// long enough to exhaust their stacks.
const maxDepth = 64

// tooDeep reports whether a body nests deeper than maxDepth. It comes before the check of
// the grammar, which recurses too.
func tooDeep(body []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			inString = !inString
		case inString && c == '\\':
			i++
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// halfPair reports whether a string in the JSON text s has half of a surrogate pair, which
// is no character and has no encoding in UTF-8: readers refuse it, and then all that is in
// the file with it.
func halfPair(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			continue
		}
		if u := escaped(s[i:]); u >= 0xd800 && u < 0xe000 {
			low := escaped(s[min(i+6, len(s)):])
			if u >= 0xdc00 || low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 6
		}
		i++
	}
	return false
}

// escaped returns the code unit that s begins with, written as a backslash, u and four
// digits; -1 where it does not.
func escaped(s string) int {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return -1
	}
	u, err := strconv.ParseUint(s[2:6], 16, 16)
	if err != nil {
		return -1
	}
	return int(u)
}

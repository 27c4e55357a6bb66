package warehouse

import (
	"bytes"
	"encoding/json"
)

// jsonLines keeps the lines of a block that are JSON objects and counts the others. The
// names of an object's own members are folded to lower case, as the columns are: the
// SerDe matches them without regard to case.
func (f *feed) jsonLines(b *block) {
	out := b.buf[:0]
	number := b.line
	for rest := b.buf; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		text := bytes.TrimSpace(rest[:end])
		rest = rest[end+1:]
		number++
		switch {
		case len(text) == 0:
		case text[0] == '{' && json.Valid(text):
			foldMembers(text)
			out = append(append(out, text...), '\n')
		default:
			f.mu.Lock()
			if f.skipped.count++; f.skipped.count == 1 || f.skipped.key == b.key && number < f.skipped.line {
				f.skipped.key, f.skipped.line, f.skipped.reason = b.key, number, "not a JSON object"
			}
			f.mu.Unlock()
		}
	}
	b.buf = out
}

// foldMembers lowers the ASCII letters of the names at the first level of a valid
// object, in place.
func foldMembers(b []byte) {
	depth, name := 0, false
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{':
			depth++
			name = depth == 1
		case '[':
			depth++
		case '}', ']':
			depth--
		case ',':
			name = depth == 1
		case ':':
			name = false
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				} else if name && 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
		}
	}
}

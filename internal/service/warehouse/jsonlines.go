package warehouse

import (
	"bytes"
	"encoding/json"
)

// jsonLines keeps the lines of a block that are JSON objects whose values the columns can
// hold, and counts the others. The names of an object's own members are folded to lower case, as the columns are: the
// SerDe matches them without regard to case.
func (f *feed) jsonLines(b *block) {
	out := b.buf[:0]
	var fixed []byte // instead of out, once a row has become longer
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
			row, column, ok := f.values.object(text)
			if !ok {
				f.skip(b.key, number, column.Name, "the value is not of type "+column.Type)
				continue
			}
			if fixed != nil || len(row) > len(text) { // it may no longer fit where it stood
				if fixed == nil {
					fixed = append(make([]byte, 0, len(b.buf)+len(row)), out...)
				}
				fixed = append(append(fixed, row...), '\n')
				continue
			}
			out = append(append(out, row...), '\n')
		default:
			f.skip(b.key, number, "", "not a JSON object")
		}
	}
	if b.buf = out; fixed != nil {
		b.buf = fixed
	}
}

// skip counts a malformed line and remembers the first.
func (f *feed) skip(key string, line int64, column, reason string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.skipped.count++; f.skipped.count == 1 || f.skipped.key == key && line < f.skipped.line {
		f.skipped.key, f.skipped.line, f.skipped.column, f.skipped.reason = key, line, column, reason
	}
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

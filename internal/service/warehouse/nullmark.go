package warehouse

import "bytes"

// nullMarker rewrites fields that are exactly the NULL marker: to nothing in columns of
// other than character types, where the engine takes an empty field for NULL, and to
// what [External.null] says in character columns, where empty is a value. The engine's own option
// cannot tell the two apart. Blocks without the marker pass untouched.
type nullMarker struct {
	marker    []byte // empty: there is none
	delimiter byte
	escape    byte // 0: none
	quote     byte // 0: none
	text      []bool
	private   string
	out       []byte
}

func newNullMarker(x External, columns []Column) *nullMarker {
	m := &nullMarker{}
	if x.Null == "" || x.Delimiter == "" {
		return m
	}
	m.marker, m.delimiter, m.text, m.private = []byte(x.Null), x.Delimiter[0], isText(columns), x.null()
	if x.Escape != "" {
		m.escape = x.Escape[0]
	}
	if x.Quote != "" {
		m.quote = x.Quote[0]
	}
	return m
}

// mend rewrites the fields of a block.
func (m *nullMarker) mend(b *block) {
	if len(m.marker) == 0 || !bytes.Contains(b.buf, m.marker) {
		return
	}
	m.out = m.lines(m.out[:0], b.buf)
	b.buf, m.out = m.out, b.buf
}

// lines appends the lines with their markers rewritten.
func (m *nullMarker) lines(out, b []byte) []byte {
	column, field := 0, 0
	inQuotes := false
	finish := func(end int) {
		value := b[field:end]
		if !bytes.Equal(value, m.marker) {
			out = append(out, value...)
		} else if column < len(m.text) && m.text[column] {
			out = append(out, m.private...)
		}
	}
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case m.escape != 0 && c == m.escape && m.escape != m.quote && i+1 < len(b) && b[i+1] != '\n':
			i++
		case m.quote != 0 && c == m.quote:
			inQuotes = !inQuotes
		case c == '\n':
			finish(i)
			out = append(out, '\n')
			column, field, inQuotes = 0, i+1, false
		case c == m.delimiter && !inQuotes:
			finish(i)
			out = append(out, c)
			column, field = column+1, i+1
		}
	}
	if field < len(b) {
		finish(len(b))
	}
	return out
}

package warehouse

import "bytes"

// nullPrivate stands for NULL in character columns on the way to the engine where the
// table's own marker would be eaten by its escape character.
const nullPrivate = "\x01null\x01"

// nullMarker rewrites fields that are exactly the NULL marker: to nothing in columns of
// other than character types, where the engine takes an empty field for NULL, and to
// nullPrivate in character columns, where empty is a value. The engine's own option
// cannot tell the two apart. Blocks without the marker pass untouched.
type nullMarker struct {
	marker    []byte
	delimiter byte
	escape    byte // 0: none
	quote     byte // 0: none
	text      []bool

	carry []byte // the beginning of a line that has not ended
	out   []byte
}

func newNullMarker(x External, columns []Column) *nullMarker {
	m := &nullMarker{text: isText(columns)}
	if x.Null == "" || x.Delimiter == "" {
		return m
	}
	m.marker, m.delimiter = []byte(x.Null), x.Delimiter[0]
	if x.Escape != "" {
		m.escape = x.Escape[0]
	}
	if x.Quote != "" {
		m.quote = x.Quote[0]
	}
	return m
}

// mend returns the whole lines of what came so far. The result is valid until the next call.
func (m *nullMarker) mend(block []byte) []byte {
	if len(m.marker) == 0 {
		return block
	}
	end := bytes.LastIndexByte(block, '\n') + 1
	if len(m.carry) == 0 && end > 0 && !bytes.Contains(block[:end], m.marker) {
		m.carry = append(m.carry, block[end:]...)
		return block[:end]
	}
	if end == 0 {
		m.carry = append(m.carry, block...)
		// A line longer than any the engine takes is its to refuse.
		if len(m.carry) > 32<<20 {
			return m.rest()
		}
		return nil
	}
	m.out = m.out[:0]
	if len(m.carry) > 0 {
		first := bytes.IndexByte(block, '\n') + 1
		m.carry = append(m.carry, block[:first]...)
		m.lines(m.carry)
		block, end = block[first:], end-first
		m.carry = m.carry[:0]
	}
	if bytes.Contains(block[:end], m.marker) {
		m.lines(block[:end])
	} else {
		m.out = append(m.out, block[:end]...)
	}
	m.carry = append(m.carry, block[end:]...)
	return m.out
}

// rest returns the last line when it has no end.
func (m *nullMarker) rest() []byte {
	m.out = m.out[:0]
	if len(m.carry) > 0 {
		m.lines(m.carry)
		m.carry = m.carry[:0]
	}
	return m.out
}

// lines appends the lines with their markers rewritten.
func (m *nullMarker) lines(b []byte) {
	column, field := 0, 0
	inQuotes := false
	finish := func(end int) {
		value := b[field:end]
		if !bytes.Equal(value, m.marker) {
			m.out = append(m.out, value...)
		} else if column < len(m.text) && m.text[column] {
			m.out = append(m.out, nullPrivate...)
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
			m.out = append(m.out, '\n')
			column, field, inQuotes = 0, i+1, false
		case c == m.delimiter && !inQuotes:
			finish(i)
			m.out = append(m.out, c)
			column, field = column+1, i+1
		}
	}
	if field < len(b) {
		finish(len(b))
	}
}

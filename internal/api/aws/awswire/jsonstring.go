package awswire

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// The strings of JSON, and the base64 in them.

func (r *jsonReader) text(want string) (string, error) {
	if r.next() != '"' {
		return "", r.mistyped(want)
	}
	b, err := r.raw()
	return string(b), err
}

// blob reads base64 with its padding.
func (r *jsonReader) blob() ([]byte, error) {
	if r.next() != '"' {
		return nil, r.mistyped("a Blob")
	}
	start := r.i
	src := r.b[r.i+1:]
	end := bytes.IndexByte(src, '"')
	if end < 0 {
		return nil, r.malformed("a string does not end")
	}
	src = src[:end]
	if bytes.IndexByte(src, '\\') >= 0 { // an escaped solidus; rare
		var err error
		if src, err = r.raw(); err != nil {
			return nil, err
		}
	} else {
		r.i += end + 2
	}
	data := make([]byte, base64.StdEncoding.DecodedLen(len(src)))
	n, err := base64.StdEncoding.Strict().Decode(data, src)
	if err != nil || bytes.IndexByte(src, '\n') >= 0 || bytes.IndexByte(src, '\r') >= 0 {
		r.i = start
		return nil, r.mistyped("a Blob: it is not base64")
	}
	return data[:n], nil
}

// raw takes a string and returns its content, which is part of the body where nothing is
// escaped.
func (r *jsonReader) raw() ([]byte, error) {
	r.i++ // the quote
	start := r.i
	for r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case c == '"':
			s := r.b[start:r.i]
			r.i++
			return s, r.utf8(s)
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return nil, r.malformed("a control character in a string")
		}
		r.i++
	}
	return nil, r.malformed("a string does not end")
}

func (r *jsonReader) utf8(s []byte) error {
	if !utf8.Valid(s) {
		return r.malformed("a string is not UTF-8")
	}
	return nil
}

// escaped continues raw at the first backslash.
func (r *jsonReader) escaped(start int) ([]byte, error) {
	out := append([]byte(nil), r.b[start:r.i]...)
	for r.i < len(r.b) {
		c := r.b[r.i]
		r.i++
		switch {
		case c == '"':
			return out, r.utf8(out)
		case c < ' ':
			return nil, r.malformed("a control character in a string")
		case c != '\\':
			out = append(out, c)
			continue
		}
		if r.i == len(r.b) {
			break
		}
		c = r.b[r.i]
		r.i++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, ok := r.hex4()
			if !ok {
				return nil, r.malformed("four hexadecimal digits are due")
			}
			if utf16.IsSurrogate(u) {
				u = r.pair(u)
			}
			out = utf8.AppendRune(out, u)
		default:
			return nil, r.malformed("an unknown escape in a string")
		}
	}
	return nil, r.malformed("a string does not end")
}

func (r *jsonReader) hex4() (rune, bool) {
	if len(r.b)-r.i < 4 {
		return 0, false
	}
	u, err := strconv.ParseUint(string(r.b[r.i:r.i+4]), 16, 16)
	if err != nil {
		return 0, false
	}
	r.i += 4
	return rune(u), true
}

// pair joins a surrogate with the one that follows; alone it is the replacement character.
func (r *jsonReader) pair(high rune) rune {
	if !bytes.HasPrefix(r.b[r.i:], []byte(`\u`)) {
		return utf8.RuneError
	}
	back := r.i
	r.i += 2
	low, ok := r.hex4()
	if c := utf16.DecodeRune(high, low); ok && c != utf8.RuneError {
		return c
	}
	r.i = back
	return utf8.RuneError
}

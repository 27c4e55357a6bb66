package gateway

import "strings"

// Field is one header line.
type Field struct {
	Name  string
	Value string
}

// Header is an ordered list of header lines, the form in which both HTTP engines hand
// a message's head to the plugins. Names compare without regard to case; the order and
// the spelling a peer sent are kept. A linear list beats a map here: a message has about
// ten lines, most lookups differ in length already, and the list costs no allocation
// once its array has grown.
type Header struct {
	fields []Field
}

// Reset forgets all lines and keeps the array.
func (h *Header) Reset() { h.fields = h.fields[:0] }

// Len returns the number of lines.
func (h *Header) Len() int { return len(h.fields) }

// Fields returns the lines in order. The slice is valid until the header changes and
// must not be modified.
func (h *Header) Fields() []Field { return h.fields }

// Get returns the value of the first line called name, or "".
func (h *Header) Get(name string) string {
	v, _ := h.Lookup(name)
	return v
}

// Lookup returns the value of the first line called name.
func (h *Header) Lookup(name string) (value string, ok bool) {
	for i := range h.fields {
		if f := &h.fields[i]; len(f.Name) == len(name) && EqualFold(f.Name, name) {
			return f.Value, true
		}
	}
	return "", false
}

// Count returns how many lines are called name.
func (h *Header) Count(name string) int {
	n := 0
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			n++
		}
	}
	return n
}

// Add appends a line. Control bytes in the value become spaces, and a line whose name is
// no token is left out, so that no value can add a line of its own to a message.
func (h *Header) Add(name, value string) {
	if ValidName(name) {
		h.AddValid(name, clean(value))
	}
}

// AddValid appends a line that is known to be well formed: an engine's parser read it.
func (h *Header) AddValid(name, value string) {
	h.fields = append(h.fields, Field{Name: name, Value: value})
}

// ValidName reports whether name is a token (RFC 9110 section 5.6.2).
func ValidName(name string) bool {
	for i := range len(name) {
		if !tokenByte[name[i]] {
			return false
		}
	}
	return name != ""
}

// tokenByte tells the bytes that tokens consist of.
var tokenByte = func() (t [256]bool) {
	for c := '!'; c < 0x7f; c++ {
		t[c] = !strings.ContainsRune("()<>@,;:\\\"/[]?={}", c)
	}
	return t
}()

func clean(value string) string {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			b := []byte(value)
			for j, c := range b {
				if c < ' ' && c != '\t' || c == 0x7f {
					b[j] = ' '
				}
			}
			return string(b)
		}
	}
	return value
}

// Set replaces the first line called name, drops any others, and appends the line
// where there was none.
func (h *Header) Set(name, value string) {
	for i := range h.fields {
		if EqualFold(h.fields[i].Name, name) {
			h.fields[i].Value = clean(value)
			h.delFrom(i+1, name)
			return
		}
	}
	h.Add(name, value)
}

// Del removes every line called name and reports whether there was one.
func (h *Header) Del(name string) bool { return h.delFrom(0, name) }

func (h *Header) delFrom(from int, name string) bool {
	kept := from
	for i := from; i < len(h.fields); i++ {
		if !EqualFold(h.fields[i].Name, name) {
			h.fields[kept] = h.fields[i]
			kept++
		}
	}
	removed := kept != len(h.fields)
	h.fields = h.fields[:kept]
	return removed
}

// EqualFold compares two header names without regard to ASCII case.
func EqualFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x == y {
			continue
		}
		if x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z' {
			return false
		}
	}
	return true
}

// HasToken reports whether a comma-separated list such as Connection's contains token,
// without regard to case.
func HasToken(list, token string) bool {
	for part := range strings.SplitSeq(list, ",") {
		if EqualFold(strings.Trim(part, " \t"), token) {
			return true
		}
	}
	return false
}

// lowerASCII returns s in lower case and allocates only if it has to.
func lowerASCII(s string) string {
	for i := range len(s) {
		if 'A' <= s[i] && s[i] <= 'Z' {
			return strings.ToLower(s)
		}
	}
	return s
}

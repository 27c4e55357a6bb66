package awswire

import (
	"reflect"
	"strings"
	"unicode/utf8"
)

// xmlWriter writes elements; the caller closes what it opens.
type xmlWriter struct {
	b     []byte
	query bool // the items' own name goes before that of their flat list
}

func newXMLWriter() *xmlWriter {
	return &xmlWriter{b: []byte("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")}
}

// open begins an element; namespace is uri, or prefix=uri.
func (w *xmlWriter) open(name, namespace string) {
	w.begin(name, namespace)
	w.b = append(w.b, '>')
}

func (w *xmlWriter) begin(name, namespace string) {
	w.b = append(append(w.b, '<'), name...)
	if namespace == "" {
		return
	}
	attr := "xmlns"
	if prefix, uri, ok := strings.Cut(namespace, "="); ok && !strings.ContainsAny(prefix, ":/") {
		attr, namespace = "xmlns:"+prefix, uri
	}
	w.attr(attr, namespace)
}

func (w *xmlWriter) attr(name, value string) {
	w.b = append(append(append(w.b, ' '), name...), '=', '"')
	w.b = append(appendXMLText(w.b, value), '"')
}

func (w *xmlWriter) close(name string) {
	w.b = append(append(append(w.b, '<', '/'), name...), '>')
}

func (w *xmlWriter) element(name, value string) {
	w.open(name, "")
	w.b = appendXMLText(w.b, value)
	w.close(name)
}

// members writes those members of a structure that travel in the body, attributes excepted:
// they belong to the element around it.
func (w *xmlWriter) members(s *shape, v reflect.Value) {
	for i := range s.fields {
		f := &s.fields[i]
		if f.loc != inBody || f.attr {
			continue
		}
		if fv, ok := present(v.Field(f.index)); ok {
			w.value(f.wire, f.ns, f.shape, fv, f.flat)
		}
	}
}

// value writes v as the element name, or, for a flat list or map, as a run of them.
func (w *xmlWriter) value(name, namespace string, s *shape, v reflect.Value, flat bool) {
	switch s.kind {
	case structure:
		w.begin(name, namespace)
		for i := range s.fields {
			f := &s.fields[i]
			if fv, ok := present(v.Field(f.index)); ok && f.attr {
				w.attr(f.wire, scalarText(f.shape, fv, iso8601))
			}
		}
		w.b = append(w.b, '>')
		w.members(s, v)
		w.close(name)
	case list:
		w.list(name, namespace, s, v, flat)
	case mapping:
		w.mapping(name, namespace, s, v, flat)
	default:
		w.open(name, namespace)
		if s.kind == text {
			w.b = appendXMLText(w.b, v.String())
		} else {
			w.b = appendScalar(w.b, s, v, iso8601)
		}
		w.close(name)
	}
}

func (w *xmlWriter) list(name, namespace string, s *shape, v reflect.Value, flat bool) {
	if flat {
		if w.query && s.itemName != "" {
			name = s.itemName
		}
		for i := range v.Len() {
			w.value(name, namespace, s.item, v.Index(i), s.item.flat)
		}
		return
	}
	w.open(name, namespace)
	for i := range v.Len() {
		w.value(orElse(s.itemName, "member"), "", s.item, v.Index(i), s.item.flat)
	}
	w.close(name)
}

func (w *xmlWriter) mapping(name, namespace string, s *shape, v reflect.Value, flat bool) {
	entry := name
	if !flat {
		w.open(name, namespace)
		entry = "entry"
	}
	for _, k := range sortedKeys(v) {
		w.open(entry, "")
		w.element(orElse(s.keyName, "key"), k)
		w.value(orElse(s.valueName, "value"), "", s.value, v.MapIndex(reflect.ValueOf(k)), false)
		w.close(entry)
	}
	if !flat {
		w.close(name)
	}
}

// appendXMLText escapes s for text and attributes. Characters that XML cannot carry at all
// become the replacement character.
func appendXMLText(b []byte, s string) []byte {
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 || r == 0xFFFE || r == 0xFFFF {
				r = utf8.RuneError
			}
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
		switch c {
		case '&':
			b = append(b, "&amp;"...)
		case '<':
			b = append(b, "&lt;"...)
		case '>':
			b = append(b, "&gt;"...)
		case '"':
			b = append(b, "&quot;"...)
		case '\n', '\r', '\t': // a parser may normalise them otherwise
			b = append(b, "&#x"...)
			b = append(b, hexUpper[c], ';')
		default:
			if c < ' ' {
				b = utf8.AppendRune(b, utf8.RuneError)
			} else {
				b = append(b, c)
			}
		}
	}
	return b
}

const hexUpper = "0123456789ABCDEF"

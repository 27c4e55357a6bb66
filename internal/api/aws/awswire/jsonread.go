package awswire

import (
	"bytes"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// maxDepth bounds how deep values may nest, in every format.
const maxDepth = 64

// readJSON reads body into v, a structure of plan s, in one pass. It is our own because a
// record's payload is most of a request: encoding/json scans it twice and copies it twice,
// here base64 is found by one search and decoded into its place.
//
// Unknown members are skipped, null is absence, an empty body is an empty structure. Errors
// are failures that name the member.
func readJSON(body []byte, s *shape, v reflect.Value) error {
	r := &jsonReader{b: body}
	r.space()
	if r.i == len(r.b) {
		return nil
	}
	if r.b[r.i] != '{' {
		return r.mistyped("a structure")
	}
	if err := r.value(s, v); err != nil {
		return err
	}
	r.space()
	if r.i != len(r.b) {
		return r.malformed("something follows the end of the document")
	}
	return nil
}

type jsonReader struct {
	b     []byte
	i     int
	depth int
	path  path
}

func (r *jsonReader) malformed(why string) error {
	f := failf(unreadable, "the body is not valid JSON: %s (at byte %d)", why, r.i)
	f.field = r.path.String()
	return f
}

// mistyped says what was found where want was due.
func (r *jsonReader) mistyped(want string) error {
	found := "the end of the body"
	if r.i < len(r.b) {
		switch c := r.b[r.i]; {
		case c == '"':
			found = "STRING_VALUE"
		case c == '{':
			found = "START_OBJECT"
		case c == '[':
			found = "START_ARRAY"
		case c == 't':
			found = "TRUE_VALUE"
		case c == 'f':
			found = "FALSE_VALUE"
		case c == 'n':
			found = "NULL_VALUE"
		case c == '-' || '0' <= c && c <= '9':
			found = "NUMBER_VALUE"
		default:
			return r.malformed("no value begins here")
		}
	}
	f := failf(mistyped, "%s can not be converted to %s", found, want)
	if f.field = r.path.String(); f.field != "" {
		f.message = "'" + f.field + "': " + f.message
	}
	return f
}

func (r *jsonReader) space() {
	for r.i < len(r.b) {
		switch r.b[r.i] {
		case ' ', '\t', '\n', '\r':
			r.i++
		default:
			return
		}
	}
}

// next skips blanks and returns the next byte without taking it; 0 at the end.
func (r *jsonReader) next() byte {
	r.space()
	if r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

// value reads one value that is not null into v.
func (r *jsonReader) value(s *shape, v reflect.Value) error {
	switch s.kind {
	case structure:
		return r.structure(s, v)
	case list:
		return r.list(s, v)
	case mapping:
		return r.mapping(s, v)
	case text:
		str, err := r.text("a String")
		if err == nil {
			v.SetString(str)
		}
		return err
	case blob:
		data, err := r.blob()
		if err == nil {
			v.SetBytes(data)
		}
		return err
	case boolean:
		switch {
		case bytes.HasPrefix(r.b[r.i:], []byte("true")):
			r.i += 4
			v.SetBool(true)
		case bytes.HasPrefix(r.b[r.i:], []byte("false")):
			r.i += 5
			v.SetBool(false)
		default:
			return r.mistyped("a Boolean")
		}
		return nil
	case integer:
		return r.integer(v)
	case float:
		return r.float(v)
	case timestamp:
		return r.timestamp(v)
	}
	return r.mistyped("a stream") // no such member is ever inside a body
}

func (r *jsonReader) enter() error {
	if r.depth++; r.depth > maxDepth {
		return r.malformed("it nests deeper than " + strconv.Itoa(maxDepth) + " levels")
	}
	r.i++ // the bracket
	return nil
}

func (r *jsonReader) structure(s *shape, v reflect.Value) error {
	return r.object("a structure", func(key []byte) error {
		i, ok := s.byWire[string(key)]
		if !ok {
			return r.skip()
		}
		f := &s.fields[i]
		if f.loc != inBody {
			return r.skip()
		}
		if r.null() {
			return nil
		}
		r.path.member(f.name)
		defer r.path.pop()
		return r.value(f.shape, place(v.Field(f.index)))
	})
}

// place returns what to decode a member into, made where the member is a pointer.
func place(v reflect.Value) reflect.Value {
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		v.Set(p)
		return p.Elem()
	}
	return v
}

// object reads an object and calls member behind every key, at the value. The key is only
// good until then.
func (r *jsonReader) object(want string, member func(key []byte) error) error {
	if r.next() != '{' {
		return r.mistyped(want)
	}
	if err := r.enter(); err != nil {
		return err
	}
	defer func() { r.depth-- }()
	if r.next() == '}' {
		r.i++
		return nil
	}
	for {
		if r.next() != '"' {
			return r.malformed("a member's name is due")
		}
		key, err := r.raw()
		if err != nil {
			return err
		}
		if r.next() != ':' {
			return r.malformed("a colon is due")
		}
		r.i++
		r.space()
		if err := member(key); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.i++
		case '}':
			r.i++
			return nil
		default:
			return r.malformed("a comma or a closing brace is due")
		}
	}
}

func (r *jsonReader) list(s *shape, v reflect.Value) error {
	// Null elements are dropped, as AWS does.
	n := 0
	v.SetLen(0)
	if v.IsNil() {
		v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	}
	return r.array("a list", func() error {
		if r.null() {
			return nil
		}
		n++
		if n > v.Cap() {
			v.Grow(max(4, n))
		}
		v.SetLen(n)
		v.Index(n - 1).SetZero() // a list given twice: the last one counts
		r.path.item(n)
		defer r.path.pop()
		return r.value(s.item, v.Index(n-1))
	})
}

func (r *jsonReader) array(want string, element func() error) error {
	if r.next() != '[' {
		return r.mistyped(want)
	}
	if err := r.enter(); err != nil {
		return err
	}
	defer func() { r.depth-- }()
	if r.next() == ']' {
		r.i++
		return nil
	}
	for {
		r.space()
		if err := element(); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.i++
		case ']':
			r.i++
			return nil
		default:
			return r.malformed("a comma or a closing bracket is due")
		}
	}
}

func (r *jsonReader) mapping(s *shape, v reflect.Value) error {
	v.Set(reflect.MakeMap(v.Type()))
	return r.object("a map", func(key []byte) error {
		if r.null() {
			return nil
		}
		k := string(key)
		r.path.key(k)
		defer r.path.pop()
		elem := reflect.New(v.Type().Elem()).Elem()
		if err := r.value(s.value, elem); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(k), elem)
		return nil
	})
}

// null takes a null.
func (r *jsonReader) null() bool {
	if !bytes.HasPrefix(r.b[r.i:], []byte("null")) {
		return false
	}
	r.i += 4
	return true
}

// number takes the characters of a number and checks their order.
func (r *jsonReader) number(want string) ([]byte, error) {
	start := r.i
	digits := func() bool {
		from := r.i
		for r.i < len(r.b) && '0' <= r.b[r.i] && r.b[r.i] <= '9' {
			r.i++
		}
		return r.i > from
	}
	take := func(set string) bool {
		if r.i < len(r.b) && strings.IndexByte(set, r.b[r.i]) >= 0 {
			r.i++
			return true
		}
		return false
	}
	negative := take("-")
	if !digits() {
		if negative {
			return nil, r.malformed("a digit is due")
		}
		return nil, r.mistyped(want)
	}
	if first := bytes.TrimPrefix(r.b[start:r.i], []byte("-")); len(first) > 1 && first[0] == '0' {
		return nil, r.malformed("a number begins with a zero")
	}
	ok := true
	if take(".") {
		ok = digits()
	}
	if ok && take("eE") {
		take("+-")
		ok = digits()
	}
	if !ok {
		return nil, r.malformed("a digit is due")
	}
	return r.b[start:r.i], nil
}

func (r *jsonReader) integer(v reflect.Value) error {
	start := r.i
	digits, err := r.number("an Integer")
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil { // 1.0 and 1e3 are integers too
		f, err := strconv.ParseFloat(string(digits), 64)
		if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			r.i = start
			return r.mistyped("an Integer")
		}
		n = int64(f)
	}
	v.SetInt(n)
	return nil
}

func (r *jsonReader) float(v reflect.Value) error {
	start := r.i
	var digits string
	if r.next() == '"' { // NaN, Infinity and -Infinity are strings in JSON
		s, err := r.text("a Double")
		if err != nil {
			return err
		}
		if s != "NaN" && s != "Infinity" && s != "-Infinity" {
			r.i = start
			return r.mistyped("a Double")
		}
		digits = s
	} else {
		b, err := r.number("a Double")
		if err != nil {
			return err
		}
		digits = string(b)
	}
	f, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		r.i = start
		return r.mistyped("a Double")
	}
	v.SetFloat(f)
	return nil
}

func (r *jsonReader) timestamp(v reflect.Value) error {
	start := r.i
	var t time.Time
	var err error
	if r.next() == '"' {
		var s string
		if s, err = r.text("a Timestamp"); err != nil {
			return err
		}
		t, err = parseTime(s)
	} else {
		var b []byte
		if b, err = r.number("a Timestamp"); err != nil {
			return err
		}
		var f float64
		if f, err = strconv.ParseFloat(string(b), 64); err == nil {
			t, err = unixFloat(f)
		}
	}
	if err != nil {
		r.i = start
		return r.mistyped("a Timestamp")
	}
	v.Set(reflect.ValueOf(t))
	return nil
}

// skip takes a value of any kind.
func (r *jsonReader) skip() error {
	switch c := r.next(); c {
	case '{':
		return r.object("a structure", func([]byte) error { return r.skip() })
	case '[':
		return r.array("a list", r.skip)
	case '"':
		_, err := r.raw()
		return err
	default:
		for _, word := range []string{"true", "false", "null"} {
			if bytes.HasPrefix(r.b[r.i:], []byte(word)) {
				r.i += len(word)
				return nil
			}
		}
		_, err := r.number("a value")
		return err
	}
}

package awswire

import (
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// queryCodec is the protocols query and ec2: a form names the operation and carries its
// members as Path.To.Member=value; the answer is XML. They differ in how members and lists are
// named and how answers are wrapped.
type queryCodec struct{ ec2 bool }

const formType = "application/x-www-form-urlencoded; charset=utf-8"

func (c queryCodec) writeRequest(a *API, op *Op, in reflect.Value, m *message) error {
	form := url.Values{"Action": {op.Name}, "Version": {a.Version}}
	w := formWriter{form: form, ec2: c.ec2}
	w.structure("", planOf(in.Type()), in)
	m.method, m.path = http.MethodPost, "/"
	m.header.Set("Content-Type", formType)
	m.body = []byte(form.Encode())
	return nil
}

func (c queryCodec) readRequest(_ *API, _ *Op, m *message, in reflect.Value) error {
	tree, err := formTree(m.query)
	if err != nil {
		return err
	}
	r := formReader{ec2: c.ec2}
	return r.structure(planOf(in.Type()), in, tree)
}

// formName returns the name of a member in a request.
func formName(f *field, ec2 bool) string {
	if !ec2 {
		return f.wire
	}
	if f.ec2 != "" {
		return f.ec2
	}
	first, n := utf8.DecodeRuneInString(f.wire)
	return string(unicode.ToUpper(first)) + f.wire[n:]
}

// formWriter flattens values into a form.
type formWriter struct {
	form url.Values
	ec2  bool
}

func (w *formWriter) structure(prefix string, s *shape, v reflect.Value) {
	for i := range s.fields {
		f := &s.fields[i]
		fv, ok := present(v.Field(f.index))
		if !ok {
			continue
		}
		w.value(prefix+formName(f, w.ec2), f.shape, fv, f.flat)
	}
}

func (w *formWriter) value(name string, s *shape, v reflect.Value, flat bool) {
	switch s.kind {
	case structure:
		w.structure(name+".", s, v)
	case list:
		w.list(name, s, v, flat)
	case mapping:
		if !flat {
			name += ".entry"
		}
		key, value := orElse(s.keyName, "key"), orElse(s.valueName, "value")
		for i, k := range sortedKeys(v) {
			entry := name + "." + strconv.Itoa(i+1) + "."
			w.form.Set(entry+key, k)
			w.value(entry+value, s.value, v.MapIndex(reflect.ValueOf(k)), false)
		}
	default:
		w.form.Set(name, scalarText(s, v, iso8601))
	}
}

func (w *formWriter) list(name string, s *shape, v reflect.Value, flat bool) {
	if v.Len() == 0 && !w.ec2 {
		w.form.Set(name, "") // an empty list is not an absent one
		return
	}
	name = w.itemPrefix(name, s, flat)
	for i := range v.Len() {
		w.value(name+"."+strconv.Itoa(i+1), s.item, v.Index(i), s.item.flat)
	}
}

// itemPrefix names a list's items: Name.member.N, or Name.N where it is flat. A flat list whose items
// have a name of their own goes by that in place of its own last part.
func (w *formWriter) itemPrefix(name string, s *shape, flat bool) string {
	if w.ec2 {
		return name
	}
	if !flat {
		return name + "." + orElse(s.itemName, "member")
	}
	if s.itemName == "" {
		return name
	}
	before, _, found := cutLast(name, ".")
	if !found {
		return s.itemName
	}
	return before + "." + s.itemName
}

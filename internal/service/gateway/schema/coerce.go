package schema

import (
	"maps"
	"strconv"
	"strings"
)

// Coerce turns the strings of a form into the values the field asks for: numbers and
// booleans, a single value into a list of one, an empty string into nil. What does not
// convert is left for Validate to complain about.
func (f *Field) Coerce(v any) any {
	if v == nil {
		return nil
	}
	if s, ok := v.(string); ok && s == "" {
		return nil
	}
	switch f.Kind {
	case Integer, Number:
		if s, ok := v.(string); ok {
			if n, err := strconv.ParseFloat(s, 64); err == nil && finite(n) {
				return n
			}
		}
	case Boolean:
		switch v {
		case "true":
			return true
		case "false":
			return false
		}
	case Array, Set:
		list, ok := v.([]any)
		if r, isMap := v.(Record); isMap && !ok {
			list, ok = indexed(r)
		}
		if !ok {
			list = []any{v}
		}
		out := make([]any, 0, len(list))
		for _, e := range list {
			if e = f.Elements.Coerce(e); e != nil {
				out = append(out, e)
			}
		}
		return out
	case Map:
		if r, ok := v.(Record); ok && f.Values != nil {
			out := make(Record, len(r))
			for k, e := range r {
				out[k] = f.Values.Coerce(e)
			}
			return out
		}
	case Nested:
		if r, ok := v.(Record); ok {
			return f.CoerceRecord(r)
		}
	}
	return v
}

// CoerceRecord coerces every described field of a record.
func (f *Field) CoerceRecord(r Record) Record {
	out := make(Record, len(r))
	for k, v := range r {
		if c := f.described(k); c != nil {
			v = c.Coerce(v)
		}
		out[k] = v
	}
	return out
}

// described returns the field called name, also by a shorthand.
func (f *Field) described(name string) *Field {
	if s := f.shorthand(name); s != nil {
		return s.field()
	}
	return f.Field(name)
}

// indexed turns {"1": a, "2": b}, which is how a[1]=…&a[2]=… reads, into [a, b].
func indexed(r Record) ([]any, bool) {
	out := make([]any, len(r))
	for k, v := range r {
		i, err := strconv.Atoi(k)
		if err != nil || i < 1 || i > len(r) {
			return nil, false
		}
		out[i-1] = v
	}
	return out, true
}

// Merge returns base with patch laid over it as Kong's PATCH does: records merge field by
// field, everything else is replaced, and an explicit nil unsets.
func (f *Field) Merge(base, patch Record) Record {
	if len(f.Shorthands) > 0 {
		patch = maps.Clone(patch)
		f.expand(patch)
	}
	out := make(Record, len(base)+len(patch))
	for k, v := range base {
		if f.Field(k) != nil { // what was stored under a former description of the record is not the patch's fault
			out[k] = v
		}
	}
	for k, v := range patch {
		c := f.Field(k)
		inner, ok := v.(Record)
		old, had := base[k].(Record)
		if c != nil && c.Kind == Nested && ok && had {
			v = c.Merge(old, inner)
		}
		out[k] = v
	}
	return out
}

// Nest turns the flat names of a form, such as service.name, headers.x-ver[] or
// paths[1], into nested values. A name that is repeated gives a list.
func Nest(pairs [][2]string) Record {
	out := Record{}
	for _, p := range pairs {
		nest(out, segments(p[0]), p[1])
	}
	return out
}

// maxNesting is how deep the names of a form nest; what goes deeper stays in one piece,
// which is the name of no field.
const maxNesting = 64

// segments cuts a form name at its dots and brackets.
func segments(name string) []string {
	name = strings.ReplaceAll(strings.ReplaceAll(name, "]", ""), "[", ".")
	return strings.SplitN(name, ".", maxNesting)
}

func nest(r Record, path []string, value string) {
	head := path[0]
	if len(path) == 1 {
		r[head] = appendValue(r[head], value)
		return
	}
	if len(path) == 2 && path[1] == "" { // name[]
		list, _ := r[head].([]any)
		r[head] = append(list, value)
		return
	}
	inner, ok := r[head].(Record)
	if !ok {
		inner = Record{}
		r[head] = inner
	}
	nest(inner, path[1:], value)
}

func appendValue(old any, v string) any {
	switch old := old.(type) {
	case nil:
		return v
	case []any:
		return append(old, v)
	case Record:
		return v
	}
	return []any{old, v}
}

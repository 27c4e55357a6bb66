package schema

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Violations tell what is wrong with a record: by field name, a phrase, or Violations
// for a record or a map, or a []any with nil for every element that is right. The key
// EntityKey holds what concerns the record as a whole, a list of phrases.
type Violations map[string]any

// EntityKey is where Violations keep what concerns the whole record.
const EntityKey = "@entity"

func (v Violations) entity(msg string) {
	list, _ := v[EntityKey].([]any)
	v[EntityKey] = append(list, msg)
}

// String renders the violations on one line, as Kong's "message" does:
// "schema violation (host: required field missing)".
func (v Violations) String() string {
	all := v.list("", nil)
	if len(all) == 1 {
		return "schema violation (" + all[0] + ")"
	}
	return strconv.Itoa(len(all)) + " schema violations (" + strings.Join(all, "; ") + ")"
}

func (v Violations) list(prefix string, out []string) []string {
	if whole, ok := v[EntityKey].([]any); ok {
		for _, m := range whole {
			out = append(out, fmt.Sprint(m))
		}
	}
	names := make([]string, 0, len(v))
	for name := range v {
		if name != EntityKey {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		switch e := v[name].(type) {
		case Violations:
			out = e.list(prefix+name+".", out)
		case []any:
			for i, m := range e {
				switch m := m.(type) {
				case nil:
				case Violations:
					out = m.list(prefix+name+"."+strconv.Itoa(i+1)+".", out)
				default:
					out = append(out, fmt.Sprintf("%s%s.%d: %v", prefix, name, i+1, m))
				}
			}
		default:
			out = append(out, fmt.Sprintf("%s%s: %v", prefix, name, e))
		}
	}
	return out
}

// Complete returns a copy of r with defaults filled in and unset fields as nil. Unknown
// fields are kept, for Validate to complain about.
func (f *Field) Complete(r Record) Record {
	out := make(Record, len(f.Fields))
	for k, v := range r {
		out[k] = v
	}
	f.expand(out)
	for _, c := range f.Fields {
		v, set := out[c.Name]
		if !set {
			v = Clone(c.Default)
		}
		out[c.Name] = c.complete(v)
	}
	return out
}

func (f *Field) complete(v any) any {
	switch f.Kind {
	case Nested:
		if r, ok := v.(Record); ok {
			return f.Complete(r)
		}
		if v == nil && f.Required {
			return f.Complete(nil)
		}
	case Array, Set:
		if list, ok := v.([]any); ok && f.Elements != nil {
			out := make([]any, len(list))
			for i := range list {
				out[i] = f.Elements.complete(list[i])
			}
			return out
		}
	case Map:
		if r, ok := v.(Record); ok && f.Values != nil {
			out := make(Record, len(r))
			for k, e := range r {
				if e != nil || f.Values.Kind == JSON { // null unsets, here as everywhere
					out[k] = f.Values.complete(e)
				}
			}
			return out
		}
	}
	return v
}

// Clone returns a deep copy of a JSON value.
func Clone(v any) any {
	switch v := v.(type) {
	case Record:
		out := make(Record, len(v))
		for k, e := range v {
			out[k] = Clone(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = Clone(e)
		}
		return out
	case int:
		return float64(v)
	}
	return v
}

// Validate checks a completed record and the checks given besides the field's own. It
// returns nil where all is well.
func (f *Field) Validate(r Record, more ...Check) Violations {
	bad := Violations{}
	for name := range r {
		if f.Field(name) != nil {
			continue
		}
		bad[name] = "unknown field"
		if s := f.shorthand(name); s != nil {
			bad[name] = s.wrong(r)
		}
	}
	for _, c := range f.Fields {
		if e := c.check(r[c.Name]); e != nil {
			bad[c.Name] = e
		}
	}
	for _, c := range slices.Concat(f.Checks, more) {
		c.run(r, bad)
	}
	if len(bad) == 0 {
		return nil
	}
	return bad
}

// CheckValue returns what is wrong with a value of the field: nil, a phrase, Violations or
// a []any with nil for every element that is right.
func (f *Field) CheckValue(v any) any { return f.check(v) }

// check returns nil, a phrase, Violations or a []any.
func (f *Field) check(v any) any {
	if v == nil {
		if f.Required {
			return "required field missing"
		}
		return nil
	}
	if f.EqNull {
		return "value must be null"
	}
	if f.Unserved != "" && !Equal(v, Clone(f.Default)) {
		return f.Unserved
	}
	var bad any
	switch f.Kind {
	case String:
		bad = f.checkString(v)
	case Integer, Number:
		bad = f.checkNumber(v)
	case Boolean:
		if _, ok := v.(bool); !ok {
			bad = "expected a boolean"
		}
	case Array, Set:
		bad = f.checkList(v)
	case Map:
		bad = f.checkMap(v)
	case Nested:
		r, ok := v.(Record)
		if !ok {
			return "expected a record"
		}
		if b := f.Validate(r); b != nil {
			return b
		}
	case Foreign:
		bad = f.checkForeign(v)
	}
	if bad != nil {
		return bad
	}
	if len(f.OneOf) > 0 && !slices.ContainsFunc(f.OneOf, func(o any) bool { return Equal(o, v) }) {
		return "expected one of: " + joinValues(f.OneOf)
	}
	if f.Check != nil {
		if msg := f.Check(v); msg != "" {
			return msg
		}
	}
	return nil
}

func (f *Field) checkString(v any) any {
	s, ok := v.(string)
	if !ok {
		return "expected a string"
	}
	if !utf8.ValidString(s) {
		return "expected a valid UTF-8 string"
	}
	least := 1
	if f.LenMin != nil {
		least = *f.LenMin
	}
	if bad := checkLength(len(s), &least, f.LenMax); bad != nil {
		return bad
	}
	if f.UUID && !IsUUID(s) {
		return "expected a valid UUID"
	}
	if !strings.HasPrefix(s, f.StartsWith) {
		return "should start with: " + f.StartsWith
	}
	return nil
}

// maxInteger is up to where every integer has a float64 of its own.
const maxInteger = 1 << 53

// finite reports whether JSON has a form of the number.
func finite(n float64) bool { return !math.IsNaN(n) && !math.IsInf(n, 0) }

func (f *Field) checkNumber(v any) any {
	n, ok := v.(float64)
	if f.Kind == Integer && (!ok || n != math.Trunc(n) || math.Abs(n) > maxInteger) {
		return "expected an integer"
	}
	if !ok || !finite(n) {
		return "expected a number"
	}
	if len(f.Between) == 2 && (n < f.Between[0] || n > f.Between[1]) {
		return fmt.Sprintf("value should be between %s and %s", number(f.Between[0]), number(f.Between[1]))
	}
	if f.Gt != nil && n <= *f.Gt {
		return "value must be greater than " + number(*f.Gt)
	}
	return nil
}

func (f *Field) checkList(v any) any {
	list, ok := v.([]any)
	if !ok {
		if f.Kind == Set {
			return "expected a set"
		}
		return "expected an array"
	}
	if bad := checkLength(len(list), f.LenMin, f.LenMax); bad != nil {
		return bad
	}
	bads := make([]any, len(list))
	wrong := false
	for i := range list {
		if bads[i] = f.Elements.check(list[i]); bads[i] != nil {
			wrong = true
		} else if list[i] == nil {
			bads[i], wrong = "required field missing", true
		}
	}
	if wrong {
		return bads
	}
	if len(f.Subsets) > 0 && len(list) > 0 && !slices.ContainsFunc(f.Subsets, func(set []string) bool {
		return !slices.ContainsFunc(list, func(e any) bool { return !slices.Contains(set, e.(string)) })
	}) {
		sets := make([]string, len(f.Subsets))
		for i, s := range f.Subsets {
			sets[i] = "('" + strings.Join(s, "', '") + "')"
		}
		return "these sets are mutually exclusive: " + strings.Join(sets, ", ")
	}
	return nil
}

func (f *Field) checkMap(v any) any {
	m, ok := v.(Record)
	if !ok {
		return "expected a map"
	}
	bad := Violations{}
	for k, e := range m {
		if f.Keys != nil {
			if b := f.Keys.check(k); b != nil {
				bad[k] = b
				continue
			}
		}
		if f.Values != nil {
			if b := f.Values.check(e); b != nil {
				bad[k] = b
			}
		}
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

func (f *Field) checkForeign(v any) any {
	r, ok := v.(Record)
	if !ok {
		return "expected a record"
	}
	bad := Violations{}
	for name := range r {
		if name != "id" {
			bad[name] = "unknown field"
		}
	}
	switch id, isString := r["id"].(string); {
	case r["id"] == nil:
		bad["id"] = "required field missing"
	case !isString:
		bad["id"] = "expected a string"
	case !IsUUID(id):
		bad["id"] = "expected a valid UUID"
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

func checkLength(n int, least, most *int) any {
	if least != nil && n < *least {
		return fmt.Sprintf("length must be at least %d", *least)
	}
	if most != nil && n > *most {
		return fmt.Sprintf("length must be at most %d", *most)
	}
	return nil
}

// Distinct drops repeated values from every set in a completed record.
func (f *Field) Distinct(r Record) {
	for _, c := range f.Fields {
		switch v := r[c.Name].(type) {
		case []any:
			if c.Kind != Set {
				continue
			}
			kept := distinct(v)
			if len(kept) != len(v) {
				r[c.Name] = kept
			}
		case Record:
			if c.Kind == Nested {
				c.Distinct(v)
			}
		}
	}
}

// distinct returns the values of a list once each, in their order.
func distinct(list []any) []any {
	kept := make([]any, 0, len(list))
	seen := make(map[any]bool, len(list)) // by value what a map can hold: lists grow long
	for _, v := range list {
		switch v.(type) {
		case Record, []any:
			if slices.ContainsFunc(kept, func(k any) bool { return Equal(k, v) }) {
				continue
			}
		default:
			if seen[v] {
				continue
			}
			seen[v] = true
		}
		kept = append(kept, v)
	}
	return kept
}

// Equal compares two JSON values.
func Equal(a, b any) bool {
	switch a := a.(type) {
	case Record:
		b, ok := b.(Record)
		if !ok || len(a) != len(b) {
			return false
		}
		for k, v := range a {
			if w, ok := b[k]; !ok || !Equal(v, w) {
				return false
			}
		}
		return true
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, Equal)
	case int:
		return Equal(float64(a), b)
	}
	if n, ok := b.(int); ok {
		b = float64(n)
	}
	switch b.(type) {
	case Record, []any:
		return false
	}
	return a == b
}

// IsUUID reports whether s is a UUID in its usual text form.
func IsUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f':
		default:
			return false
		}
	}
	return true
}

func joinValues(vs []any) string {
	parts := make([]string, len(vs))
	for i, v := range vs {
		if n, ok := v.(float64); ok {
			parts[i] = number(n)
		} else {
			parts[i] = fmt.Sprint(v)
		}
	}
	return strings.Join(parts, ", ")
}

func number(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

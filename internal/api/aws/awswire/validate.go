package awswire

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxBreaches bounds how many breaches one message names.
const maxBreaches = 10

// validate checks in against the constraints of its model and words what it finds as AWS does:
//
//	1 validation error detected: Value 'x y' at 'streamName' failed to satisfy constraint:
//	Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+
func validate(in reflect.Value) error {
	v := validator{}
	v.structure(planOf(in.Type()), in)
	if v.count == 0 {
		return nil
	}
	noun := "errors"
	if v.count == 1 {
		noun = "error"
	}
	f := failf(unsatisfied, "%d validation %s detected: %s", v.count, noun, strings.Join(v.breaches, "; "))
	f.field = v.first
	return f
}

type validator struct {
	path     path
	breaches []string
	count    int
	first    string // the member of the first breach
}

func (v *validator) breach(value, rule string) {
	at := v.path.String()
	if v.count == 0 {
		v.first = at
	}
	if v.count++; v.count <= maxBreaches {
		v.breaches = append(v.breaches, fmt.Sprintf("Value %s at '%s' failed to satisfy constraint: %s", value, at, rule))
	}
}

func (v *validator) structure(s *shape, val reflect.Value) {
	for i := range s.fields {
		f := &s.fields[i]
		fv, ok := present(val.Field(f.index))
		if !ok && !f.required {
			continue
		}
		v.path.member(f.name)
		if ok {
			v.value(f.shape, fv)
		} else {
			v.breach("null", "Member must not be null")
		}
		v.path.pop()
	}
}

func (v *validator) value(s *shape, val reflect.Value) {
	if s.check != nil {
		for _, rule := range s.check.broken(s, val) {
			v.breach(s.check.show(s, val), "Member must "+rule)
		}
	}
	switch s.kind {
	case structure:
		v.structure(s, val)
	case list:
		if s.item.check != nil && s.item.kind != list && s.item.kind != mapping {
			v.items(s, val)
			return
		}
		if s.item.kind != structure && s.item.kind != list && s.item.kind != mapping {
			return
		}
		for i := range val.Len() {
			v.path.item(i + 1)
			v.value(s.item, val.Index(i))
			v.path.pop()
		}
	case mapping:
		v.entries(s, val)
	}
}

// items checks a list of scalars; a breach shows the list and all rules of its items.
func (v *validator) items(s *shape, val reflect.Value) {
	for i := range val.Len() {
		if len(s.item.check.broken(s.item, val.Index(i))) > 0 {
			v.breach(s.item.check.show(s, val), "Member must satisfy constraint: "+s.item.check.rules())
			return
		}
	}
}

func (v *validator) entries(s *shape, val reflect.Value) {
	if s.key.check == nil && s.value.check == nil && s.value.kind != structure && s.value.kind != list && s.value.kind != mapping {
		return
	}
	for _, k := range sortedKeys(val) {
		if s.key.check != nil && len(s.key.check.broken(s.key, reflect.ValueOf(k))) > 0 {
			v.breach("'"+clip(k)+"'", "Map keys must satisfy constraint: "+s.key.check.rules())
			return
		}
		elem := val.MapIndex(reflect.ValueOf(k))
		if s.value.check != nil && len(s.value.check.broken(s.value, elem)) > 0 {
			v.breach(s.value.check.show(s.value, elem), "Map value must satisfy constraint: "+s.value.check.rules())
			return
		}
		if s.value.kind == structure || s.value.kind == list || s.value.kind == mapping {
			v.path.key(k)
			v.value(s.value, elem)
			v.path.pop()
		}
	}
}

// broken returns the rules that val breaks.
func (c *constraint) broken(s *shape, val reflect.Value) []string {
	var out []string
	n := measure(s, val)
	if c.min != nil && n < *c.min {
		out = append(out, c.atLeast())
	}
	if c.max != nil && n > *c.max {
		out = append(out, c.atMost())
	}
	if s.kind != text {
		return out
	}
	str := val.String()
	if c.pattern != nil && !c.pattern.MatchString(str) {
		out = append(out, c.matches())
	}
	if c.enum != nil && !slices.Contains(c.enum, str) {
		out = append(out, c.oneOf())
	}
	return out
}

// measure returns the number that min and max bound: a value, or a length in characters,
// bytes or items.
func measure(s *shape, val reflect.Value) float64 {
	switch s.kind {
	case integer:
		return float64(val.Int())
	case float:
		return val.Float()
	case text:
		return float64(utf8.RuneCountInString(val.String()))
	case blob, list, mapping:
		return float64(val.Len())
	default:
		return 0
	}
}

func (c *constraint) noun() string {
	if c.length {
		return "length"
	}
	return "value"
}

func (c *constraint) atLeast() string {
	return "have " + c.noun() + " greater than or equal to " + c.low
}

func (c *constraint) atMost() string {
	return "have " + c.noun() + " less than or equal to " + c.high
}

func (c *constraint) matches() string { return "satisfy regular expression pattern: " + c.source }

func (c *constraint) oneOf() string {
	return "satisfy enum value set: [" + strings.Join(c.enum, ", ") + "]"
}

// rules lists all of a constraint, as messages about items and entries do.
func (c *constraint) rules() string {
	var out []string
	if c.max != nil {
		out = append(out, "Member must "+c.atMost())
	}
	if c.min != nil {
		out = append(out, "Member must "+c.atLeast())
	}
	if c.pattern != nil {
		out = append(out, "Member must "+c.matches())
	}
	if c.enum != nil {
		out = append(out, "Member must "+c.oneOf())
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// show writes a value into a message: short, and not at all where it is a secret.
func (c *constraint) show(s *shape, val reflect.Value) string {
	switch {
	case c.secret:
		return "'***'"
	case s.kind == blob:
		return "'" + strconv.Itoa(val.Len()) + " bytes'"
	case s.kind == list || s.kind == mapping:
		if s.kind == mapping || s.item.kind != text {
			return "'" + strconv.Itoa(val.Len()) + " items'"
		}
		items := make([]string, 0, min(val.Len(), 20))
		for i := range min(val.Len(), 20) {
			items = append(items, val.Index(i).String())
		}
		return "'[" + clip(strings.Join(items, ", ")) + "]'"
	default:
		return "'" + clip(scalarText(s, val, iso8601)) + "'"
	}
}

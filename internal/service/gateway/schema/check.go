package schema

import (
	"slices"
	"strings"
)

// Check looks at a record as a whole. Exactly one of the members is set. Field names may
// be dotted paths into nested records.
type Check struct {
	AtLeastOneOf      []string
	OnlyOneOf         []string
	AllOrNone         []string
	Distinct          []string
	MutuallyExclusive []string
	If                *Conditional
	// Custom writes what is wrong into bad. It runs only where nothing else is wrong yet.
	Custom func(r Record, bad func(field, msg string))
}

// Conditional constrains one field by the value of another.
type Conditional struct {
	Field string
	Is    []any // Field has one of these values; nil: it is set
	Then  string
	Match Match
	Err   string // instead of the usual phrase
}

// Match is what a Conditional asks of its Then field.
type Match struct {
	Required bool
	EqNull   bool
	OneOf    []any
	LenEq0   bool
	Check    func(v any) string // besides Required
}

func (c Check) run(r Record, bad Violations) {
	set := func(names []string) (n int) {
		for _, name := range names {
			if !Empty(At(r, name)) {
				n++
			}
		}
		return n
	}
	switch {
	case c.AtLeastOneOf != nil:
		if set(c.AtLeastOneOf) == 0 {
			bad.entity("at least one of these fields must be non-empty: " + quoted(c.AtLeastOneOf))
		}
	case c.OnlyOneOf != nil:
		if set(c.OnlyOneOf) != 1 {
			bad.entity("exactly one of these fields must be non-empty: " + quoted(c.OnlyOneOf))
		}
	case c.MutuallyExclusive != nil:
		if set(c.MutuallyExclusive) > 1 {
			bad.entity("only one or none of these fields must be set: " + quoted(c.MutuallyExclusive))
		}
	case c.AllOrNone != nil:
		if n := set(c.AllOrNone); n != 0 && n != len(c.AllOrNone) {
			bad.entity("all or none of these fields must be set: " + quoted(c.AllOrNone))
		}
	case c.Distinct != nil:
		var seen []any
		for _, name := range c.Distinct {
			v := At(r, name)
			if v != nil && slices.ContainsFunc(seen, func(o any) bool { return Equal(o, v) }) {
				bad.entity("values of these fields must be distinct: " + quoted(c.Distinct))
				break
			}
			seen = append(seen, v)
		}
	case c.If != nil:
		c.If.run(r, bad)
	case c.Custom != nil && len(bad) == 0:
		c.Custom(r, func(field, msg string) {
			if field == "" {
				bad.entity(msg)
			} else {
				bad.at(field, msg)
			}
		})
	}
}

func (c *Conditional) run(r Record, bad Violations) {
	v := At(r, c.Field)
	if c.Is == nil && Empty(v) {
		return
	}
	if c.Is != nil && !slices.ContainsFunc(c.Is, func(o any) bool { return Equal(o, v) }) {
		return
	}
	then := At(r, c.Then)
	msg := ""
	switch m := c.Match; {
	case m.Required && Empty(then):
		msg = "required field missing"
	case m.Check != nil:
		msg = m.Check(then)
	case m.EqNull && then != nil:
		msg = "value must be null"
	case m.LenEq0 && !Empty(then):
		msg = "length must be 0"
	case m.OneOf != nil && !slices.ContainsFunc(m.OneOf, func(o any) bool { return Equal(o, then) }):
		msg = "expected one of: " + joinValues(m.OneOf)
	}
	if msg == "" {
		return
	}
	if c.Err != "" {
		msg = c.Err
	}
	bad.at(c.Then, msg)
	bad.entity("failed conditional validation given value of field '" + c.Field + "'")
}

// at sets the phrase of a dotted field unless there is one already.
func (v Violations) at(path, msg string) {
	head, rest, nested := strings.Cut(path, ".")
	if !nested {
		if v[head] == nil {
			v[head] = msg
		}
		return
	}
	inner, ok := v[head].(Violations)
	if !ok {
		if v[head] != nil {
			return
		}
		inner = Violations{}
		v[head] = inner
	}
	inner.at(rest, msg)
}

// At returns the value at a dotted path, nil where there is none.
func At(r Record, path string) any {
	for {
		head, rest, nested := strings.Cut(path, ".")
		v := r[head]
		if !nested {
			return v
		}
		inner, ok := v.(Record)
		if !ok {
			return nil
		}
		r, path = inner, rest
	}
}

// Empty reports whether a value counts as not set: nil, "", or without elements.
func Empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []any:
		return len(v) == 0
	case Record:
		return len(v) == 0
	}
	return false
}

func quoted(names []string) string { return "'" + strings.Join(names, "', '") + "'" }

package schema

import (
	"fmt"
	"strings"
)

// Shorthand is another way to set a field of a record: mostly the name that the field had
// once. A value under it is taken for one of the field.
type Shorthand struct {
	Name          string
	Kind          Kind
	LenMin        *int
	Referenceable bool
	Path          string          // dotted, of the field; "" for a value without effect
	Value         func(v any) any // turns the value into the field's, where they differ

	// Deprecated says what to use instead; "" for a shorthand that is not deprecated. Replaced
	// marks one whose value must be the field's where both are given, and Shown one that
	// answers have beside the field.
	Deprecated string
	Replaced   bool
	Shown      bool
}

// removal is the version of Kong that deprecated fields are gone from.
const removal = "4.0"

// shorthand returns the shorthand called name, or nil.
func (f *Field) shorthand(name string) *Shorthand {
	for i := range f.Shorthands {
		if f.Shorthands[i].Name == name {
			return &f.Shorthands[i]
		}
	}
	return nil
}

func (s *Shorthand) field() *Field {
	return &Field{Name: s.Name, Kind: s.Kind, LenMin: s.LenMin, Referenceable: s.Referenceable}
}

// wrong returns what is wrong with the shorthand's value in a record, or nil.
func (s *Shorthand) wrong(r Record) any {
	v := r[s.Name]
	if v == nil {
		return nil
	}
	if bad := s.field().check(v); bad != nil {
		return bad
	}
	if now := At(r, s.Path); s.Replaced && now != nil && !Equal(now, v) {
		return fmt.Sprintf("both deprecated and new field are used but their values mismatch: %s = %v vs %s = %v", s.Name, v, s.Path, now)
	}
	return nil
}

// expand moves values from shorthands to the fields they stand for, which go first. A value
// that is wrong stays, for Validate to complain about. r is changed; records inside it are not.
func (f *Field) expand(r Record) {
	for i := range f.Shorthands {
		s := &f.Shorthands[i]
		v, given := r[s.Name]
		if !given || s.wrong(r) != nil {
			continue
		}
		delete(r, s.Name)
		if s.Path == "" {
			continue
		}
		if s.Value != nil {
			v = s.Value(v)
		}
		if At(r, s.Path) == nil {
			put(r, s.Path, v)
		}
	}
}

// put sets a value at a dotted path. Records on the way are copied.
func put(r Record, path string, v any) {
	for {
		head, rest, nested := strings.Cut(path, ".")
		if !nested {
			r[head] = v
			return
		}
		old, _ := r[head].(Record)
		inner := make(Record, len(old)+1)
		for k, e := range old {
			inner[k] = e
		}
		r[head] = inner
		r, path = inner, rest
	}
}

// Show returns a record as answers have it: with the shorthands that are shown beside the
// fields. It is r itself where there are none.
func (f *Field) Show(r Record) Record {
	out, copied := r, false
	set := func(name string, v any) {
		if !copied {
			out, copied = make(Record, len(r)+len(f.Shorthands)), true
			for k, e := range r {
				out[k] = e
			}
		}
		out[name] = v
	}
	for _, c := range f.Fields {
		if inner, ok := r[c.Name].(Record); ok && c.Kind == Nested && c.shows() {
			set(c.Name, c.Show(inner))
		}
	}
	for i := range f.Shorthands {
		if s := &f.Shorthands[i]; s.Shown {
			set(s.Name, At(r, s.Path))
		}
	}
	return out
}

// shows reports whether Show adds anything.
func (f *Field) shows() bool {
	for i := range f.Shorthands {
		if f.Shorthands[i].Shown {
			return true
		}
	}
	for _, c := range f.Fields {
		if c.Kind == Nested && c.shows() {
			return true
		}
	}
	return false
}

// DescribeShorthands returns a record's shorthands, each as an object of one member.
func (f *Field) DescribeShorthands() []any {
	out := make([]any, len(f.Shorthands))
	for i := range f.Shorthands {
		s := &f.Shorthands[i]
		d := s.field().Describe()
		path := strings.Split(s.Path, ".")
		if s.Shown {
			d["translate_backwards"] = path
		}
		if s.Deprecated != "" {
			deprecation := Record{"message": s.Deprecated, "removal_in_version": removal}
			if s.Replaced {
				deprecation["replaced_with"] = []any{Record{"path": path}}
			}
			d["deprecation"] = deprecation
		}
		out[i] = Record{s.Name: d}
	}
	return out
}

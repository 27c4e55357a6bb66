package awswire

import (
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// maxParams bounds the parameters of a form; the longest real ones (a few hundred tags, or
// filters) are well below.
const maxParams = 4096

// parseForm reads a form, or the query of a URL.
func parseForm(s string) (url.Values, error) {
	if strings.Count(s, "&") >= maxParams {
		return nil, failf(unreadable, "The request has more than %d parameters.", maxParams)
	}
	v, err := url.ParseQuery(s)
	if err != nil {
		return nil, failf(unreadable, "The query string is malformed: %v", err)
	}
	return v, nil
}

// branch is one step of the dotted names of a form.
type branch struct {
	value    string
	leaf     bool // a parameter ends here
	children map[string]*branch
}

// formTree splits the names of a form at their dots. Of a parameter given twice the first counts.
func formTree(form url.Values) (*branch, error) {
	root := &branch{}
	for name, values := range form {
		b := root
		depth := 0
		for part := range strings.SplitSeq(name, ".") {
			if depth++; depth > maxDepth {
				return nil, failf(unreadable, "The parameter %s nests deeper than %d levels.", clip(name), maxDepth)
			}
			next := b.children[part]
			if next == nil {
				next = &branch{}
				if b.children == nil {
					b.children = map[string]*branch{}
				}
				b.children[part] = next
			}
			b = next
		}
		b.leaf = true
		if len(values) > 0 {
			b.value = values[0]
		}
	}
	return root, nil
}

// formReader builds values from a form's tree.
type formReader struct {
	ec2  bool
	path path
}

func (r *formReader) structure(s *shape, v reflect.Value, b *branch) error {
	for i := range s.fields {
		f := &s.fields[i]
		child := b.children[formName(f, r.ec2)]
		if child == nil && f.shape.kind == list && f.flat && f.shape.itemName != "" {
			child = b.children[f.shape.itemName]
		}
		if child == nil {
			continue
		}
		r.path.member(f.name)
		err := r.value(f.shape, place(v.Field(f.index)), child, f.flat)
		r.path.pop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *formReader) value(s *shape, v reflect.Value, b *branch, flat bool) error {
	switch s.kind {
	case structure:
		return r.structure(s, v, b)
	case list:
		return r.list(s, v, b, flat)
	case mapping:
		return r.mapping(s, v, b, flat)
	default:
		if !b.leaf {
			return notA(s, "", r.path)
		}
		return setScalar(s, v, b.value, r.path)
	}
}

func (r *formReader) list(s *shape, v reflect.Value, b *branch, flat bool) error {
	if !flat && !r.ec2 {
		name := orElse(s.itemName, "member")
		if b.children[name] == nil && len(b.children) > 0 && !b.numbered() {
			return notA(s, "", r.path)
		}
		if b.children[name] != nil {
			b = b.children[name]
		}
	}
	items, err := r.numbers(b)
	if err != nil {
		return err
	}
	v.Set(reflect.MakeSlice(v.Type(), len(items), len(items)))
	for i, n := range items {
		r.path.item(n)
		err := r.value(s.item, v.Index(i), b.children[strconv.Itoa(n)], s.item.flat)
		r.path.pop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *formReader) mapping(s *shape, v reflect.Value, b *branch, flat bool) error {
	if entries := b.children["entry"]; !flat && entries != nil {
		b = entries
	}
	items, err := r.numbers(b)
	if err != nil {
		return err
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(items)))
	for _, n := range items {
		entry := b.children[strconv.Itoa(n)]
		key, value := entry.children[orElse(s.keyName, "key")], entry.children[orElse(s.valueName, "value")]
		if key == nil {
			return notA(s, "", r.path)
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if value != nil {
			r.path.key(key.value)
			err := r.value(s.value, elem, value, false)
			r.path.pop()
			if err != nil {
				return err
			}
		}
		v.SetMapIndex(reflect.ValueOf(key.value), elem)
	}
	return nil
}

// numbered reports whether every child is a list position.
func (b *branch) numbered() bool {
	for k := range b.children {
		if position(k) < 0 {
			return false
		}
	}
	return true
}

// numbers returns the positions under b in order. Gaps are closed, as AWS does.
func (r *formReader) numbers(b *branch) ([]int, error) {
	var out []int
	for k := range maps.Keys(b.children) {
		n := position(k)
		if n < 0 {
			f := failf(mistyped, "'%s.%s' is not a position in a list", r.path, clip(k))
			f.field = r.path.String()
			return nil, f
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return out, nil
}

// position reads a list position as AWS clients write it, or returns -1.
func position(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 1<<20 || strconv.Itoa(n) != s {
		return -1
	}
	return n
}

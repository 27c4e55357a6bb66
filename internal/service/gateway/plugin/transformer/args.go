package transformer

import (
	"net/url"
	"slices"
	"strings"
)

// values are named values in order: the arguments of a query or a form.
type values []value

type value struct {
	name, text string
	bare       bool // without "="
}

func parseArgs(s string) values {
	var out values
	for part := range strings.SplitSeq(s, "&") {
		if part == "" {
			continue
		}
		k, v, valued := strings.Cut(part, "=")
		out = append(out, value{unescape(k), unescape(v), !valued})
	}
	return out
}

func unescape(s string) string {
	if u, err := url.QueryUnescape(s); err == nil {
		return u
	}
	return s
}

func (v values) encode() string {
	var b strings.Builder
	for i, a := range v {
		if i > 0 {
			b.WriteByte('&')
		}
		b.WriteString(strings.ReplaceAll(url.QueryEscape(a.name), "+", "%20"))
		if !a.bare {
			b.WriteString("=" + strings.ReplaceAll(url.QueryEscape(a.text), "+", "%20"))
		}
	}
	return b.String()
}

func (v values) has(name string) bool {
	return slices.ContainsFunc(v, func(a value) bool { return a.name == name })
}

func (v *values) remove(name string) {
	*v = slices.DeleteFunc(*v, func(a value) bool { return a.name == name })
}

// apply makes the changes, and reports whether there were any.
func (v *values) apply(c *changes) (changed bool) {
	for _, name := range c.remove {
		if v.has(name) {
			v.remove(name)
			changed = true
		}
	}
	for _, p := range c.rename {
		if !v.has(p.name) || p.text == "" {
			continue
		}
		if p.name != p.text {
			v.remove(p.text)
		}
		for i := range *v {
			if (*v)[i].name == p.name {
				(*v)[i].name = p.text
			}
		}
		changed = true
	}
	for _, p := range c.replace {
		if i := slices.IndexFunc(*v, func(a value) bool { return a.name == p.name }); i >= 0 {
			v.remove(p.name)
			*v = slices.Insert(*v, min(i, len(*v)), value{name: p.name, text: p.text})
			changed = true
		}
	}
	for _, p := range c.add {
		if !v.has(p.name) {
			*v = append(*v, value{name: p.name, text: p.text})
			changed = true
		}
	}
	for _, p := range c.append {
		*v = append(*v, value{name: p.name, text: p.text})
		changed = true
	}
	return changed
}

// pair is a change by name, rendered.
type pair struct {
	name, text string
	kind       string // of a member of JSON: "number", "boolean" or a string
}

// changes are those of one part of a message, rendered.
type changes struct {
	remove                       []string
	rename, replace, add, append []pair
}

func (c *changes) empty() bool {
	return len(c.remove)+len(c.rename)+len(c.replace)+len(c.add)+len(c.append) == 0
}

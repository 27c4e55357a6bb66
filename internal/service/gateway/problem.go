package gateway

import (
	"fmt"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Problem is one thing that is wrong with a declaration.
type Problem struct {
	Collection string `json:"collection,omitempty"`
	Name       string `json:"name,omitempty"`
	ID         string `json:"id,omitempty"`
	Field      string `json:"field,omitempty"` // dotted; "" where it concerns the record as a whole
	Message    string `json:"message"`
	Path       []any  `json:"path,omitempty"` // in the document: names, and indices from 0
}

// String returns the problem on one line.
func (p Problem) String() string {
	var parts []string
	if p.Collection != "" {
		record := p.Collection
		switch {
		case p.Name != "":
			record += fmt.Sprintf(" %q", p.Name)
		case p.ID != "":
			record += " " + p.ID
		}
		if p.Name != "" && p.ID != "" {
			record += " (id " + p.ID + ")"
		}
		parts = append(parts, record)
	}
	if p.Field != "" {
		parts = append(parts, p.Field)
	}
	return strings.Join(append(parts, p.Message), ": ")
}

// Problems returns what is wrong with a declaration that Declare or Apply refused, one by one.
func (g *Gateway) Problems(refused *Error) (out []Problem) {
	names := make([]string, 0, len(refused.Fields))
	for name, v := range refused.Fields {
		if _, ok := v.(string); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		out = append(out, Problem{Field: name, Message: refused.Fields[name].(string), Path: []any{name}})
	}
	for _, m := range refused.Misfits {
		e := g.entities[m.Collection]
		p := Problem{Collection: m.Collection, Name: str(m.Record[e.EndpointKey]), Path: m.Path}
		if p.Name == "" {
			p.Name = str(m.Record["name"])
		}
		if f := e.Record.Field(e.EndpointKey); f != nil && f.Secret { // errors are logged
			p.Name = ""
		}
		if !m.derived {
			p.ID = str(m.Record["id"])
		}
		out = append(out, g.problems(p, "", m.Violations)...)
	}
	return out
}

// problems are those of one record, or of a record inside it, by field.
func (g *Gateway) problems(of Problem, prefix string, v schema.Violations) (out []Problem) {
	add := func(field string, path []any, message any) {
		p := of
		p.Field, p.Path, p.Message = field, path, fmt.Sprint(message)
		if p.Collection == "plugins" && field == "name" && g.kinds[p.Name] == nil {
			p.Message += "; there are " + strings.Join(g.kindNames(), ", ") + "; leave the plugin out to go on without it"
		}
		out = append(out, p)
	}
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		path := append(slices.Clone(of.Path), name)
		switch e := v[name].(type) {
		case schema.Violations:
			inner := of
			inner.Path = path
			out = append(out, g.problems(inner, prefix+name+".", e)...)
		case []any:
			for i, m := range e {
				switch m := m.(type) {
				case nil:
				case schema.Violations:
					inner := of
					inner.Path = append(slices.Clone(path), i)
					out = append(out, g.problems(inner, fmt.Sprintf("%s%s.%d.", prefix, name, i+1), m)...)
				default:
					if name == schema.EntityKey {
						add(strings.TrimSuffix(prefix, "."), of.Path, m)
					} else {
						add(fmt.Sprintf("%s%s.%d", prefix, name, i+1), append(slices.Clone(path), i), m)
					}
				}
			}
		default:
			add(prefix+name, path, e)
		}
	}
	return out
}

// kindNames are the names of the kinds of plugin there are, in order.
func (g *Gateway) kindNames() []string {
	var names []string
	for name := range g.kinds {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

package flow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// What happened to a component between two flows.
const (
	Added   = "added"
	Removed = "removed"
	Changed = "changed"
)

// Difference is a component that two flows do not have alike.
type Difference struct {
	What        string  `json:"what"` // Added, Removed or Changed
	ComponentID string  `json:"componentId"`
	Kind        Kind    `json:"kind"`
	Name        string  `json:"name"`             // as the later flow has it, or the earlier where it was removed
	Fields      []Field `json:"fields,omitempty"` // of a Changed one, in order
}

// Field is a member with another value. The values are nil where there was or is none; those
// of secrets are not told.
type Field struct {
	Name string  `json:"name"` // properties.NAME, parameters.NAME, groupIdentifier, …
	Old  *string `json:"old"`
	New  *string `json:"new"`
}

// Diff tells how b differs from a, in order of components. Revisions do not count. The
// manifest tells which properties are secret; without one only parameters can be.
func Diff(a, b *Flow, m *manifest.Manifest) []Difference {
	was, is := described(a, m), described(b, m)
	var out []Difference
	for _, id := range slices.Sorted(maps.Keys(is)) {
		now := is[id]
		old, ok := was[id]
		if !ok {
			out = append(out, Difference{What: Added, ComponentID: id, Kind: now.kind, Name: now.name})
			continue
		}
		if fields := compare(old, now); len(fields) > 0 {
			out = append(out, Difference{What: Changed, ComponentID: id, Kind: now.kind, Name: now.name, Fields: fields})
		}
	}
	for id, old := range was {
		if _, ok := is[id]; !ok {
			out = append(out, Difference{What: Removed, ComponentID: id, Kind: old.kind, Name: old.name})
		}
	}
	slices.SortStableFunc(out, func(a, b Difference) int { return cmp.Compare(a.ComponentID, b.ComponentID) })
	return out
}

// description is a component as names and values.
type description struct {
	kind   Kind
	name   string
	fields map[string]string
	secret map[string]bool // fields whose values are not told
}

func described(f *Flow, m *manifest.Manifest) map[string]description {
	c := f.clone()
	c.canon()
	out := map[string]description{}
	for component, g := range c.All() {
		d := description{component.Kind(), component.Meta().Name, map[string]string{}, map[string]bool{"proxyPassword": true}}
		if g != nil {
			d.fields["groupIdentifier"] = g.ID
		}
		if group, ok := component.(*Group); ok {
			component = group.settings()
		}
		if context, ok := component.(*ParameterContext); ok {
			component = context.byName(d)
		}
		text, err := json.Marshal(component)
		if err != nil {
			continue // no component holds what JSON cannot
		}
		var v map[string]any
		if json.Unmarshal(text, &v) == nil {
			delete(v, "revision")
			flatten(d.fields, "", v)
		}
		d.secrets(component, m)
		out[component.Meta().ID] = d
	}
	return out
}

// byName puts parameters into a description by their names, and returns the context without.
func (c *ParameterContext) byName(d description) *ParameterContext {
	for _, p := range c.Parameters {
		field := "parameters." + p.Name
		if p.Value != nil {
			d.fields[field] = *p.Value
		}
		d.fields[field+".sensitive"] = strconv.FormatBool(p.Sensitive)
		if p.Description != "" {
			d.fields[field+".description"] = p.Description
		}
		d.secret[field] = p.Sensitive
	}
	n := *c
	n.Parameters = nil
	return &n
}

// secrets notes which properties the manifest calls sensitive.
func (d description) secrets(c Component, m *manifest.Manifest) {
	var known *manifest.Component
	switch c := c.(type) {
	case *Processor:
		known = find(m, manifest.Processor, c.Type, c.Bundle)
	case *ControllerService:
		known = find(m, manifest.ControllerService, c.Type, c.Bundle)
	}
	if known == nil {
		return
	}
	for _, p := range known.Properties {
		if p.Sensitive {
			d.secret["properties."+p.Name] = true
		}
	}
}

// flatten names the values of an object by their paths.
func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if path != "" {
				k = path + "." + k
			}
			flatten(out, k, e)
		}
	case string:
		out[path] = v
	default:
		text, err := json.Marshal(v)
		if err != nil {
			text = fmt.Append(nil, v)
		}
		out[path] = string(text)
	}
}

// hidden stands for a value that is not told.
const hidden = "(secret)"

func compare(old, now description) []Field {
	names := map[string]bool{}
	for _, d := range []description{old, now} {
		for name := range d.fields {
			names[name] = true
		}
	}
	var out []Field
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, before := old.fields[name]
		b, after := now.fields[name]
		if before == after && a == b {
			continue
		}
		if old.secret[name] || now.secret[name] {
			a, b = hidden, hidden
		}
		f := Field{Name: name}
		if before {
			f.Old = &a
		}
		if after {
			f.New = &b
		}
		out = append(out, f)
	}
	return out
}

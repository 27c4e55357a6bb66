package transformer

import (
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// list describes an array of names, or of pairs.
func list(name string, check func(string) string) *schema.Field {
	f := &schema.Field{Name: name, Kind: schema.Array, Required: true, Default: []any{}, Elements: &schema.Field{Kind: schema.String}}
	if check != nil {
		f.Elements.Check = func(v any) string { return check(v.(string)) }
	}
	return f
}

func checkPair(v string) string {
	if i := strings.IndexByte(v, ':'); i < 1 {
		return "invalid value: " + v
	}
	return ""
}

// checkHeader is checkPair for headers, whose names must be ones.
func checkHeader(v string) string {
	name, _, _ := strings.Cut(v, ":")
	if bad := checkPair(v); bad != "" {
		return bad
	}
	return checkHeaderName(name)
}

func checkHeaderName(name string) string {
	if !gateway.ValidName(strings.TrimSpace(name)) {
		return "'" + name + "' is not a valid header"
	}
	return ""
}

// checkRename is checkHeader for a pair of names.
func checkRename(v string) string {
	if bad := checkHeader(v); bad != "" {
		return bad
	}
	_, to, _ := strings.Cut(v, ":")
	return checkHeaderName(to)
}

func action(name string, fields ...*schema.Field) *schema.Field {
	return &schema.Field{Name: name, Kind: schema.Nested, Required: true, Fields: fields}
}

// cut takes an entry apart.
func cut(entry string) (name, text string) {
	name, text, _ = strings.Cut(entry, ":")
	return name, strings.TrimLeft(text, ":")
}

// planned is a change before its value is rendered.
type planned struct {
	name     string
	template *template // nil where the value is text
	text     string
	kind     string
}

// plan are the changes of one part as they are configured.
type plan struct {
	remove                       []string
	rename, replace, add, append []planned
}

// newPlan reads the lists called part; a nil engine takes values as they are.
func newPlan(e *lua.Engine, c schema.Record, part string) (*plan, error) {
	p := &plan{remove: schema.Strings(schema.At(c, "remove."+part))}
	for i, entry := range p.remove { // a value behind the name does not count, as in Kong
		if part == "headers" {
			p.remove[i], _ = cut(entry)
		}
	}
	for name, to := range map[string]*[]planned{"rename": &p.rename, "replace": &p.replace, "add": &p.add, "append": &p.append} {
		kinds := schema.Strings(schema.At(c, name+"."+part+"_types"))
		for i, entry := range schema.Strings(schema.At(c, name+"."+part)) {
			n, text := cut(entry)
			ch := planned{name: n, text: text}
			if i < len(kinds) {
				ch.kind = kinds[i]
			}
			if e != nil && strings.Contains(text, "$(") {
				t, err := parse(e, text)
				if err != nil {
					return nil, err
				}
				ch.template = t
			}
			*to = append(*to, ch)
		}
	}
	return p, nil
}

// render renders all values.
func (p *plan) render(text func(*template) (string, error)) (*changes, error) {
	c := &changes{remove: p.remove}
	for _, l := range []struct {
		from []planned
		to   *[]pair
	}{{p.rename, &c.rename}, {p.replace, &c.replace}, {p.add, &c.add}, {p.append, &c.append}} {
		for _, ch := range l.from {
			out := pair{ch.name, ch.text, ch.kind}
			if ch.template != nil {
				var err error
				if out.text, err = text(ch.template); err != nil {
					return nil, err
				}
			}
			*l.to = append(*l.to, out)
		}
	}
	return c, nil
}

func (p *plan) close() {
	for _, l := range [][]planned{p.rename, p.replace, p.add, p.append} {
		for _, ch := range l {
			if ch.template != nil {
				ch.template.close()
			}
		}
	}
}

// applyHeader makes the changes to a head. Pairs without a value change nothing.
func (c *changes) applyHeader(h *gateway.Header) {
	for _, name := range c.remove {
		h.Del(name)
	}
	for _, p := range c.rename {
		var moved []string
		for _, f := range h.Fields() {
			if gateway.EqualFold(f.Name, p.name) {
				moved = append(moved, f.Value)
			}
		}
		if moved == nil || p.text == "" {
			continue
		}
		h.Del(p.name)
		h.Del(p.text)
		for _, v := range moved {
			h.Add(p.text, v)
		}
	}
	for _, p := range c.replace {
		if h.Count(p.name) > 0 && p.text != "" {
			h.Set(p.name, p.text)
		}
	}
	for _, p := range c.add {
		if h.Count(p.name) == 0 && p.text != "" {
			h.Add(p.name, p.text)
		}
	}
	for _, p := range c.append {
		if p.text != "" {
			h.Add(p.name, p.text)
		}
	}
}

package transformer

import (
	"bytes"
	"encoding/json"
	"strconv"
)

// applyJSON makes the changes to a JSON object; ok is false where the body is none, or
// stays as it is.
func (c *changes) applyJSON(body []byte) (out []byte, ok bool) {
	object := map[string]any{}
	if len(bytes.TrimSpace(body)) > 0 {
		d := json.NewDecoder(bytes.NewReader(body))
		d.UseNumber() // numbers stay as they were written
		if d.Decode(&object) != nil || object == nil || d.More() {
			return nil, false
		}
	}
	changed := false
	for _, name := range c.remove {
		if _, there := object[name]; there {
			delete(object, name)
			changed = true
		}
	}
	for _, p := range c.rename {
		if v, there := object[p.name]; there && p.text != "" {
			delete(object, p.name)
			object[p.text] = v
			changed = true
		}
	}
	for _, p := range c.replace {
		if v, valid := p.member(); valid && truthy(object, p.name) {
			object[p.name] = v
			changed = true
		}
	}
	for _, p := range c.add {
		if v, valid := p.member(); valid && !truthy(object, p.name) {
			object[p.name] = v
			changed = true
		}
	}
	for _, p := range c.append {
		v, valid := p.member()
		if !valid {
			continue
		}
		switch old := object[p.name].(type) {
		case []any:
			object[p.name] = append(old, v)
		case string:
			object[p.name] = []any{old, v}
		default:
			object[p.name] = []any{v}
		}
		changed = true
	}
	if !changed {
		return nil, false
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(object) != nil {
		return nil, false
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), true
}

// truthy is what Lua takes for being there: false is not.
func truthy(object map[string]any, name string) bool {
	v, there := object[name]
	return there && v != false
}

// member returns a pair's value in its type; not valid where it is none of that type.
func (p *pair) member() (v any, valid bool) {
	switch p.kind {
	case "number":
		n, err := strconv.ParseFloat(p.text, 64)
		return n, err == nil
	case "boolean":
		return p.text == "true", true
	}
	return p.text, true
}

package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/tidwall/gjson"

	"sluice.dev/sluice/internal/service/edge/jsontext"
)

// format is the version of the text that Marshal writes.
const format = 1

// file is the text of a flow.
type file struct {
	Format int `json:"format"`
	*Flow
}

// Marshal writes a flow as text, in the one form that a flow has.
func Marshal(f *Flow) ([]byte, error) {
	c := f.clone()
	c.canon()
	return encode(file{format, c})
}

// encode writes JSON for people and for git: indented, nothing escaped for HTML.
func encode(v any) ([]byte, error) {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, fmt.Errorf("flow: %w", err)
	}
	return out.Bytes(), nil
}

// Unmarshal reads the text of a flow. An error is of the reason Invalid and names the member
// at fault, be it only that there is no such member.
func Unmarshal(text []byte) (*Flow, error) {
	if err := jsontext.Check(text, 2*maxGroups+8); err != nil {
		return nil, Invalid.New("the flow is %v", err)
	}
	root := gjson.ParseBytes(text)
	if !root.IsObject() {
		return nil, Invalid.New("a flow is a JSON object")
	}
	if v := root.Get("format"); v.Raw != "1" {
		return nil, Invalid.Field("format", "format: this program reads flows of the format %d, not %s", format, v.Raw)
	}
	if m := (*jsontext.Misfit)(nil); errors.As(jsontext.Fit(text, reflect.TypeFor[file]()), &m) {
		return nil, Invalid.Field(m.Path, "%v", m)
	}
	f := file{Flow: &Flow{}}
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, Invalid.New("the flow cannot be read: %v", err)
	}
	return finish(f.Flow)
}

// finish brings a flow that was read into its form, if it makes sense.
func finish(f *Flow) (*Flow, error) {
	if f.Root == nil {
		return nil, Invalid.Field("rootGroup", "rootGroup: missing")
	}
	if err := f.whole(); err != nil {
		return nil, err
	}
	f.canon()
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// whole refuses null where a component is wanted, and groups without end.
func (f *Flow) whole() error {
	hole := Invalid.New("a component is null")
	for _, c := range f.Contexts {
		if c == nil {
			return hole
		}
	}
	var down func(g *Group, level int) error
	down = func(g *Group, level int) error {
		if level > maxGroups {
			return Invalid.New("groups are nested more than %d levels deep", maxGroups)
		}
		for c := range g.own() {
			if reflect.ValueOf(c).IsNil() {
				return hole
			}
			if r, ok := c.(*RemoteGroup); ok {
				for _, ports := range [][]*RemotePort{r.Inputs, r.Outputs} {
					for _, p := range ports {
						if p == nil {
							return hole
						}
					}
				}
			}
		}
		for _, child := range g.Groups {
			if err := down(child, level+1); err != nil {
				return err
			}
		}
		return nil
	}
	return down(f.Root, 1)
}

package jsontext

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/tidwall/gjson"
)

// Misfit is a member of a text that a type has no place for.
type Misfit struct {
	Path string // such as rootGroup.processors[0].type; empty for the text itself
	What string // what is wrong with it
}

// Error tells both.
func (m *Misfit) Error() string { return strings.TrimPrefix(m.Path+": "+m.What, ": ") }

// Fit compares the members of a text, which Check has passed, with those of a type and their
// shapes, to the letter: what encoding/json would pass over in silence is an error of type
// *Misfit. null fits everywhere.
func Fit(text []byte, t reflect.Type) error { return fit(gjson.ParseBytes(text), t, "") }

func fit(v gjson.Result, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if v.Type == gjson.Null || t == reflect.TypeFor[json.RawMessage]() {
		return nil
	}
	wrong := func(want string) error { return &Misfit{path, "expected " + want} }
	var err error
	switch t.Kind() {
	case reflect.Struct:
		if !v.IsObject() {
			return wrong("an object")
		}
		fields := members(t)
		seen := map[string]bool{}
		v.ForEach(func(k, e gjson.Result) bool {
			at := strings.TrimPrefix(path+"."+k.Str, ".")
			ft, ok := fields[k.Str]
			switch {
			case !ok:
				err = &Misfit{at, "there is no such member"}
			case seen[k.Str]:
				err = &Misfit{at, "is there twice"}
			default:
				seen[k.Str] = true
				err = fit(e, ft, at)
			}
			return err == nil
		})
	case reflect.Slice:
		if !v.IsArray() {
			return wrong("a list")
		}
		i := 0
		v.ForEach(func(_, e gjson.Result) bool {
			err = fit(e, t.Elem(), fmt.Sprintf("%s[%d]", path, i))
			i++
			return err == nil
		})
	case reflect.Map:
		if !v.IsObject() {
			return wrong("an object")
		}
		v.ForEach(func(k, e gjson.Result) bool {
			err = fit(e, t.Elem(), path+"."+k.Str)
			return err == nil
		})
	case reflect.String:
		if v.Type != gjson.String {
			return wrong("a text")
		}
	case reflect.Bool:
		if !v.IsBool() {
			return wrong("true or false")
		}
	case reflect.Int, reflect.Int64:
		if v.Type != gjson.Number || strings.ContainsAny(v.Raw, ".eE") {
			return wrong("a whole number")
		}
	case reflect.Float64:
		if v.Type != gjson.Number {
			return wrong("a number")
		}
	}
	return err
}

// members returns the types of a struct's members by their names in JSON.
func members(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			out[name] = f.Type
		}
	}
	return out
}

package awswire_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awsgen/model"
	"sluice.dev/sluice/internal/api/aws/awswire"
)

// The values of the vectors: made of their models, and compared by what they mean.

var timeType = reflect.TypeFor[time.Time]()

// goType makes the Go type of a shape as awsgen would write it. A recursive shape is unrolled a
// few levels: reflect cannot make recursive types.
func goType(m *model.Model, name string, input bool, seen map[string]int) reflect.Type {
	s := m.Shapes[name]
	switch s.Type {
	case "structure":
		if seen[name] > 4 {
			return reflect.StructOf(nil)
		}
		seen[name]++
		defer func() { seen[name]-- }()
		var fields []reflect.StructField
		for _, mem := range s.Members {
			fields = append(fields, reflect.StructField{
				Name: model.Field(mem.Name),
				Type: memberType(m, mem, input, seen),
				Tag:  reflect.StructTag(m.Tag(s, mem, input)),
			})
		}
		return reflect.StructOf(fields)
	case "list":
		return reflect.SliceOf(goType(m, s.Member.Shape, input, seen))
	case "map":
		return reflect.MapOf(reflect.TypeFor[string](), goType(m, s.Value.Shape, input, seen))
	case "blob":
		return reflect.TypeFor[[]byte]()
	case "boolean":
		return reflect.TypeFor[bool]()
	case "integer", "long":
		return reflect.TypeFor[int64]()
	case "float", "double":
		return reflect.TypeFor[float64]()
	case "timestamp":
		return timeType
	default:
		return reflect.TypeFor[string]()
	}
}

func memberType(m *model.Model, mem model.Member, input bool, seen map[string]int) reflect.Type {
	switch s, t := m.Shapes[mem.Shape], m.Traits(mem.Ref); {
	case t.Streaming && input:
		return reflect.TypeFor[*awswire.Body]()
	case t.Streaming:
		return reflect.TypeFor[io.ReadCloser]()
	case s.Type == "list", s.Type == "map", s.Type == "blob":
		return goType(m, mem.Shape, input, seen)
	default:
		return reflect.PointerTo(goType(m, mem.Shape, input, seen))
	}
}

// fill sets v to a vector's value.
func fill(t *testing.T, m *model.Model, shape string, v reflect.Value, value any) {
	t.Helper()
	s := m.Shapes[shape]
	switch {
	case value == nil:
		return
	case v.Type() == reflect.TypeFor[*awswire.Body]():
		v.Set(reflect.ValueOf(awswire.NewBody(strings.NewReader(value.(string)), int64(len(value.(string))))))
		return
	case v.Type() == reflect.TypeFor[io.ReadCloser]():
		v.Set(reflect.ValueOf(io.NopCloser(strings.NewReader(value.(string)))))
		return
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch s.Type {
	case "structure":
		for k, e := range value.(map[string]any) {
			i := slices.IndexFunc(s.Members, func(mem model.Member) bool { return mem.Name == k })
			if i < 0 {
				t.Fatalf("shape %s has no member %s", shape, k)
			}
			fill(t, m, s.Members[i].Shape, v.FieldByName(model.Field(k)), e)
		}
	case "list":
		list := value.([]any)
		v.Set(reflect.MakeSlice(v.Type(), len(list), len(list)))
		for i, e := range list {
			fill(t, m, s.Member.Shape, v.Index(i), e)
		}
	case "map":
		v.Set(reflect.MakeMap(v.Type()))
		for k, e := range value.(map[string]any) {
			elem := reflect.New(v.Type().Elem()).Elem()
			fill(t, m, s.Value.Shape, elem, e)
			v.SetMapIndex(reflect.ValueOf(k), elem)
		}
	case "blob":
		v.SetBytes([]byte(value.(string)))
	case "boolean":
		v.SetBool(value.(bool))
	case "integer", "long":
		v.SetInt(int64(value.(float64)))
	case "float", "double":
		v.SetFloat(value.(float64))
	case "timestamp":
		at, err := awswire.ParseTime(fmt.Sprint(json.Number(fmt.Sprintf("%f", value.(float64)))))
		must(t, err)
		v.Set(reflect.ValueOf(at))
	default:
		v.SetString(value.(string))
	}
}

// same compares two values, streams by their content.
func same(t *testing.T, what string, want, got reflect.Value) {
	t.Helper()
	if diff := cmp.Diff(plain(want.Elem()), plain(got.Elem())); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// plain turns a value into maps and slices without what is absent, so that absent and empty compare alike.
func plain(v reflect.Value) any {
	if v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		if v.IsNil() {
			return nil
		}
		if r, ok := v.Interface().(io.Reader); ok {
			b, _ := io.ReadAll(r)
			return string(b)
		}
		return plain(v.Elem())
	}
	switch {
	case v.Type() == timeType:
		return v.Interface()
	case v.Kind() == reflect.Struct:
		out := map[string]any{}
		for i := range v.NumField() {
			if e := plain(v.Field(i)); e != nil {
				out[v.Type().Field(i).Name] = e
			}
		}
		return out
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		if v.Len() == 0 {
			return nil
		}
		return string(v.Bytes())
	case v.Kind() == reflect.Slice:
		if v.Len() == 0 {
			return nil
		}
		var out []any
		for i := range v.Len() {
			out = append(out, plain(v.Index(i)))
		}
		return out
	case v.Kind() == reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[strings.ToLower(k.String())] = plain(v.MapIndex(k))
		}
		return out
	default:
		return v.Interface()
	}
}

// sameBody compares bodies by what they mean.
func sameBody(t *testing.T, p awswire.Protocol, want, got string) {
	t.Helper()
	switch {
	case p == awswire.Query || p == awswire.EC2:
		w, _ := url.ParseQuery(want)
		g, _ := url.ParseQuery(got)
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("form (-want +got):\n%s", diff)
		}
	case strings.HasPrefix(want, "<"):
		if diff := cmp.Diff(element(t, want), element(t, got)); diff != "" {
			t.Errorf("XML (-want +got):\n%s", diff)
		}
	case strings.HasPrefix(want, "{"):
		var w, g any
		must(t, json.Unmarshal([]byte(want), &w))
		if err := json.Unmarshal([]byte(got), &g); err != nil {
			t.Fatalf("%q is not JSON: %v", got, err)
		}
		if diff := cmp.Diff(w, g); diff != "" {
			t.Errorf("JSON (-want +got):\n%s", diff)
		}
	default:
		if strings.TrimSpace(want) != strings.TrimSpace(got) {
			t.Errorf("body %q, want %q", got, want)
		}
	}
}

// sameAnswer checks that every element of the vector is in our answer, with its text.
// Elements that we add (request ids) and namespaces are beside the point.
func sameAnswer(t *testing.T, want, got string) {
	t.Helper()
	if !strings.HasPrefix(want, "<") {
		return
	}
	w, g := element(t, want), element(t, got)
	for _, path := range w.leaves("") {
		if strings.Contains(strings.ToLower(path), "requestid") {
			continue
		}
		if !slices.Contains(g.leaves(""), path) {
			t.Errorf("the answer lacks %s:\n%s", path, got)
		}
	}
}

// xmlElement is an element as the tests compare them.
type xmlElement struct {
	Name     string
	Attrs    map[string]string
	Text     string
	Children []*xmlElement
}

// leaves lists the elements without children, by their path below the root, with their text.
func (e *xmlElement) leaves(path string) []string {
	if len(e.Children) == 0 {
		return []string{path + "=" + e.Text}
	}
	var out []string
	for _, c := range e.Children {
		out = append(out, c.leaves(path+"/"+c.Name)...)
	}
	return out
}

func element(t *testing.T, doc string) *xmlElement {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader([]byte(doc)))
	root := &xmlElement{}
	stack := []*xmlElement{root}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%q: %v", doc, err)
		}
		switch tok := token.(type) {
		case xml.StartElement:
			e := &xmlElement{Name: tok.Name.Local, Attrs: map[string]string{}}
			for _, a := range tok.Attr {
				e.Attrs[a.Name.Local] = a.Value
			}
			top := stack[len(stack)-1]
			top.Children = append(top.Children, e)
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			top := stack[len(stack)-1]
			top.Text = strings.TrimSpace(top.Text + string(tok))
		}
	}
	if len(root.Children) == 0 {
		t.Fatalf("%q has no root element", doc)
	}
	sortChildren(root)
	return root.Children[0]
}

// sortChildren orders elements of different names: their order is free.
func sortChildren(e *xmlElement) {
	slices.SortStableFunc(e.Children, func(a, b *xmlElement) int { return strings.Compare(a.Name, b.Name) })
	for _, c := range e.Children {
		sortChildren(c)
	}
}

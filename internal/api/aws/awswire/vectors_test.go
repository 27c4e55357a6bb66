package awswire_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awsgen/model"
	"sluice.dev/sluice/internal/api/aws/awswire"
)

// The vectors are the protocol tests that AWS publishes with its SDKs: requests and answers of
// made-up APIs, with the values they stand for. Each case is run in the direction it is given
// (a client writes the request, a client reads the answer) and inverted (a server reads the
// request, a server writes the answer).

// suite is the file format of the vectors: one API with cases.
type suite struct {
	Description string
	Metadata    json.RawMessage
	Shapes      json.RawMessage
	Cases       []struct {
		Given      json.RawMessage
		Params     map[string]any
		Serialized struct {
			URI     string
			Method  string
			Body    *string
			Headers map[string]string
			Forbid  []string `json:"forbidHeaders"`
		}
		Result   map[string]any
		Response struct {
			StatusCode int `json:"status_code"`
			Headers    map[string]string
			Body       string
		}
	}
}

var protocols = map[string]awswire.Protocol{
	"query": awswire.Query, "ec2": awswire.EC2, "json": awswire.JSON11, "rest-json": awswire.RestJSON, "rest-xml": awswire.RestXML,
}

// Cases that do not apply, by file, description and, where not all are meant, case number.
const (
	jsonValue    = "no API here has JSON in strings (the jsonvalue trait)"
	hostPrefix   = "the host prefix is for clients of many endpoints; here there is one"
	randomToken  = "the client's token is random; TestIdempotencyToken covers it"
	sparse       = "lists of null have no counterpart in Go slices; nulls are dropped on reading"
	emptyPayload = "an absent payload and an empty one look alike on the wire"
	noFilter     = "a header map without a prefix is not used by any API here"
)

var notApplicable = map[string]string{
	"input/rest-json JSON value trait":              jsonValue,
	"output/rest-json JSON value trait":             jsonValue,
	"input/query Endpoint host trait":               hostPrefix,
	"input/ec2 Endpoint host trait":                 hostPrefix,
	"input/json Endpoint host trait static prefix":  hostPrefix,
	"input/rest-json Endpoint host trait":           hostPrefix,
	"input/rest-xml Endpoint host trait":            hostPrefix,
	"input/query Idempotency token auto fill 1":     randomToken,
	"input/ec2 Idempotency token auto fill 1":       randomToken,
	"input/json Idempotency token auto fill 1":      randomToken,
	"input/rest-json Idempotency token auto fill 1": randomToken,
	"input/rest-xml Idempotency token auto fill 1":  randomToken,
	"output/json Lists 1":                           sparse,
	"output/rest-json Supports header maps":         noFilter,
}

// Cases that apply in one direction alone.
var writeOnly = map[string]string{
	"input/rest-xml Header whitespace 0":                "blanks around a header's value are lost on the wire",
	"input/rest-json Structure payload 1":               emptyPayload,
	"input/rest-json rest-json Content-Type and body 2": emptyPayload,
	"input/rest-json rest-json Content-Type and body 4": emptyPayload,
}

var readOnly = map[string]string{
	"input/query Recursive shapes 5": "the entries of a map are written in the order of their keys; the vector's order is another one",
}

func TestVectors(t *testing.T) {
	dir := vectorDir(t)
	var ran, skipped int
	for _, side := range []string{"input", "output"} {
		for _, file := range []string{"query", "ec2", "json", "rest-json", "rest-xml"} {
			b, err := os.ReadFile(filepath.Join(dir, side, file+".json"))
			if err != nil {
				t.Fatal(err)
			}
			var suites []suite
			if err := json.Unmarshal(b, &suites); err != nil {
				t.Fatal(err)
			}
			for _, s := range suites {
				for i := range s.Cases {
					name := side + "/" + file + " " + s.Description
					id := fmt.Sprintf("%s %d", name, i)
					if reason := notApplicable[name] + notApplicable[id]; reason != "" {
						skipped++
						continue
					}
					ran++
					t.Run(id, func(t *testing.T) {
						s.run(t, protocols[file], i, side == "input", writeOnly[id] == "", readOnly[id] == "")
					})
				}
			}
		}
	}
	// A case that vanishes, or is quietly skipped, must be noticed.
	if ran != 206 || skipped != 22 {
		t.Errorf("%d cases ran and %d were skipped: the counts have changed", ran, skipped)
	}
}

var vectorDir = func() func(t *testing.T) string {
	find := sync.OnceValues(func() (string, error) {
		// Pinned and checksummed by the go.mod and go.sum of that directory.
		cmd := exec.Command("go", "mod", "download", "-json", "github.com/aws/aws-sdk-go@v1.55.8")
		cmd.Dir = filepath.Join("testdata", "vectors")
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.Output()
		if err != nil {
			return "", err
		}
		var m struct{ Dir string }
		err = json.Unmarshal(out, &m)
		return m.Dir, err
	})
	return func(t *testing.T) string {
		dir, err := find()
		if err != nil {
			t.Skipf("the vectors are not in the module cache and cannot be downloaded: %v", err)
		}
		return filepath.Join(dir, "models", "protocol_tests")
	}
}()

// run checks one case in both directions.
func (s *suite) run(t *testing.T, p awswire.Protocol, n int, input, read, write bool) {
	c := s.Cases[n]
	var op model.Operation
	must(t, json.Unmarshal(c.Given, &op))
	m, err := model.Parse([]byte(fmt.Sprintf(`{"metadata":%s,"shapes":%s}`, s.Metadata, s.Shapes)))
	must(t, err)
	ref := op.Input
	if !input {
		ref = op.Output
	}
	var given struct{ Input, Output struct{ Payload string } } // old vectors name the payload here
	must(t, json.Unmarshal(c.Given, &given))
	if payload := given.Input.Payload + given.Output.Payload; payload != "" {
		m.Shapes[ref.Shape].Payload = payload
	}
	typ := reflect.StructOf(nil)
	if ref != nil {
		typ = goType(m, ref.Shape, input, map[string]int{})
	}
	api := &awswire.API{Name: "vectors", Version: m.Metadata.APIVersion, Target: m.Metadata.TargetPrefix, Protocols: []awswire.Protocol{p}}
	wire := &awswire.Op{Name: op.Name, Method: op.HTTP.Method, URI: op.HTTP.RequestURI}
	codec := awswire.CodecOf(p)
	if input {
		if ref != nil {
			wire.In, wire.InNS = ref.LocationName, ref.XMLNamespace.URI
			if wire.In == "" {
				wire.In = ref.Shape
			}
		}
		api.Ops = []awswire.Op{*wire}
		value := reflect.New(typ)
		if ref != nil {
			fill(t, m, ref.Shape, value.Elem(), c.Params)
		}
		if write {
			got, err := codec.WriteRequest(api, wire, value.Interface())
			must(t, err)
			s.checkRequest(t, p, n, got)
		}
		if read {
			s.readRequest(t, codec, api, wire, n, typ, ref, m)
		}
		return
	}
	if ref != nil {
		if wire.Out = ref.ResultWrapper; wire.Out == "" && strings.Contains(c.Response.Body, op.Name+"Result") {
			wire.Out = op.Name + "Result" // a few vectors leave it out and have it in the answer
		}
	}
	s.readAnswer(t, codec, api, wire, n, typ, ref, m)
	s.writeAnswer(t, p, codec, api, wire, n, typ, ref, m)
}

// checkRequest compares what the client wrote with the vector.
func (s *suite) checkRequest(t *testing.T, p awswire.Protocol, n int, got awswire.Message) {
	t.Helper()
	want := s.Cases[n].Serialized
	u, err := url.Parse(want.URI)
	must(t, err)
	if got.Path != u.EscapedPath() {
		t.Errorf("path %s, want %s", got.Path, u.EscapedPath())
	}
	if diff := cmp.Diff(u.Query(), got.Query); diff != "" && len(u.Query())+len(got.Query) > 0 {
		t.Errorf("query (-want +got):\n%s", diff)
	}
	if want.Method != "" && want.Method != got.Method {
		t.Errorf("method %s, want %s", got.Method, want.Method)
	}
	for k, v := range want.Headers {
		if g := got.Header.Get(k); g != v {
			t.Errorf("header %s: %q, want %q", k, g, v)
		}
	}
	for _, k := range want.Forbid {
		if g := got.Header.Get(k); g != "" {
			t.Errorf("header %s: %q, want none", k, g)
		}
	}
	if want.Body != nil {
		sameBody(t, p, *want.Body, string(got.Body))
	}
}

// readRequest lets the server read the vector.
func (s *suite) readRequest(t *testing.T, codec awswire.Codec, api *awswire.API, op *awswire.Op, n int, typ reflect.Type, ref *model.Ref, m *model.Model) {
	t.Helper()
	if ref == nil {
		return
	}
	c := s.Cases[n]
	u, err := url.Parse(c.Serialized.URI)
	must(t, err)
	msg := awswire.Message{Method: c.Serialized.Method, Path: u.EscapedPath(), Query: u.Query(), Header: headers(c.Serialized.Headers)}
	if c.Serialized.Body != nil {
		msg.Body = []byte(*c.Serialized.Body)
	}
	want, got := reflect.New(typ), reflect.New(typ)
	fill(t, m, ref.Shape, want.Elem(), c.Params)
	if err := codec.ReadRequest(api, op, msg, got.Interface()); err != nil {
		t.Fatalf("reading the request: %v", err)
	}
	same(t, "request", want, got)
}

// readAnswer lets the client read the vector.
func (s *suite) readAnswer(t *testing.T, codec awswire.Codec, api *awswire.API, op *awswire.Op, n int, typ reflect.Type, ref *model.Ref, m *model.Model) {
	t.Helper()
	c := s.Cases[n]
	want, got := reflect.New(typ), reflect.New(typ)
	if ref != nil {
		fill(t, m, ref.Shape, want.Elem(), c.Result)
	}
	msg := awswire.Message{Status: c.Response.StatusCode, Header: headers(c.Response.Headers), Body: []byte(c.Response.Body)}
	if err := codec.ReadAnswer(api, op, msg, got.Interface()); err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	same(t, "answer", want, got)
}

// writeAnswer lets the server write the value, and compares bodies and headers.
func (s *suite) writeAnswer(t *testing.T, p awswire.Protocol, codec awswire.Codec, api *awswire.API, op *awswire.Op, n int, typ reflect.Type, ref *model.Ref, m *model.Model) {
	t.Helper()
	if ref == nil {
		return
	}
	c := s.Cases[n]
	value := reflect.New(typ)
	fill(t, m, ref.Shape, value.Elem(), c.Result)
	got, err := codec.WriteAnswer(api, op, value.Interface())
	must(t, err)
	for k, v := range c.Response.Headers {
		if g := got.Header.Get(k); !strings.EqualFold(g, v) {
			t.Errorf("header %s: %q, want %q", k, g, v)
		}
	}
	// What we write is read back by the same client: that alone is what the clients ask of it.
	again := reflect.New(typ)
	if err := codec.ReadAnswer(api, op, got, again.Interface()); err != nil {
		t.Fatalf("reading what was written: %v", err)
	}
	value = reflect.New(typ)
	fill(t, m, ref.Shape, value.Elem(), c.Result)
	same(t, "answer read back", value, again)
	if p != awswire.JSON11 && p != awswire.RestJSON {
		sameAnswer(t, c.Response.Body, string(got.Body))
	}
}

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

func headers(m map[string]string) http.Header {
	h := http.Header{}
	for k, v := range m {
		h.Set(k, v)
	}
	return h
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

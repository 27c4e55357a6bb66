package protofile

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"sluice.dev/sluice/internal/service/gateway"
)

// Binding is an HTTP request that stands for a method (google.api.http).
type Binding struct {
	*Method
	Verb string // GET
	body string // the field the body is, "*" for the whole message, "" for none
	path *regexp.Regexp
	vars []string // field paths of the expression's groups
}

// Numbers of google.api.http and of the fields of its HttpRule.
const (
	extensionHTTP      = 72295728
	ruleBody           = 7
	ruleCustom         = 8
	ruleMoreBindings   = 11
	maxBindingNestings = 1 // additional bindings have none of their own
)

var ruleVerbs = map[protowire.Number]string{2: "GET", 3: "PUT", 4: "POST", 5: "DELETE", 6: "PATCH"}

// bindingsOf reads a method's bindings. They are read from the option's bytes, so that it
// does not matter which file of google.api described it.
func bindingsOf(d protoreflect.MethodDescriptor, m *Method) ([]*Binding, error) {
	raw, err := proto.Marshal(d.Options())
	if err != nil {
		return nil, err
	}
	var out []*Binding
	err = eachField(raw, func(n protowire.Number, v []byte) error {
		if n != extensionHTTP {
			return nil
		}
		more, err := readRule(v, m, 0)
		out = append(out, more...)
		return err
	})
	return out, err
}

func readRule(raw []byte, m *Method, depth int) ([]*Binding, error) {
	b := &Binding{Method: m}
	template := ""
	var more []*Binding
	err := eachField(raw, func(n protowire.Number, v []byte) error {
		switch verb, ok := ruleVerbs[n]; {
		case ok:
			b.Verb, template = verb, string(v)
		case n == ruleBody:
			b.body = string(v)
		case n == ruleCustom:
			return eachField(v, func(n protowire.Number, v []byte) error {
				switch n {
				case 1:
					b.Verb = string(v)
				case 2:
					template = string(v)
				}
				return nil
			})
		case n == ruleMoreBindings && depth < maxBindingNestings:
			inner, err := readRule(v, m, depth+1)
			more = append(more, inner...)
			return err
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if b.path, b.vars, err = parseTemplate(template); err != nil {
		return nil, err
	}
	return append([]*Binding{b}, more...), nil
}

// eachField walks the fields of an encoded message that hold bytes.
func eachField(raw []byte, fn func(n protowire.Number, v []byte) error) error {
	for len(raw) > 0 {
		n, kind, size := protowire.ConsumeTag(raw)
		if size < 0 {
			return protowire.ParseError(size)
		}
		raw = raw[size:]
		if kind != protowire.BytesType {
			if size = protowire.ConsumeFieldValue(n, kind, raw); size < 0 {
				return protowire.ParseError(size)
			}
			raw = raw[size:]
			continue
		}
		v, size := protowire.ConsumeBytes(raw)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if err := fn(n, v); err != nil {
			return err
		}
		raw = raw[size:]
	}
	return nil
}

var variable = regexp.MustCompile(`\{([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)(?:=([^{}]+))?\}`)

// parseTemplate turns a path template into an expression with a group for each variable.
func parseTemplate(template string) (*regexp.Regexp, []string, error) {
	if !strings.HasPrefix(template, "/") {
		return nil, nil, errors.New("a path of google.api.http must start with a slash")
	}
	var expr strings.Builder
	var vars []string
	expr.WriteByte('^')
	at := 0
	for _, m := range variable.FindAllStringSubmatchIndex(template, -1) {
		appendSegments(&expr, template[at:m[0]])
		vars = append(vars, template[m[2]:m[3]])
		expr.WriteByte('(')
		if m[4] < 0 {
			expr.WriteString("[^/]+")
		} else {
			appendSegments(&expr, template[m[4]:m[5]])
		}
		expr.WriteByte(')')
		at = m[1]
	}
	if strings.ContainsAny(template[at:], "{}") {
		return nil, nil, errors.New("the path of google.api.http " + strconv.Quote(template) + " has a bad variable")
	}
	appendSegments(&expr, template[at:])
	expr.WriteByte('$')
	re, err := regexp.Compile(expr.String())
	return re, vars, err
}

func appendSegments(expr *strings.Builder, s string) {
	for s != "" {
		i := strings.IndexByte(s, '*')
		if i < 0 {
			expr.WriteString(regexp.QuoteMeta(s))
			return
		}
		expr.WriteString(regexp.QuoteMeta(s[:i]))
		if strings.HasPrefix(s[i:], "**") {
			expr.WriteString(".*")
			s = s[i+2:]
		} else {
			expr.WriteString("[^/]+")
			s = s[i+1:]
		}
	}
}

// Bind finds the binding of a request, and the values of its path's variables.
func (f *File) Bind(verb, path string) (b *Binding, values []string, ok bool) {
	for _, b := range f.bindings {
		if b.Verb != verb {
			continue
		}
		if m := b.path.FindStringSubmatch(path); m != nil {
			return b, m[1:], true
		}
	}
	return nil, nil, false
}

// Request makes the message of a request from the variables' values, the query and the body.
func (b *Binding) Request(values []string, query string, body []byte) ([]byte, error) {
	tree := map[string]any{}
	if b.body != "" && len(body) > 0 {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			return nil, errors.New("the body is not JSON")
		}
		if b.body != "*" {
			tree[b.body] = v
		} else if tree, _ = v.(map[string]any); tree == nil {
			return nil, errors.New("body must be a table")
		}
	}
	if b.body != "*" {
		args, err := url.ParseQuery(query)
		if err != nil {
			return nil, errors.New("the query cannot be read")
		}
		for name, list := range args {
			if err := set(tree, b.In, name, list); err != nil {
				return nil, err
			}
		}
	}
	for i, name := range b.vars { // last: nothing in the body goes before the path
		v, err := url.PathUnescape(values[i])
		if err != nil {
			return nil, fmt.Errorf("the path's %s cannot be read", name)
		}
		if err := set(tree, b.In, name, []string{v}); err != nil {
			return nil, err
		}
	}
	out, err := gateway.EncodeJSON(tree)
	if err != nil {
		return nil, err
	}
	return b.Encode(out)
}

// set puts the texts of a field into the tree of a message. What the message does not have
// is left out.
func set(tree map[string]any, d protoreflect.MessageDescriptor, path string, texts []string) error {
	name, rest, nested := strings.Cut(path, ".")
	field := d.Fields().ByName(protoreflect.Name(name))
	if field == nil {
		if field = d.Fields().ByJSONName(name); field == nil {
			return nil
		}
		name = string(field.Name())
	}
	if nested {
		if field.Message() == nil || field.IsList() || field.IsMap() {
			return nil
		}
		inner, ok := tree[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			tree[name] = inner
		}
		return set(inner, field.Message(), rest, texts)
	}
	if field.IsMap() {
		return fmt.Errorf("%s is a map and cannot be given as text", path)
	}
	list := make([]any, len(texts))
	for i, text := range texts {
		v, err := scalar(field, text)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		list[i] = v
	}
	if field.IsList() {
		tree[name] = list
	} else {
		tree[name] = list[len(list)-1]
	}
	return nil
}

// scalar is the JSON value of a text. The JSON form takes numbers as strings, but not
// booleans nor the numbers of enumerations.
func scalar(field protoreflect.FieldDescriptor, text string) (any, error) {
	kind := field.Kind()
	if m := field.Message(); m != nil && m.FullName() == "google.protobuf.BoolValue" {
		kind = protoreflect.BoolKind
	}
	switch kind {
	case protoreflect.BoolKind:
		v, err := strconv.ParseBool(text)
		if err != nil {
			return nil, errors.New("not a boolean")
		}
		return v, nil
	case protoreflect.EnumKind:
		if n, err := strconv.ParseInt(text, 10, 32); err == nil {
			return n, nil
		}
	}
	return text, nil
}

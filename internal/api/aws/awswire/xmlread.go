package awswire

import (
	"bytes"
	"encoding/xml"
	"io"
	"reflect"
	"strings"
)

// node is an element of a parsed document. Prefixes are kept on attributes and dropped from
// elements: no AWS document has two elements that differ in their namespace alone.
type node struct {
	name     string
	attrs    []xml.Attr
	text     string
	children []*node
}

func (n *node) child(name string) *node {
	for _, c := range n.children {
		if c.name == name {
			return c
		}
	}
	return nil
}

// parseXML reads a document into a tree. It refuses document types, whose entities could
// make a small body large, and nesting beyond maxDepth; the body's size bounds the rest.
func parseXML(body []byte) (*node, error) {
	malformed := func(why string) error {
		return failf(unreadable, "The XML you provided was not well-formed or did not validate against our published schema: %s", why)
	}
	d := xml.NewDecoder(bytes.NewReader(body))
	document := &node{}
	stack := []*node{document}
	texts := [][]byte{nil} // of the elements on the stack
	for {
		token, err := d.RawToken()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, malformed(err.Error())
		}
		top := stack[len(stack)-1]
		switch t := token.(type) {
		case xml.StartElement:
			if len(stack) > maxDepth {
				return nil, malformed("it nests too deeply")
			}
			n := &node{name: t.Name.Local, attrs: t.Attr}
			top.children = append(top.children, n)
			stack = append(stack, n)
			texts = append(texts, nil)
		case xml.EndElement:
			if len(stack) == 1 || top.name != t.Name.Local {
				return nil, malformed("the elements do not nest")
			}
			top.text = string(texts[len(texts)-1])
			stack, texts = stack[:len(stack)-1], texts[:len(texts)-1]
		case xml.CharData:
			texts[len(texts)-1] = append(texts[len(texts)-1], t...)
		case xml.Directive:
			return nil, malformed("a document type is not accepted")
		}
	}
	if len(stack) != 1 || len(document.children) != 1 {
		return nil, malformed("it has no single root element")
	}
	return document.children[0], nil
}

// xmlReader builds values from a tree.
type xmlReader struct{ path path }

func (r *xmlReader) members(s *shape, v reflect.Value, n *node) error {
	for i := range s.fields {
		f := &s.fields[i]
		if f.loc != inBody || f.payload {
			continue
		}
		r.path.member(f.name)
		err := r.member(f, v.Field(f.index), n)
		r.path.pop()
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *xmlReader) member(f *field, v reflect.Value, n *node) error {
	if f.attr {
		for _, a := range n.attrs {
			if a.Name.Local == f.wire || a.Name.Space+":"+a.Name.Local == f.wire {
				return setScalar(f.shape, place(v), a.Value, r.path)
			}
		}
		return nil
	}
	if f.flat && (f.shape.kind == list || f.shape.kind == mapping) {
		return r.flat(f, v, n)
	}
	if c := n.child(f.wire); c != nil {
		return r.value(f.shape, place(v), c)
	}
	return nil
}

// flat reads a list or a map whose elements stand among their siblings.
func (r *xmlReader) flat(f *field, v reflect.Value, n *node) error {
	wire := f.wire
	if f.shape.itemName != "" && n.child(wire) == nil {
		wire = f.shape.itemName // the models are at odds; whichever is there is meant
	}
	run := &node{}
	for _, c := range n.children {
		if c.name == wire {
			run.children = append(run.children, c)
		}
	}
	if len(run.children) == 0 {
		return nil
	}
	return r.value(f.shape, v, run)
}

func (r *xmlReader) value(s *shape, v reflect.Value, n *node) error {
	switch s.kind {
	case structure:
		return r.members(s, v, n)
	case list:
		v.Set(reflect.MakeSlice(v.Type(), len(n.children), len(n.children)))
		for i, c := range n.children {
			r.path.item(i + 1)
			err := r.value(s.item, v.Index(i), c)
			r.path.pop()
			if err != nil {
				return err
			}
		}
		return nil
	case mapping:
		return r.mapping(s, v, n)
	case text:
		v.SetString(n.text)
		return nil
	default:
		return setScalar(s, v, strings.TrimSpace(n.text), r.path)
	}
}

func (r *xmlReader) mapping(s *shape, v reflect.Value, n *node) error {
	v.Set(reflect.MakeMapWithSize(v.Type(), len(n.children)))
	for _, entry := range n.children {
		key, value := entry.child(orElse(s.keyName, "key")), entry.child(orElse(s.valueName, "value"))
		if key == nil {
			return notA(s, "", r.path)
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		if value != nil {
			r.path.key(key.text)
			err := r.value(s.value, elem, value)
			r.path.pop()
			if err != nil {
				return err
			}
		}
		v.SetMapIndex(reflect.ValueOf(key.text), elem)
	}
	return nil
}

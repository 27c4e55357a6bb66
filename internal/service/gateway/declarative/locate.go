package declarative

import (
	"bytes"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxLocated bounds a text in which lines are looked up: it is parsed once more for that.
const maxLocated = 8 << 20

// Locator finds the lines of a document's values.
type Locator struct{ root ast.Node }

// NewLocator reads a text that Parse has read. Of one that is too large, or cannot be read,
// no lines are known.
func NewLocator(text []byte) *Locator {
	if len(text) > maxLocated || bytes.IndexByte(text, '\n') < 0 { // a line alone says nothing
		return &Locator{}
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil || len(file.Docs) == 0 {
		return &Locator{}
	}
	return &Locator{file.Docs[0].Body}
}

// Line returns the line of the value at a path of names and indices, or of the last on the
// way to it that is there; 0 where it is not known.
func (l *Locator) Line(path []any) int {
	at, line := l.root, 0
	for _, step := range path {
		next, on := child(at, step)
		if on == 0 {
			break
		}
		at, line = next, on
	}
	return line
}

// child returns a value within a node and the line it begins on; 0 where there is none.
func child(n ast.Node, step any) (ast.Node, int) {
	switch v := n.(type) {
	case *ast.AnchorNode:
		return child(v.Value, step)
	case *ast.TagNode:
		return child(v.Value, step)
	case *ast.MappingNode:
		for _, pair := range v.Values {
			if value, line := child(pair, step); line > 0 {
				return value, line
			}
		}
	case *ast.MappingValueNode:
		if name, ok := step.(string); ok && v.Key.GetToken().Value == name {
			return v.Value, v.Key.GetToken().Position.Line
		}
	case *ast.SequenceNode:
		i, ok := step.(int)
		if f, isFloat := step.(float64); isFloat { // of JSON
			i, ok = int(f), true
		}
		if ok && i >= 0 && i < len(v.Values) {
			return v.Values[i], first(v.Values[i])
		}
	}
	return nil, 0
}

// first is the line that a node begins on: a mapping's token is the colon of its first pair.
func first(n ast.Node) int {
	switch v := n.(type) {
	case *ast.MappingNode:
		if len(v.Values) > 0 {
			return v.Values[0].Key.GetToken().Position.Line
		}
	case *ast.MappingValueNode:
		return v.Key.GetToken().Position.Line
	}
	return n.GetToken().Position.Line
}

// Package declarative reads and writes the text of Kong's declarative configuration, YAML
// or JSON. What the text says is for the gateway to judge.
package declarative

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Unreadable is the reason of a text that is neither YAML nor JSON, or no document.
var Unreadable = &fault.Reason{Kind: fault.Invalid, Name: "UnreadableConfiguration"}

// maxNodes bounds how many values a document may hold once its aliases are followed: a
// short text can stand for a very large one.
const maxNodes = 10_000_000

// maxYAML bounds a text in YAML, in bytes: what the parser makes of one byte takes more
// than three hundred. JSON takes a twentieth of that.
const maxYAML = 32 << 20

// maxRetry bounds a text that is taken for JSON with a mistake and read as YAML instead.
const maxRetry = 1 << 20

// Parse reads a document. A text that begins with a brace is read as JSON, which is faster.
func Parse(text []byte) (schema.Record, error) {
	text = bytes.TrimSpace(text)
	var v any
	if len(text) > 0 && text[0] == '{' {
		err := json.Unmarshal(text, &v)
		if err == nil {
			return record(v)
		}
		if len(text) > maxRetry {
			return nil, Unreadable.New("failed parsing declarative configuration: %v", err)
		}
	}
	if len(text) > maxYAML {
		return nil, Unreadable.New("a configuration of more than %d MiB is read as JSON alone", maxYAML>>20)
	}
	if err := decode(text, &v); err != nil {
		return nil, Unreadable.New("failed parsing declarative configuration: %s", yaml.FormatError(err, false, false))
	}
	nodes := 0
	plain, err := plainValue(v, &nodes)
	if err != nil {
		return nil, err
	}
	return record(plain)
}

// maxDepth bounds how deep lists and maps are nested in one another by brackets, or by
// dashes on one line. The parser's time and memory grow with the square of it, and a few
// bytes make a level.
const maxDepth = 100

// decode reads the first document of a YAML text.
func decode(text []byte, v *any) error {
	tokens := lexer.Tokenize(string(text))
	brackets, dashes, line := 0, 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType, token.MappingKeyType:
			if t.Position.Line != line {
				line, dashes = t.Position.Line, 0
			}
			dashes++
		}
		if brackets > maxDepth || dashes > maxDepth {
			return fmt.Errorf("[%d:%d] nested more than %d levels deep", t.Position.Line, t.Position.Column, maxDepth)
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil || len(file.Docs) == 0 || file.Docs[0].Body == nil {
		return err
	}
	return yaml.NodeToValue(file.Docs[0].Body, v)
}

func record(v any) (schema.Record, error) {
	r, ok := v.(schema.Record)
	if !ok {
		return nil, Unreadable.New("expected an object")
	}
	return r, nil
}

// plainValue turns what the YAML package makes of a text into what JSON would be.
func plainValue(v any, nodes *int) (any, error) {
	if *nodes++; *nodes > maxNodes {
		return nil, Unreadable.New("the document is too large")
	}
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			plain, err := plainValue(e, nodes)
			if err != nil {
				return nil, err
			}
			v[k] = plain
		}
		return v, nil
	case []any:
		for i, e := range v {
			plain, err := plainValue(e, nodes)
			if err != nil {
				return nil, err
			}
			v[i] = plain
		}
		return v, nil
	case nil, string, bool, float64:
		return v, nil
	case int:
		return float64(v), nil
	case int64:
		return float64(v), nil
	case uint64:
		return float64(v), nil
	}
	return nil, Unreadable.New("a value of the kind %T has no place here", v)
}

// Format writes a document as YAML.
func Format(doc schema.Record) ([]byte, error) {
	out, err := yaml.Marshal(whole(doc))
	if err != nil {
		return nil, fmt.Errorf("declarative: %w", err)
	}
	return out, nil
}

// whole returns a value with integers for the numbers that are: a record has numbers of
// one kind alone, and nobody writes a port as 80.0.
func whole(v any) any {
	switch v := v.(type) {
	case schema.Record:
		out := make(schema.Record, len(v))
		for k, e := range v {
			out[k] = whole(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = whole(e)
		}
		return out
	case float64:
		if n := int64(v); float64(n) == v {
			return n
		}
	}
	return v
}

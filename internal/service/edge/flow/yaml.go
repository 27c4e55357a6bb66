package flow

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	yamltoken "github.com/goccy/go-yaml/token"
)

// yamlMap is a YAML map in its order. Values are texts, integers, truth values, lists of
// texts, maps and lists of maps.
type yamlMap []yamlPair

type yamlPair struct {
	key   string
	value any
}

// writeYAML writes a document. It is not left to a library because the digest of a flow's
// text is its version for agents: another release of the library that writes one line
// otherwise would send every flow to every agent again.
func writeYAML(doc yamlMap) []byte {
	var out bytes.Buffer
	yamlPairs(&out, doc, 0, false)
	return out.Bytes()
}

// yamlPairs writes a map's lines. The first is not indented where a dash stands before it.
func yamlPairs(out *bytes.Buffer, m yamlMap, indent int, dash bool) {
	for i, p := range m {
		if i > 0 || !dash {
			out.WriteString(strings.Repeat(" ", indent))
		}
		out.WriteString(yamlText(p.key) + ":")
		switch v := p.value.(type) {
		case yamlMap:
			if len(v) == 0 {
				out.WriteString(" {}\n")
				continue
			}
			out.WriteByte('\n')
			yamlPairs(out, v, indent+2, false)
		case []yamlMap:
			if len(v) == 0 {
				out.WriteString(" []\n")
				continue
			}
			out.WriteByte('\n')
			for _, e := range v {
				out.WriteString(strings.Repeat(" ", indent) + "- ")
				yamlPairs(out, e, indent+2, true)
			}
		case []string:
			if len(v) == 0 {
				out.WriteString(" []\n")
				continue
			}
			out.WriteByte('\n')
			for _, s := range v {
				out.WriteString(strings.Repeat(" ", indent) + "- " + yamlText(s) + "\n")
			}
		case string:
			out.WriteString(" " + yamlText(v) + "\n")
		default: // int, int64, bool
			fmt.Fprintf(out, " %v\n", v)
		}
	}
}

// bare is what needs no quotes: words, paths, durations and sizes. Whatever YAML could take
// for a number, a date or a truth value is quoted.
var bare = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*$|^[0-9]+ [A-Za-z]+$`)

var yamlWords = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null|nan|inf)$`)

// yamlText writes a scalar text.
func yamlText(s string) string {
	if isID(s) || bare.MatchString(s) && !yamlWords.MatchString(s) {
		return s
	}
	var out strings.Builder
	out.WriteByte('"')
	for _, r := range strings.ToValidUTF8(s, "\uFFFD") {
		switch {
		case r == '"' || r == '\\':
			out.WriteByte('\\')
			out.WriteRune(r)
		case r == '\n':
			out.WriteString(`\n`)
		case r == '\t':
			out.WriteString(`\t`)
		case r == '\r':
			out.WriteString(`\r`)
		case r < 0x20 || r >= 0x7f && r < 0xa0:
			fmt.Fprintf(&out, `\x%02x`, r)
		case r == 0x2028 || r == 0x2029 || r == 0xfeff:
			fmt.Fprintf(&out, `\u%04x`, r)
		default:
			out.WriteRune(r)
		}
	}
	out.WriteByte('"')
	return out.String()
}

// What is read of YAML. The parser's memory is some hundred times the text's, and its time
// grows with the square of some things: see readYAML.
const (
	maxYAML       = 1 << 20
	maxYAMLDepth  = 100
	maxYAMLTokens = 200_000
	maxYAMLNulls  = 1_000 // members without a value
)

// yamlNode is a value of a document: a map, a list, or a scalar's text as it is written.
type yamlNode struct {
	path   string
	scalar bool
	null   bool
	text   string
	list   []*yamlNode
	keys   []string
	fields map[string]*yamlNode
	used   map[string]bool // which fields were asked for
}

// readYAML reads a document. Anchors, aliases, merge keys and tags are refused: a short text
// could stand for a huge flow, and no agent's flow needs them.
func readYAML(text []byte) (*yamlNode, error) {
	if len(text) > maxYAML {
		return nil, Invalid.New("a flow in YAML has at most %d MiB", maxYAML>>20)
	}
	tokens := lexer.Tokenize(string(text))
	if len(tokens) > maxYAMLTokens {
		return nil, Invalid.New("a flow in YAML has at most %d tokens", maxYAMLTokens)
	}
	brackets, dashes, line, nulls := 0, 0, 0, 0
	for i, t := range tokens {
		if i > 0 && t.Type == yamltoken.SequenceEntryType && tokens[i-1].Type == t.Type && tokens[i-1].Position.Column == t.Position.Column {
			return nil, Invalid.New("line %d: the entry of a list is empty", tokens[i-1].Position.Line) // many take the parser minutes
		}
		if i > 1 && tokens[i-1].Type == yamltoken.MappingValueType && t.Type != yamltoken.SequenceEntryType && t.Position.Column <= tokens[i-2].Position.Column {
			if nulls++; nulls > maxYAMLNulls {
				return nil, Invalid.New("line %d: more than %d members have no value", t.Position.Line, maxYAMLNulls)
			}
		}
		switch t.Type {
		case yamltoken.SequenceStartType, yamltoken.MappingStartType:
			brackets++
		case yamltoken.SequenceEndType, yamltoken.MappingEndType:
			brackets--
		case yamltoken.SequenceEntryType, yamltoken.MappingKeyType:
			if t.Position.Line != line {
				line, dashes = t.Position.Line, 0
			}
			dashes++
		case yamltoken.AnchorType, yamltoken.AliasType, yamltoken.MergeKeyType, yamltoken.TagType:
			return nil, Invalid.New("line %d: anchors, aliases and tags are not taken", t.Position.Line)
		}
		if brackets > maxYAMLDepth || dashes > maxYAMLDepth || t.Position.IndentNum > 4*maxYAMLDepth {
			return nil, Invalid.New("line %d: nested more than %d levels deep", t.Position.Line, maxYAMLDepth)
		}
	}
	file, err := parser.Parse(tokens, 0)
	if err != nil {
		var located interface{ GetToken() *yamltoken.Token }
		if errors.As(err, &located) && located.GetToken() != nil {
			return nil, Invalid.New("line %d: not YAML", located.GetToken().Position.Line)
		}
		return nil, Invalid.New("the flow is not YAML")
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, Invalid.New("a flow is one document of YAML")
	}
	return yamlTree(file.Docs[0].Body, "", 0)
}

func yamlTree(n ast.Node, path string, depth int) (*yamlNode, error) {
	if depth > maxYAMLDepth {
		return nil, Invalid.Field(path, "%s: nested more than %d levels deep", path, maxYAMLDepth)
	}
	out := &yamlNode{path: path}
	switch n := n.(type) {
	case *ast.MappingNode:
		return out, out.pairs(n.Values, depth)
	case *ast.MappingValueNode:
		return out, out.pairs([]*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		out.list = []*yamlNode{}
		for i, v := range n.Values {
			e, err := yamlTree(v, path+"["+strconv.Itoa(i)+"]", depth+1)
			if err != nil {
				return nil, err
			}
			out.list = append(out.list, e)
		}
	case *ast.NullNode:
		out.scalar, out.null = true, true
	case *ast.StringNode:
		out.scalar, out.text = true, n.Value
	case *ast.LiteralNode:
		out.scalar, out.text = true, n.Value.Value
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		out.scalar, out.text = true, n.GetToken().Value // as it is written: 007 stays 007
	case nil:
		out.scalar, out.null = true, true
	default:
		return nil, Invalid.Field(path, "%s: a %s is not taken", path, n.Type())
	}
	return out, nil
}

func (y *yamlNode) pairs(values []*ast.MappingValueNode, depth int) error {
	y.fields, y.used = map[string]*yamlNode{}, map[string]bool{}
	for _, v := range values {
		k, err := yamlTree(v.Key, y.path, depth+1)
		if err != nil {
			return err
		}
		at := k.text
		if y.path != "" {
			at = y.path + "." + k.text
		}
		if !k.scalar || y.fields[k.text] != nil {
			return Invalid.Field(at, "%s: is there twice, or no text", at)
		}
		if y.fields[k.text], err = yamlTree(v.Value, at, depth+1); err != nil {
			return err
		}
		y.keys = append(y.keys, k.text)
	}
	return nil
}

package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// maxFile bounds a configuration file, in bytes.
const maxFile = 1 << 20

// loadFile sets what a YAML file says. Its values are read as those of the environment are, so that a mistake has
// one message wherever it stands; here it names file and line too.
func loadFile(dst any, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Invalid.Wrap(err, "cannot read the configuration file %s", file)
	}
	if len(raw) > maxFile {
		return Invalid.New("%s is larger than %d bytes: is it a configuration file?", file, maxFile)
	}
	doc, err := parser.ParseBytes(raw, 0)
	if err != nil {
		message, _, _ := strings.Cut(yaml.FormatError(err, false, false), "\n") // the first line; a picture follows
		return Invalid.New("%s: %s", file, message)
	}
	f := fileReader{file: file, fields: map[string]reflect.Value{}, sections: map[string]bool{}, seen: map[string]int{}}
	walk(reflect.ValueOf(dst).Elem(), "", func(key string, v reflect.Value, _ reflect.StructTag) {
		f.fields[key] = v
		f.names = append(f.names, key)
	})
	f.former = formerNames(reflect.TypeOf(dst).Elem())
	for was, key := range f.former {
		f.fields[was] = f.fields[key]
	}
	for key := range f.fields {
		for i := range key {
			if key[i] == '.' {
				f.sections[key[:i]] = true
			}
		}
	}
	if len(doc.Docs) > 1 {
		return Invalid.New("%s holds %d documents: a configuration is one", file, len(doc.Docs))
	}
	if len(doc.Docs) == 0 || doc.Docs[0].Body == nil {
		return nil // an empty file sets nothing
	}
	return f.section("", doc.Docs[0].Body)
}

// fileReader sets the fields of a configuration from a parsed file.
type fileReader struct {
	file     string
	fields   map[string]reflect.Value // by key, and by what the key was called before
	names    []string                 // of keys
	former   map[string]string        // what a key was called before → the key
	sections map[string]bool          // what stands before a dot of a key
	seen     map[string]int           // key → its line
}

func (f *fileReader) wrong(n ast.Node, format string, args ...any) error {
	line := n.GetToken().Position.Line
	return Invalid.New("%s, line %d: %s", f.file, line, fmt.Sprintf(format, args...))
}

// section reads a mapping of keys below prefix, which ends with a dot unless it is empty.
func (f *fileReader) section(prefix string, n ast.Node) error {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.CommentGroupNode, *ast.NullNode:
		return nil
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		return f.wrong(n, "%s holds keys and their values, not a %s", strings.TrimSuffix("the configuration "+strings.TrimSuffix(prefix, "."), " "), strings.ToLower(n.Type().YAMLName()))
	}
	for _, p := range pairs {
		if err := f.pair(prefix+p.Key.GetToken().Value, p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fileReader) pair(key string, p *ast.MappingValueNode) error {
	line := p.Key.GetToken().Position.Line
	if f.sections[key] {
		if before := f.seen[key]; before != 0 {
			return f.wrong(p.Key, "%s stands in line %d already", key, before)
		}
		f.seen[key] = line
		return f.section(key+".", p.Value)
	}
	present := key
	if now, ok := f.former[key]; ok {
		present = now
	}
	if before := f.seen[present]; before != 0 {
		return f.wrong(p.Key, "%s stands in line %d already", present, before)
	}
	f.seen[present] = line
	v, ok := f.fields[key]
	if !ok {
		return f.wrong(p.Key, "unknown key %q%s", key, f.meant(key))
	}
	switch value := p.Value.(type) {
	case *ast.NullNode: // the default stays
		return nil
	case *ast.LiteralNode:
		return f.set(p, key, v, value.Value.Value)
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return f.wrong(p.Value, "%s is one value, not several", key)
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return f.wrong(p.Value, "%s: anchors, aliases and tags are not read", key)
	default:
		return f.set(p, key, v, p.Value.GetToken().Value)
	}
}

func (f *fileReader) set(p *ast.MappingValueNode, key string, v reflect.Value, value string) error {
	if err := set(v, value); err != nil {
		return f.wrong(p.Value, "%s: %s", key, err)
	}
	return nil
}

// meant suggests the key that an unknown one was meant to be.
func (f *fileReader) meant(key string) string {
	return Suggest(key, f.names)
}

// Suggest returns "; did you mean …?" with the name that is nearest to an unknown one, or "" where none is near. A
// name that ends with the unknown one behind a dot is near too.
func Suggest(unknown string, names []string) string {
	slices.Sort(names)
	best, least := "", max(2, len(unknown)/4)+1
	for _, name := range names {
		d := distance(strings.ToLower(unknown), strings.ToLower(name))
		if strings.HasSuffix(name, "."+unknown) {
			d = 1
		}
		if d < least {
			best, least = name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many letters differ: Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

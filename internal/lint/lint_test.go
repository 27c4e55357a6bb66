package lint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "sluice.dev/sluice"

// root is the repository, as seen from this package.
const root = "../.."

// longest is how many lines a file may have before it wants to be split by noun.
const longest = 560

// source is a parsed Go file of the module.
type source struct {
	dir       string // slash-separated, relative to the module
	name      string
	file      *ast.File
	lines     int
	generated bool
}

func (s source) path() string { return path.Join(s.dir, s.name) }

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

func (s source) imports() []string {
	var out []string
	for _, i := range s.file.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			panic(err) // the parser accepted it
		}
		out = append(out, p)
	}
	return out
}

// sources parses the module's files, without nested modules.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		if d.IsDir() {
			name := d.Name()
			if rel != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "acceptance" || name == "tools" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{dir: filepath.ToSlash(filepath.Dir(rel)), name: filepath.Base(rel), file: f,
			lines: fset.File(f.Pos()).LineCount(), generated: ast.IsGenerated(f)})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d files found: the walk is broken", len(out))
	}
	return out
}

// floor returns the floor of a package and, for a service, which one.
func floor(dir string) (level int, part string) {
	parts := strings.Split(dir, "/")
	if parts[0] == "cmd" || parts[0] == "bench" {
		return 4, ""
	}
	if parts[0] != "internal" || len(parts) < 2 {
		return -1, ""
	}
	switch parts[1] {
	case "base":
		return 0, ""
	case "service":
		if len(parts) > 2 {
			part = parts[2]
		}
		return 1, part
	case "api":
		return 2, path.Join(parts[2:]...)
	case "node", "agent", "demo", "lint":
		return 3, parts[1]
	}
	return -1, ""
}

func TestImportsGoDownOnly(t *testing.T) {
	for _, s := range sources(t) {
		level, part := floor(s.dir)
		if level < 0 {
			t.Errorf("%s is on no floor: see docs/ARCHITECTURE.md", s.dir)
			continue
		}
		for _, imp := range s.imports() {
			dir, ours := strings.CutPrefix(imp, module+"/")
			if !ours {
				continue
			}
			to, other := floor(dir)
			switch {
			case to > level:
				t.Errorf("%s imports %s, which is above it", s.path(), dir)
			case level == 1 && to == 1 && other != part:
				t.Errorf("%s: service %s imports service %s; declare the interface you need and let node wire it", s.path(), part, other)
			case level == 2 && to == 2 && !s.test() && !mayShare(part, other):
				t.Errorf("%s: front %s imports front %s", s.path(), part, other)
			case to == 3 && other == "node" && level == 3 && part != "node":
				t.Errorf("%s imports node, which only cmd may", s.path())
			}
		}
	}
}

// mayShare lets the fronts of AWS APIs use their common wire, every front what HTTP listeners have in common,
// and a front its own parts.
func mayShare(from, to string) bool {
	if strings.HasPrefix(from, "aws/") && to == "aws/awswire" || to == "webserver" {
		return true
	}
	return strings.HasPrefix(to, from+"/") || strings.HasPrefix(from, to+"/")
}

// fences are packages that only some may import.
var fences = []struct {
	pkg  string
	why  string
	only []string
}{
	{"encoding/xml", "XML is the wire's business", []string{"internal/api/aws/awswire"}},
	{"github.com/duckdb/duckdb-go/v2", "a query must not be able to crash the node", []string{"internal/service/warehouse/worker", "bench"}},
	{"github.com/valyala/fasthttp", "the HTTP/1 engine must stay replaceable", []string{"internal/api/proxy", "bench"}},
	{"github.com/cockroachdb/pebble/v2", "base/kv is the only map", []string{"internal/base/kv"}},
	{"database/sql", "base/store is the only user of SQL databases", []string{"internal/base/store", "internal/service/warehouse/worker", "bench"}},
}

func TestFences(t *testing.T) {
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		for _, imp := range s.imports() {
			for _, f := range fences {
				inside := slices.ContainsFunc(f.only, func(dir string) bool { return s.dir == dir || strings.HasPrefix(s.dir, dir+"/") })
				if imp == f.pkg && !inside {
					t.Errorf("%s imports %s: %s", s.path(), imp, f.why)
				}
			}
			if level, _ := floor(s.dir); imp == "net/http" && level <= 1 && servesHTTP(s.file) {
				t.Errorf("%s serves HTTP: that is for fronts; the floors below may only be clients", s.path())
			}
		}
	}
}

// servesHTTP reports whether a file uses the side of net/http that serves.
func servesHTTP(f *ast.File) (serves bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "http" {
			switch name := sel.Sel.Name; {
			case name == "ResponseWriter", name == "Server", strings.HasPrefix(name, "Handle"), strings.HasPrefix(name, "Serve"),
				strings.HasPrefix(name, "ListenAndServe"), strings.HasPrefix(name, "NewServe"):
				serves = true
			}
		}
		return true
	})
	return serves
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	docs := map[string][]string{}
	for _, s := range sources(t) {
		if s.test() {
			continue
		}
		docs[s.dir] = append(docs[s.dir], "")
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			docs[s.dir] = append(docs[s.dir], s.name)
		}
	}
	for dir, names := range docs {
		names = slices.DeleteFunc(names, func(n string) bool { return n == "" })
		if len(names) != 1 {
			t.Errorf("%s has %d package docs %v, want one", dir, len(names), names)
		}
	}
}

var refusedNames = []string{"util", "utils", "common", "helpers", "helper", "types", "models", "manager", "core", "misc", "structs"}

func TestNamesAndShapes(t *testing.T) {
	for _, s := range sources(t) {
		if slices.Contains(refusedNames, strings.TrimSuffix(s.file.Name.Name, "_test")) {
			t.Errorf("%s: a package named %s says nothing", s.path(), s.file.Name.Name)
		}
		if s.lines > longest && !s.generated && !s.test() {
			t.Errorf("%s has %d lines; above %d a file wants to be split by noun", s.path(), s.lines, longest)
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s has an init function; register by a list instead", s.path())
			}
			if ok && f.Recv == nil && f.Name.Name == "TestMain" && !s.test() {
				t.Errorf("%s: TestMain outside a test", s.path())
			}
		}
	}
}

package main

import (
	"bytes"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/api/aws/awsgen/model"
)

// tiny is a model with what the generator must get right.
const tiny = `{
 "metadata": {"apiVersion": "2020-01-01", "endpointPrefix": "tiny", "jsonVersion": "1.1", "protocol": "json", "targetPrefix": "Tiny_2020"},
 "operations": {
  "PutThing": {"name": "PutThing", "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "PutThingRequest"}, "output": {"shape": "Thing"}},
  "Forget": {"name": "Forget", "http": {"method": "POST", "requestUri": "/"}, "input": {"shape": "PutThingRequest"}},
  "Watch": {"name": "Watch", "http": {"method": "POST", "requestUri": "/"}, "output": {"shape": "Events"}},
  "Unasked": {"name": "Unasked", "http": {"method": "POST", "requestUri": "/"}, "output": {"shape": "Unused"}}
 },
 "shapes": {
  "PutThingRequest": {"type": "structure", "required": ["name"], "members": {
   "name": {"shape": "Name", "documentation": "secret words"},
   "Data": {"shape": "Blob"},
   "at": {"shape": "Time"},
   "Tags": {"shape": "Tags"},
   "Tree": {"shape": "Client"},
   "Odd": {"shape": "Odd"}}},
  "Thing": {"type": "structure", "members": {"Name": {"shape": "Name"}, "Tree": {"shape": "Client"}}},
  "Client": {"type": "structure", "members": {"Children": {"shape": "Clients"}, "Size": {"shape": "Size"}}},
  "Clients": {"type": "list", "member": {"shape": "Client", "locationName": "item"}, "flattened": true},
  "Name": {"type": "string", "min": 1, "max": 8, "pattern": "[a-z\"]+"},
  "Size": {"type": "long", "min": 1},
  "Blob": {"type": "blob", "max": 4},
  "Time": {"type": "timestamp", "timestampFormat": "iso8601"},
  "Tags": {"type": "map", "key": {"shape": "Name"}, "value": {"shape": "Kind"}, "max": 5},
  "Kind": {"type": "string", "enum": ["A", "B"]},
  "Odd": {"type": "string", "pattern": "(?!x).*"},
  "Events": {"type": "structure", "members": {"E": {"shape": "Stream"}}},
  "Stream": {"type": "structure", "eventstream": true, "members": {}},
  "Unused": {"type": "structure", "members": {}}
 }
}`

func parse(t *testing.T) *model.Model {
	t.Helper()
	m, err := model.Parse([]byte(tiny))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGenerate(t *testing.T) {
	src, err := generate(parse(t), "tiny", "tiny", []string{"Forget", "PutThing"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.ParseFile(token.NewFileSet(), "shapes_gen.go", src, parser.AllErrors); err != nil {
		t.Fatal(err)
	}
	flat := strings.Join(strings.Fields(string(src)), " ")
	for _, want := range []string{
		`Protocols: []awswire.Protocol{awswire.JSON11}, Target: "Tiny_2020",`,
		`PutThing(context.Context, *PutThingInput) (*PutThingOutput, error)`,
		`awswire.Do("Forget", o.Forget),`,
		"Name *string `aws:\"name,required\" len:\"1,8\" pattern:\"[a-z\\\"]+\"`",
		"Data []byte `len:\",4\"`",
		"At *time.Time `aws:\"at\" time:\"iso8601\"`",
		"Tags map[string]string `len:\",5\" key.len:\"1,8\" key.pattern:\"[a-z\\\"]+\" value.enum:\"A|B\"`",
		"Tree *ClientShape", // Client is taken
		"Children []ClientShape `aws:\"Children,flat\" item:\"item\"`",
		"Size *int64 `range:\"1,\"`",
		"Odd *string // not checked here: (?!x).*",
		"type PutThingOutput struct { Name *string Tree *ClientShape }", // answers are not checked
		"type ForgetOutput struct { }",
	} {
		if !strings.Contains(flat, want) {
			t.Errorf("the source lacks %s", want)
		}
	}
	for _, not := range []string{"secret words", "Unasked", "Unused"} {
		if strings.Contains(flat, not) {
			t.Errorf("the source has %s", not)
		}
	}
	for range 10 {
		again, err := generate(parse(t), "tiny", "tiny", []string{"Forget", "PutThing"})
		if err != nil || !bytes.Equal(src, again) {
			t.Fatalf("another run differs: %v", err)
		}
	}
}

func TestGenerateRefuses(t *testing.T) {
	for op, want := range map[string]string{"Nix": `no operation "Nix"`, "Watch": "event stream", "": "names no operation"} {
		var ops []string
		if op != "" {
			ops = append(ops, op)
		}
		if _, err := generate(parse(t), "tiny", "tiny", ops); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", op, err, want)
		}
	}
	if _, err := model.Parse([]byte(strings.Replace(tiny, `{"shape": "Thing"}`, `{"shape": "Nothing"}`, 1))); err == nil || !strings.Contains(err.Error(), `"Nothing"`) {
		t.Errorf("a reference into nowhere: %v", err)
	}
}

func TestOperations(t *testing.T) {
	got := operations([]byte("# all\nB\nA # first\n\nB\n"))
	if diff := cmp.Diff([]string{"A", "B"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The committed sources are what the pinned models generate.
func TestFresh(t *testing.T) {
	models, err := installed()
	if err != nil {
		t.Skip(err)
	}
	fronts, err := filepath.Glob("../*/gen.go")
	if err != nil || len(fronts) < 6 {
		t.Fatalf("%d fronts: %v", len(fronts), err)
	}
	for _, file := range fronts {
		dir := filepath.Dir(file)
		line, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, service, ok := strings.Cut(string(line), "go run ../awsgen -service ")
		if !ok {
			continue
		}
		service, _, _ = strings.Cut(service, "\n")
		m, err := load(service, models)
		if err != nil {
			t.Fatal(err)
		}
		list, err := os.ReadFile(filepath.Join(dir, "ops.txt"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := generate(m, filepath.Base(dir), service, operations(list))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, "shapes_gen.go"))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s/shapes_gen.go is not what awsgen writes: run go generate there", dir)
		}
	}
}

package node_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/kong"
	"sluice.dev/sluice/internal/node"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
)

// described is a field as /schemas describes it.
type described struct {
	Type        string
	Required    *bool
	Auto        bool
	Default     json.RawMessage
	OneOf       []any `json:"one_of"`
	Elements    *described
	Values      *described
	Fields      []map[string]described
	Shorthands  []map[string]described `json:"shorthand_fields"`
	Deprecation *struct {
		Replaced []struct{ Path []string } `json:"replaced_with"`
	}
	Backwards []string `json:"translate_backwards"`
}

// facts writes a line for every field beneath d.
func facts(prefix string, d described, write func(line string)) {
	for _, one := range d.Fields {
		for name, f := range one {
			line := prefix + name + " " + f.kind()
			if f.Required != nil && *f.Required {
				line += " required"
			}
			if f.Auto {
				line += " auto"
			}
			if f.Default != nil {
				line += " = " + string(f.Default)
			}
			if f.Deprecation != nil {
				line += " deprecated"
			}
			write(line)
			facts(prefix+name+".", f, write)
			for _, inner := range []*described{f.Elements, f.Values} {
				if inner != nil {
					facts(prefix+name+"[].", *inner, write)
				}
			}
		}
	}
	for _, one := range d.Shorthands {
		for name, f := range one {
			line := prefix + name + " shorthand " + f.kind()
			if f.Deprecation != nil {
				line += " deprecated"
				for _, r := range f.Deprecation.Replaced {
					line += " for " + strings.Join(r.Path, ".")
				}
			}
			if f.Backwards != nil {
				line += " shows " + strings.Join(f.Backwards, ".")
			}
			write(line)
		}
	}
}

func (d described) kind() string {
	out := d.Type
	for _, inner := range []*described{d.Elements, d.Values} {
		if inner != nil {
			out += "<" + inner.kind() + ">"
		}
	}
	if len(d.OneOf) > 0 {
		names := make([]string, len(d.OneOf))
		for i, v := range d.OneOf {
			names[i] = fmt.Sprint(v)
		}
		slices.Sort(names)
		out += "(" + strings.Join(names, "|") + ")"
	}
	return out
}

// TestSchemasAsPublished compares /schemas with what Kong 3.9 publishes: clients such as decK
// fill in defaults from there, and a field more or less is a difference on each sync.
func TestSchemasAsPublished(t *testing.T) {
	raw, err := os.ReadFile("testdata/kong-3.9-schemas.txt")
	if err != nil {
		t.Fatal(err)
	}
	api := kong.New(kong.Config{}, kong.Deps{Gateway: gatewaytest.New(t, node.Kinds(slog.New(slog.DiscardHandler))), Log: gatewaytest.Log()})
	want := map[string][]string{}
	path := ""
	for line := range strings.Lines(string(raw)) {
		switch line = strings.TrimSuffix(line, "\n"); {
		case strings.HasPrefix(line, "/schemas/"):
			path = line
			want[path] = []string{}
		case line != "" && line[0] != '#':
			want[path] = append(want[path], line)
		}
	}
	for path, expected := range want {
		w := httptest.NewRecorder()
		api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		var d described
		if err := json.Unmarshal(w.Body.Bytes(), &d); err != nil || w.Code != 200 {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
			continue
		}
		var got []string
		facts("", d, func(line string) {
			switch name, _, _ := strings.Cut(line, " "); name {
			case "protocols", "consumer", "route", "service": // narrower here where a kind does not act on all of them
				if strings.HasPrefix(path, "/schemas/plugins/") {
					return
				}
			}
			got = append(got, line)
		})
		slices.Sort(got)
		slices.Sort(expected)
		for _, line := range expected {
			if !slices.Contains(got, line) {
				t.Errorf("%s lacks: %s", path, line)
			}
		}
		for _, line := range got {
			if !slices.Contains(expected, line) {
				t.Errorf("%s has: %s", path, line)
			}
		}
	}
}

package declarative_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/declarative"
)

func TestLines(t *testing.T) {
	for name, text := range map[string]string{
		"YAML": "_format_version: \"3.0\"\nservices:\n- name: a\n  host: h\n- &b\n  name: b\n  routes:\n  - paths:\n    - /x\n    - /y\n",
		"JSON": "{\"_format_version\": \"3.0\",\n\"services\":\n[{\"name\": \"a\",\n\"host\": \"h\"},\n{\n\"name\": \"b\",\n\"routes\":\n[{\"paths\":\n[\"/x\",\n\"/y\"]}]}]}",
	} {
		at := declarative.NewLocator([]byte(text))
		for _, c := range []struct {
			path []any
			want map[string]int
		}{
			{[]any{"services"}, map[string]int{"YAML": 2, "JSON": 2}},
			{[]any{"services", 0, "host"}, map[string]int{"YAML": 4, "JSON": 4}},
			{[]any{"services", 0, "port"}, map[string]int{"YAML": 3, "JSON": 3}},
			{[]any{"services", 1.0, "name"}, map[string]int{"YAML": 6, "JSON": 6}},
			{[]any{"services", 1, "routes", 0, "paths", 1}, map[string]int{"YAML": 10, "JSON": 10}},
			{[]any{"routes", 0}, map[string]int{}},
		} {
			if got := at.Line(c.path); got != c.want[name] {
				t.Errorf("%s: %v is on line %d, want %d", name, c.path, got, c.want[name])
			}
		}
	}
	for _, text := range []string{"", "a: [", strings.Repeat("x", 100), "a: 1"} {
		if got := declarative.NewLocator([]byte(text)).Line([]any{"a"}); got != 0 {
			t.Errorf("%q: line %d", text, got)
		}
	}
}

package declarative_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/service/gateway/declarative"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]schema.Record{
		"a: 1\nb: [x, {c: true}]": {"a": 1.0, "b": []any{"x", schema.Record{"c": true}}},
		`{"a": null}`:             {"a": nil},
		"base: &b {k: v}\nuses: *b\nmerged:\n  <<: *b\n": {"base": schema.Record{"k": "v"}, "uses": schema.Record{"k": "v"}, "merged": schema.Record{"k": "v"}},
		"a: 1\n---\nb: 2\n": {"a": 1.0},
	} {
		got, err := declarative.Parse([]byte(text))
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", text, err, d)
		}
	}
}

// Each of these is short, and would take minutes, gigabytes or the stack if it were read to
// its end.
func TestParseHostile(t *testing.T) {
	laughs := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		from, to := string(rune('0'+i)), string(rune('1'+i))
		laughs += "a" + to + ": &a" + to + " [" + strings.Repeat("*a"+from+", ", 9) + "*a" + from + "]\n"
	}
	for name, c := range map[string]struct{ text, want string }{
		"brackets": {"a: " + strings.Repeat("[", 200_000), "[1:104] nested more than 100 levels deep"},
		"braces":   {strings.Repeat("{a: ", 200_000), "nested more than 100 levels deep"},
		"dashes":   {strings.Repeat("- ", 200_000), "nested more than 100 levels deep"},
		"long":     {"a: b\n" + strings.Repeat("# \n", 11<<20), "more than 32 MiB"},
		"no JSON":  {`{"a": 1, ` + strings.Repeat(`"b": [], `, 200_000) + "x}", "invalid character 'x'"},
		"aliases":  {laughs, "the document is too large"},
		"list":     {"- a", "expected an object"},
		"empty":    {"", "expected an object"},
		"comment":  {"# nothing", "expected an object"},
		"broken":   {"a: [", "[1:4]"},
	} {
		if _, err := declarative.Parse([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// FuzzParse checks that no text panics, and that what was read can be written and read
// again.
func FuzzParse(f *testing.F) {
	f.Add("services:\n- name: a\n  routes: [{paths: [/]}]\n")
	f.Add(`{"a": [1, {"b": null}]}`)
	f.Add("a: &a {b: 1}\nc: {<<: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		doc, err := declarative.Parse([]byte(text))
		if err != nil {
			return
		}
		if _, err := declarative.Format(doc); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func TestFormat(t *testing.T) {
	doc := schema.Record{"services": []any{schema.Record{"port": 80.0, "created_at": 1795251702.0, "weight": 0.5, "name": "1.0", "on": true, "none": nil}}}
	text, err := declarative.Format(doc)
	if err != nil || !strings.Contains(string(text), "port: 80\n") || !strings.Contains(string(text), "created_at: 1795251702\n") {
		t.Errorf("%v\n%s", err, text)
	}
	again, err := declarative.Parse(text)
	if err != nil || !schema.Equal(again, doc) {
		t.Errorf("%v became %v: %v", doc, again, err)
	}
}

package lua_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestPluginsOfADirectory(t *testing.T) {
	e := lua.New(lua.Config{}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
	kinds, err := e.Load("testdata", []string{"header-adder", "myplugin"})
	if err != nil {
		t.Fatal(err)
	}
	if kinds[0].Priority != 950 || kinds[0].Version != "1.2.0" || len(kinds[0].NoScopes) != 1 || kinds[0].NoScopes[0] != "consumer" {
		t.Errorf("%+v", kinds[0])
	}
	g := gatewaytest.New(t, kinds)
	gatewaytest.Route(t, g)
	plugins, _ := g.Entity("plugins")
	for want, config := range map[string]schema.Record{
		"config.mark: expected one of: !, ?":                  {"mark": "x"},
		"config.port: value should be between 0 and 65535":    {"port": 70000.0},
		"config.word: invalid value: UP":                      {"word": "UP"},
		"config.even: must be even":                           {"even": 3.0},
		"config.other: unknown field":                         {"other": 1.0},
		"config.response_headers.1.name: required field":      {"response_headers": []any{schema.Record{}}},
		"at least one of these fields must be non-empty: 're": {},
	} {
		if _, err := g.Create(t.Context(), plugins, schema.Record{"name": "header-adder", "config": config}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	made := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "header-adder", "config": schema.Record{
		"request_headers": schema.Record{"X-Req": "r"}, "response_headers": []any{schema.Record{"name": "X-Resp"}}, "mark": "!", "even": 4.0, "word": "w"}})
	if made["config"].(schema.Record)["port"] != 80.0 {
		t.Errorf("no default: %v", made["config"])
	}
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "myplugin"})
	r := gatewaytest.Do(g, gatewaytest.Request{})
	if r.Status != 401 || r.Body != `{"message":"no key"}` || r.Header.Get("WWW-Authenticate") != "Key" {
		t.Errorf("%d %s %v", r.Status, r.Body, r.Header.Fields())
	}
	for _, key := range []string{"a", "b"} {
		r := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"apikey", key}, AnswerBody: "body"})
		if r.Answered != 200 || r.Upstream.Get("X-Req") != "r" || r.Header.Get("X-Resp") != "1!" || r.Upstream.Get("Hello-World") != "made-"+key || r.Header.Get("Bye-World") != "200body" {
			t.Errorf("%+v %v %v", r, r.Upstream.Fields(), r.Header.Fields())
		}
	}
}

// TestBrokenPlugins: each stops the start with a line that names it.
func TestBrokenPlugins(t *testing.T) {
	const handler, described = `return {PRIORITY = 1, VERSION = "1"}`, `return {name = "p", fields = {{config = {type = "record", fields = {}}}}}`
	for want, files := range map[string][2]string{
		"":                            {handler, described},
		"PRIORITY is no number":       {`return {VERSION = "1"}`, described},
		"VERSION is no string":        {`return {PRIORITY = 1}`, described},
		"handler.lua: it returns no":  {`local x = 1`, described},
		"schema.lua: it has no field": {handler, `return {name = "p"}`},
		"type function is not":        {handler, `return {fields = {{config = {type = "record", fields = {{f = {type = "function"}}}}}}}`},
		"syntax error":                {`function`, described},
		"module 'lfs' not found":      {`require "lfs"`, described},
		"too long":                    {`while true do end`, described},
		"response cannot be":          {`return {PRIORITY = 1, VERSION = "1", response = function() end, body_filter = function() end}`, described},
	} {
		dir := t.TempDir()
		base := filepath.Join(dir, "kong", "plugins", "p")
		if err := os.MkdirAll(base, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, name := range []string{"handler.lua", "schema.lua"} {
			if err := os.WriteFile(filepath.Join(base, name), []byte(files[i]), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		e := lua.New(lua.Config{}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
		_, err := e.Load(dir, []string{"p"})
		switch {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugin p") || strings.Contains(err.Error(), "\n")):
			t.Errorf("%v, want %s", err, want)
		}
	}
	e := lua.New(lua.Config{}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
	for _, name := range []string{"none", "../p", ""} {
		if _, err := e.Load("testdata", []string{name}); err == nil {
			t.Errorf("%q was loaded", name)
		}
	}
}

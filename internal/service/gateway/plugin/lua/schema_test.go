package lua_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// loadPlugin loads a plugin p of a handler and a schema.
func loadPlugin(t *testing.T, handler, described string) ([]gateway.Plugin, error) {
	t.Helper()
	dir := t.TempDir()
	base := filepath.Join(dir, "kong", "plugins", "p")
	if err := os.MkdirAll(base, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"handler.lua": handler, "schema.lua": described} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return lua.New(lua.Config{}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()}).Load(dir, []string{"p"})
}

const bare = `return {PRIORITY = 1, VERSION = "1"}`

// describe is a schema with one field of the configuration.
func describe(field string) string {
	return `local typedefs = require "kong.db.schema.typedefs"
return {name = "p", fields = {{config = {type = "record", fields = {{f = ` + field + `}}}}}}`
}

// Each typedef and validator takes what Kong's takes, and refuses what it refuses.
func TestTypedefsCheck(t *testing.T) {
	for _, tc := range []struct {
		field     string
		good, bad any
	}{
		{"typedefs.url", "https://a.example/x", "not a url"},
		{"typedefs.url", "http://h:8080", "/path"},
		{"typedefs.host", "a.example", "a.example:80"},
		{"typedefs.wildcard_host", "*.example.com", "a b"},
		{"typedefs.ip", "::1", "a.example"},
		{"typedefs.ip_or_cidr", "10.0.0.0/8", "10.0.0.0/99"},
		{"typedefs.cidr_v4", "10.0.0.0/8", "10.0.0.1"},
		{"typedefs.header_name", "X-One", "X One"},
		{"typedefs.cookie_name", "sid", "a;b"},
		{"typedefs.sni", "a.example", "10.0.0.1"},
		{"typedefs.tag", "one", "a,b"},
		{"typedefs.tags", []any{"one"}, []any{"a/b"}},
		{"typedefs.name", "a_b", "a b"},
		{"typedefs.http_method", "GET", "get"},
		{"typedefs.methods", []any{"GET"}, []any{"get"}},
		{"typedefs.path", "/a/b", "/a//b"},
		{"typedefs.port", 443.0, 70000.0},
		{"typedefs.timeout", 10.0, -1.0},
		{"typedefs.uuid", "4b1e3b86-6d2e-4c52-8a0f-0d6d1a3f0001", "x"},
		{"typedefs.protocol", "https", "gopher"},
		{"typedefs.semantic_version", "1.2.3", "one"},
		{"typedefs.certificate", nil, "no certificate"},
		{"typedefs.key", nil, "no key"},
		{"typedefs.headers", schema.Record{"X-A": []any{"1"}}, schema.Record{"X A": []any{"1"}}},
		{"typedefs.sources", []any{schema.Record{"ip": "10.0.0.0/8", "port": 1.0}}, []any{schema.Record{"ip": "x"}}},
		{`typedefs.host({required = true})`, "a.example", "a.example:80"},
		{`{type = "string", not_one_of = {"a", "b"}}`, "c", "a"},
		{`{type = "string", ne = "a"}`, "b", "a"},
		{`{type = "array", elements = {type = "string"}, contains = "a"}`, []any{"a", "b"}, []any{"b"}},
		{`{type = "string", is_regex = true}`, "a+", "a("},
		{`{type = "string", match_none = {{pattern = "%s", err = "no blanks"}}}`, "ab", "a b"},
		{`{type = "string", match_all = {{pattern = "^a"}, {pattern = "b$"}}}`, "ab", "a"},
		{`{type = "string", match_any = {patterns = {"^a", "^b"}, err = "a or b"}}`, "bc", "c"},
	} {
		kinds, err := loadPlugin(t, bare, describe(tc.field))
		if err != nil {
			t.Errorf("%s: %v", tc.field, err)
			continue
		}
		g := gatewaytest.New(t, kinds)
		plugins, _ := g.Entity("plugins")
		if tc.good != nil {
			if _, err := g.Create(t.Context(), plugins, schema.Record{"name": "p", "config": schema.Record{"f": tc.good}}); err != nil {
				t.Errorf("%s refuses %v: %v", tc.field, tc.good, err)
			}
		}
		if _, err := g.Create(t.Context(), plugins, schema.Record{"name": "p", "config": schema.Record{"f": tc.bad}, "instance_name": "other"}); err == nil || !strings.Contains(err.Error(), "config.f") {
			t.Errorf("%s takes %v, or does not name the field: %v", tc.field, tc.bad, err)
		}
	}
}

// What a schema or a handler asks for and that is not there stops the load with its name and its place.
func TestWhatIsNotThereIsNamed(t *testing.T) {
	for want, files := range map[string][2]string{
		"there is no typedef 'nope'":                                  {bare, describe("typedefs.nope")},
		"f: the attribute sparkle is not served":                      {bare, describe(`{type = "string", sparkle = true}`)},
		"outer.inner: the attribute x is not served":                  {bare, describe(`{type = "record", fields = {{outer = {type = "record", fields = {{inner = {type = "string", x = 1}}}}}}}`)},
		"handler.lua: module 'resty.redis' not found":                 {"return {PRIORITY = 1, VERSION = '1', access = function() local r = require 'resty.redis' end}", describe(`{type = "string"}`)},
		"handler.lua: module 'kong.plugins.jwt.jwt_parser' not found": {"local p = require('kong.plugins.jwt.jwt_parser') " + bare, describe(`{type = "string"}`)},
		"the entity check at_most is not served":                      {bare, `return {name = "p", fields = {{config = {type = "record", fields = {}}}}, entity_checks = {{at_most = {"a"}}}}`},
	} {
		if _, err := loadPlugin(t, files[0], files[1]); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "plugin p") || !strings.Contains(err.Error(), ".lua") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := loadPlugin(t, "-- require 'resty.redis'\nlocal ok = pcall(require, 'resty.redis') "+bare, describe(`{type = "string"}`)); err != nil {
		t.Errorf("a comment, and a module that may be missing: %v", err)
	}
}

// Modules that published plugins require.
func TestModules(t *testing.T) {
	kinds, err := loadPlugin(t, eq+`
local T, S, X = require "kong.tools.table", require "pl.stringx", require "pl.tablex"
local H = {PRIORITY = 1, VERSION = "1"}
function H:access()
  eq(T.table_contains({1, 2}, 2), true) eq(T.deep_copy({a = {b = 1}}).a.b, 1) eq(T.is_array({1, 2}), true) eq(T.is_array({a = 1}), false)
  eq(S.strip("  a "), "a") eq(#S.split("a,b,c", ","), 3) eq(S.startswith("abc", "ab"), true) eq(S.replace("a.b", ".", "%"), "a%b")
  eq(X.deepcompare({a = {1}}, {a = {1}}), true) eq(X.size({a = 1, b = 2}), 2)
  eq(require("inspect")({1, a = "x"}), '{ 1, \n  a = "x"\n}')
  local u = require("socket.url").parse("https://u:p@h.example:8443/a/b?c=d#e")
  eq(u.scheme, "https") eq(u.host, "h.example") eq(u.port, "8443") eq(u.path, "/a/b") eq(u.query, "c=d") eq(u.fragment, "e") eq(u.user, "u")
  local cache = require("resty.lrucache").new(2)
  cache:set("a", 1) cache:set("b", 2) cache:get("a") cache:set("c", 3)
  eq(cache:get("b"), nil) eq(cache:get("a"), 1) eq(cache:get("c"), 3)
  eq(require("resty.cookie"):new():get("sid"), "7")
  eq(require("resty.string").to_hex(require("resty.openssl.hmac").new("key", "sha256"):final("text")), "6afa9046a9579cad143a384c1b564b9a250d27d6f6a63f9f20bf3a7594c9e2c6")
  local h = require("resty.hmac"):new("key", require("resty.hmac").ALGOS.SHA256) h:update("te") h:update("xt")
  eq(h:final(nil, true), "6afa9046a9579cad143a384c1b564b9a250d27d6f6a63f9f20bf3a7594c9e2c6")
  eq(#require("resty.random").bytes(16), 16) eq(#require("kong.tools.rand").random_string(), 32)
  local z = require "kong.tools.gzip" eq(z.inflate_gzip(z.deflate_gzip("text")), "text")
  eq(require("kong.tools.ip").is_valid_ip_or_cidr("10.0.0.0/8"), true) eq(require("kong.tools.ip").hostname_type("::1"), "ipv6")
  eq(require("kong.tools.timestamp").get_timestamps(86400000 * 31 + 1000).day, 86400000 * 31)
  eq(require("kong.tools.http").validate_header_name("X-A"), "X-A") eq(require("kong.tools.time").get_now_ms() > 0, true)
  local s = require("ngx.semaphore").new(1) eq(s:wait(0), true) eq(s:wait(0), nil)
  kong.response.exit(204)
end
return H`, describe(`{type = "string"}`))
	if err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.New(t, kinds)
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "p"})
	if r := gatewaytest.Do(g, request); r.Status != 204 {
		t.Errorf("%d %s", r.Status, r.Body)
	}
}

// The handler's configure learns of all configurations, and again when they change.
func TestConfigure(t *testing.T) {
	kinds, err := loadPlugin(t, `
local seen = "none"
local H = {PRIORITY = 1, VERSION = "1"}
function H:configure(configs)
  local all = {}
  for _, c in ipairs(configs or {}) do all[#all + 1] = c.f end
  table.sort(all)
  seen = table.concat(all, ",")
end
function H:access(config) kong.response.exit(200, seen) end
return H`, describe(`{type = "string"}`))
	if err != nil {
		t.Fatal(err)
	}
	g := gatewaytest.New(t, kinds)
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "p", "config": schema.Record{"f": "one"}})
	if r := gatewaytest.Do(g, request); r.Body != "one" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
	gatewaytest.Consumer(t, g, "u")
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "p", "consumer": schema.Record{"username": "u"}, "config": schema.Record{"f": "two"}})
	if r := gatewaytest.Do(g, request); r.Body != "one,two" {
		t.Errorf("%d %q", r.Status, r.Body)
	}
}

package lua_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/function"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func newGateway(t testing.TB, c lua.Config) *gateway.Gateway {
	t.Helper()
	e := lua.New(c, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log(), NodeID: "node-1"})
	g := gatewaytest.New(t, []gateway.Plugin{function.NewPre(e), function.NewPost(e)})
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "url": "http://up.example:8080/base"})
	gatewaytest.Create(t, g, "routes", schema.Record{"name": "r", "paths": []any{"/", `~/users/(?P<id>\d+)`}, "service": schema.Record{"name": "s"}})
	return g
}

// configure sets the code of a phase of pre-function.
func configure(t testing.TB, g *gateway.Gateway, config schema.Record) string {
	t.Helper()
	return gatewaytest.Create(t, g, "plugins", schema.Record{"name": "pre-function", "config": config})["id"].(string)
}

func code(phase string, sources ...string) schema.Record {
	list := make([]any, len(sources))
	for i, s := range sources {
		list[i] = s
	}
	return schema.Record{phase: list}
}

// eq asserts in Lua.
const eq = `
local function eq(got, want, what)
  if type(want) == "table" then
    for k, v in pairs(want) do
      if type(got) ~= "table" or got[k] ~= v then error((what or "") .. "[" .. tostring(k) .. "]: " .. tostring(got and got[k]) .. ", want " .. tostring(v), 2) end
    end
    return
  end
  if got ~= want then error((what or "") .. ": " .. tostring(got) .. ", want " .. tostring(want), 2) end
end
`

var request = gatewaytest.Request{Method: "POST", Target: "/users/42/a%20b?a=1&b&a=2&c=%20x", Host: "Front.example:8000", Minor: 1,
	Header: []string{"X-One", "1", "X-Two", "a", "X-Two", "b", "Content-Type", "application/json", "Cookie", "sid=7; u=v"}, Body: `{"n":1,"list":[],"s":"x/y"}`}

// TestPDK runs snippets that assert by themselves; the ones that fail answer with why.
func TestPDK(t *testing.T) {
	for name, snippet := range map[string]string{
		"request": `local r = kong.request
			eq(r.get_scheme(), "http") eq(r.get_host(), "front.example") eq(r.get_port(), 80) eq(r.get_method(), "POST")
			eq(r.get_path(), "/users/42/a b") eq(r.get_raw_path(), "/users/42/a%20b") eq(r.get_raw_query(), "a=1&b&a=2&c=%20x")
			eq(r.get_path_with_query(), "/users/42/a%20b?a=1&b&a=2&c=%20x")
			eq(r.get_query_arg("a"), "1") eq(r.get_query_arg("b"), true) eq(r.get_query_arg("no"), nil) eq(r.get_query().c, " x") eq(r.get_query().a, {"1", "2"})
			eq(r.get_header("x-one"), "1") eq(r.get_header("X_One"), "1") eq(r.get_header("none"), nil) eq(r.get_header("host"), "Front.example:8000")
			eq(r.get_headers()["x-two"], {"a", "b"}) eq(r.get_headers()["X-ONE"], "1") eq(r.get_headers().x_one, "1")
			eq(r.get_http_version(), 1.1) eq(r.get_forwarded_host(), "front.example") eq(r.get_forwarded_port(), 8000)
			eq(r.get_raw_body(), '{"n":1,"list":[],"s":"x/y"}')
			local b, err, mime = r.get_body() eq(b.n, 1) eq(err, nil) eq(mime, "application/json")
			eq(r.get_uri_captures().named.id, "42") eq(r.get_uri_captures().unnamed[1], "42")
			assert(r.get_start_time())`,
		"service request": `local q = kong.service.request
			q.set_header("X-New", "v") eq(kong.request.get_header("x-new"), "v") q.add_header("X-New", 2) eq(kong.request.get_headers()["x-new"], {"v", "2"})
			q.clear_header("X-New") eq(kong.request.get_header("x-new"), nil) q.set_headers({["X-A"] = {"1", "2"}, ["X-B"] = true})
			eq(kong.request.get_headers()["x-a"], {"1", "2"}) eq(kong.request.get_header("x-b"), "true")
			q.set_query({z = 1, a = {"x", "y"}, flag = true, off = false}) eq(kong.request.get_raw_query(), "a=x&a=y&flag&z=1")
			q.set_path("/new") eq(ngx.var.upstream_uri, "/new?a=x&a=y&flag&z=1") q.set_method("PUT") eq(kong.request.get_method(), "PUT")
			q.set_body({k = "v"}, "application/x-www-form-urlencoded") eq(kong.request.get_raw_body(), "k=v")
			assert(not pcall(q.set_path, "no slash")) assert(not pcall(q.set_header, "X", print))
			kong.service.set_target("other.example", 81) eq(ngx.var.upstream_host, "other.example:81") kong.service.set_retries(1) kong.service.set_timeouts(1, 2, 3)
			local ok, err = kong.service.set_upstream("none") eq(ok, nil) eq(err, "could not find an Upstream named 'none'")`,
		"context": `kong.ctx.shared.x = {1} kong.ctx.plugin.y = 2 ngx.ctx.z = 3 eq(kong.ctx.shared.x[1], 1) eq(kong.ctx.plugin.y, 2) eq(ngx.ctx.z, 3)`,
		"node": `eq(kong.node.get_id(), "node-1") eq(kong.version, "3.9.1") eq(kong.nginx.get_subsystem(), "http") eq(#kong.plugin.get_id(), 36)
			eq(kong.router.get_route().name, "r") eq(kong.router.get_service().host, "up.example") eq(kong.ip.is_trusted("1.2.3.4"), false)
			eq(kong.vault.is_reference("{vault://env/x}"), true) eq(kong.vault.get("{vault://env/x}"), nil)
			eq(kong.client.get_ip(), "127.0.0.1") eq(kong.client.get_consumer(), nil) eq(kong.client.load_consumer("nobody", true), nil)`,
		"authenticate": `kong.client.authenticate({id = "c", username = "bob"}, {id = "cred"}) eq(kong.client.get_consumer().username, "bob")
			eq(kong.client.get_credential().id, "cred") eq(kong.request.get_header("x-consumer-username"), "bob")`,
		"db": `eq(kong.db.services:select_by_name("s").host, "up.example") eq(kong.db.services:select_by_name("none"), nil)
			local n = 0 for s, err in kong.db.services:each() do n = n + 1 eq(kong.db.services:select({id = s.id}).name, "s") end eq(n, 1)
			assert(not pcall(function() kong.db.services:insert({name = "evil", host = "h"}) end))`,
		"cache": `kong.cache:purge() local calls = 0 local function load(a) calls = calls + 1 return {v = a} end
			eq(kong.cache:get("k", {ttl = 60}, load, 5).v, 5) eq(kong.cache:get("k", nil, load, 6).v, 5) eq(calls, 1) kong.cache:invalidate("k") eq(kong.cache:get("k", nil, load, 6).v, 6)
			local v, err = kong.cache:get("bad", nil, function() return nil, "why" end) eq(v, nil) eq(err, "why")`,
		"json": `local c = require "cjson.safe" eq(c.encode({}), "{}") eq(c.encode(c.empty_array), "[]") eq(c.encode({1, 2}), "[1,2]") eq(c.encode({a = "x/y"}), '{"a":"x\\/y"}')
			eq(c.encode(c.decode('{"l":[]}')), '{"l":[]}') eq(c.decode("null"), c.null) eq(ngx.null, c.null) eq(c.encode({1.5, true}), "[1.5,true]")
			local v, err = c.decode("{") eq(v, nil) assert(err) eq(c.encode(setmetatable({}, c.array_mt)), "[]") assert(not pcall(require("cjson").decode, "{"))
			local loop = {} loop.l = loop eq(c.encode(loop), nil) eq(c.encode({f = function() end}), nil) eq(c.encode({[1] = 1, [1000] = 2}), nil)`,
		"ngx": `eq(ngx.encode_base64("hi"), "aGk=") eq(ngx.decode_base64("aGk="), "hi") eq(ngx.decode_base64("*"), nil) eq(ngx.md5("a"), "0cc175b9c0f1b6a831c399e269772661")
			eq(#ngx.sha1_bin("a"), 20) eq(#ngx.hmac_sha1("k", "a"), 20) eq(ngx.escape_uri("a b/&"), "a%20b%2F%26") eq(ngx.unescape_uri("a%20b"), "a b")
			eq(ngx.encode_args({a = 1, b = "x y"}), "a=1&b=x%20y") eq(ngx.decode_args("a=1&b").b, true) eq(ngx.var.request_method, "POST") eq(ngx.var.arg_a, "1")
			eq(ngx.var.http_x_one, "1") eq(ngx.var.cookie_sid, "7") eq(ngx.var.uri, "/users/42/a b") eq(ngx.get_phase(), "access") eq(ngx.HTTP_FORBIDDEN, 403)
			eq(ngx.req.get_headers()["X-One"], "1") eq(ngx.req.get_method(), "POST") eq(ngx.var.nothing, nil) eq(ngx.parse_http_time("Thu, 18 Nov 2010 11:27:35 GMT"), 1290079655)
			assert(ngx.now() > 1e9 and ngx.worker.pid() > 0) eq(#kong.request.get_query(), 0) ngx.log(ngx.ERR, "a", 1, nil, true)`,
		"regular expressions": `local m = ngx.re.match("hello, 1234", "(?<word>[a-z]+), ([0-9]+)", "jo") eq(m[0], "hello, 1234") eq(m.word, "hello") eq(m[2], "1234")
			local a, b = ngx.re.find("xxabc", "abc") eq(a, 3) eq(b, 5) eq(ngx.re.match("A", "a"), nil) eq(ngx.re.match("A", "a", "i")[0], "A")
			local s, n = ngx.re.gsub("a1b2", "([0-9])", "<$1>") eq(s, "a<1>b<2>") eq(n, 2) eq(ngx.re.sub("aa", "a", function(m) return m[0] .. "!" end), "a!a")
			local c = 0 for m in ngx.re.gmatch("a,b", "[a-z]") do c = c + 1 end eq(c, 2) eq(require("ngx.re").split("a,b", ","), {"a", "b"})
			assert(not pcall(ngx.re.match, "a", "(?=x)"))`,
		"language": `eq(("%d-%s"):format(1, "x"), "1-x") eq(("a,b"):gsub(",", ";"), "a;b") eq(("key = value"):match("^(%w+)%s*=%s*(%w+)$"), "key") eq(("x"):rep(3), "xxx")
			local k, v = ("k=v"):match("(%w)=(%w)") eq(v, "v") eq(("f(a(b)c)"):match("%b()"), "(a(b)c)") eq(("THE (quick) fox"):find("%((%a+)%)"), 5) eq(("aXb"):gsub("%u", {X = "-"}), "a-b")
			local t = {} for w in ("one two"):gmatch("%a+") do t[#t + 1] = w end eq(t, {"one", "two"}) eq(("hello"):gsub("", "-"), "-h-e-l-l-o-") eq(("abc"):find("b", 1, true), 2)
			eq("a" .. 1 .. "b", "a1b") local mt = setmetatable({}, {__concat = function(a, b) return "meta" end}) eq(mt .. "x", "meta") eq("x" .. mt, "meta")
			assert(not pcall(function() return "a" .. nil end)) assert(not pcall(function() return {} .. "x" end)) local function two() return "p", "q" end eq("x" .. two(), "xp")
			eq(select("#", pcall(error)), 2) eq(select(2, pcall(error, "m", 0)), "m") eq(select(2, xpcall(function() error("e", 0) end, function(m) return m .. "!" end)), "e!")
			eq(os.date("!%Y-%m-%d", 0), "1970-01-01") eq(os.time({year = 2000, month = 1, day = 1}) > 0, true) eq(table.concat({1, "a"}, ","), "1,a") eq(#table.pack(1, 2), 2)
			local co = coroutine.wrap(function() coroutine.yield(1) return 2 end) eq(co(), 1) eq(co(), 2) goto done do error("not here") end ::done::`,
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t, lua.Config{})
			configure(t, g, code("access", eq+"local ok, err = pcall(function() "+snippet+" end) kong.response.exit(ok and 204 or 599, err and tostring(err))"))
			for range 2 { // a state that is used again knows no more
				if r := gatewaytest.Do(g, request); r.Status != 204 {
					t.Fatalf("%d %s", r.Status, r.Body)
				}
			}
		})
	}
}

func TestPhases(t *testing.T) {
	g := newGateway(t, lua.Config{})
	configure(t, g, schema.Record{
		"rewrite":       []any{`kong.ctx.shared.trace = "rewrite"`},
		"access":        []any{`local n = 0 return function() n = n + 1 kong.ctx.shared.trace = kong.ctx.shared.trace .. ",access" kong.response.set_header("X-Early", "1") end`},
		"header_filter": []any{`kong.response.set_header("X-Trace", kong.ctx.shared.trace .. ",header") kong.response.clear_header("Server") kong.response.set_status(202) kong.response.clear_header("content-length")`},
		"body_filter":   []any{`local b = kong.response.get_raw_body() if b then kong.response.set_raw_body("[" .. b .. "]" .. kong.response.get_source()) end`},
		"log":           []any{`assert(kong.log.serialize().request.method == "GET")`},
	})
	r := gatewaytest.Do(g, gatewaytest.Request{Answer: []string{"Server", "up"}, AnswerBody: "whole body"})
	if r.Answered != 202 || r.Header.Get("X-Trace") != "rewrite,access,header" || r.Header.Get("X-Early") != "1" || r.Header.Get("Server") != "" || r.Body != "[whole body]service" {
		t.Errorf("%+v %v", r, r.Header.Fields())
	}
}

func TestAnswers(t *testing.T) {
	for source, want := range map[string]string{
		`kong.response.exit(403, {message = "no"}, {["X-A"] = "b"})`:  `403 {"message":"no"}`,
		`kong.response.exit(200, "text")`:                             `200 text`,
		`kong.response.error(401)`:                                    `401 {` + "\n" + `  "message":"Unauthorized"`,
		`ngx.status = 418 ngx.say("tea") ngx.exit(418)`:               "418 tea\n",
		`pcall(function() kong.response.exit(204) end) error("past")`: `204 `,
		`return function() kong.response.exit(201) end`:               `201 `,
		`error("broken")`:      `500 {` + "\n" + `  "message":"An unexpected error occurred"`,
		`local x = nil; x.y()`: `500 `,
		`ngx.redirect("/x")`:   `302 `,
		`ngx.exit(ngx.OK)`:     `0 `,
	} {
		g := newGateway(t, lua.Config{})
		configure(t, g, code("access", source, `kong.service.request.set_header("X-Second", "ran")`))
		for range 2 {
			r := gatewaytest.Do(g, gatewaytest.Request{})
			if got := strings.TrimSpace(string(rune('0'+r.Status/100))+string(rune('0'+r.Status/10%10))+string(rune('0'+r.Status%10))) + " " + r.Body; !strings.HasPrefix(got, want) && !(r.Status == 0 && want == "0 ") {
				t.Errorf("%s: %q, want %q", source, got, want)
			}
			if r.Upstream.Get("X-Second") != "" {
				t.Errorf("%s: what comes after ran", source)
			}
		}
	}
}

// Where there is nothing, functions return nil, and not no value: tostring(f()) raises for none.
func TestFunctionsReturnNil(t *testing.T) {
	for _, call := range []string{
		`kong.request.get_header("nope")`, `kong.request.get_query_arg("nope")`,
		`kong.client.get_consumer()`, `kong.client.get_credential()`, `kong.client.load_consumer("4b1e3b86-6d2e-4c52-8a0f-0d6d1a3f0001")`,
		`kong.client.get_consumer_group()`, `kong.client.get_consumer_groups()`, `kong.client.authenticate_consumer_group_by_consumer_id("x")`,
		`kong.response.get_header("nope")`, `kong.service.response.get_status()`, `kong.service.response.get_header("nope")`,
		`kong.db.consumers:select({id = "4b1e3b86-6d2e-4c52-8a0f-0d6d1a3f0001"})`, `kong.db.consumers:select_by_username("nobody")`,
		`kong.cache:get("nope", nil, function() return nil end)`, `kong.cache:probe("nope")`,
		`ngx.re.match("a", "b")`, `ngx.re.find("a", "b")`, `ngx.decode_base64("%%%")`, `ngx.parse_http_time("rubbish")`,
		`ngx.req.get_headers()["nope"]`, `ngx.var.http_nope`, `ngx.header["nope"]`, `kong.ctx.shared.nope`,
	} {
		g := newGateway(t, lua.Config{})
		configure(t, g, code("access", `
			local n = select("#", `+call+`)
			if n == 0 then return kong.response.exit(500, "no value") end
			kong.service.request.set_header("X-Got", tostring(`+call+`))`))
		if r := gatewaytest.Do(g, request); r.Status != 0 || r.Upstream.Get("X-Got") != "nil" {
			t.Errorf("%s: %d %.300s, %q", call, r.Status, r.Body, r.Upstream.Get("X-Got"))
		}
	}
}

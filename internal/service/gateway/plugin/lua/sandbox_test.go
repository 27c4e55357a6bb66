package lua_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/function"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestSandbox tries to get out. What gets out answers 200.
func TestSandbox(t *testing.T) {
	for i, attempt := range []string{
		`io.open("/etc/passwd")`, `os.execute("true")`, `os.exit(1)`, `os.remove("/tmp/x")`, `os.rename("a", "b")`, `os.tmpname()`, `loadstring("return 1")()`,
		`load(function() return nil end)`, `dofile("/etc/passwd")`, `loadfile("/etc/passwd")`, `debug.getinfo(1)`, `require("io")`, `require("os.execute")`,
		`package.loadlib("x", "y")`, `getfenv(0)`, `setfenv(1, {})`, `newproxy(true)`, `string.dump(print)`, `channel.make()`, `module("x")`,
		`string.rep = nil`, `rawset(string, "rep", 1)`, `getmetatable("").__index.rep = nil`, `kong.request.get_path = 1`, `ngx.re.match = 1`, `kong.new = 1`,
		`setmetatable(string, {})`, `setmetatable(_G, {})`, `rawset(kong, "x", 1)`, `_G["(..)"]({}, {})`, `kong.db.services:insert({host = "h"})`,
		`require "resty.http"`, `ngx.shared.x:get("a")`, `ngx.timer.at(0, function() end)`,
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Log(attempt)
			g := newGateway(t, lua.Config{})
			configure(t, g, code("access", attempt+` kong.response.exit(200, "out")`))
			if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 500 {
				t.Errorf("%d %s", r.Status, r.Body)
			}
		})
	}
}

// TestBounds runs what would use up the machine: each ends with a 500 and a line in the
// log, and the next request is served.
func TestBounds(t *testing.T) {
	n := 0 // tests are named by number: their names become those of files
	for attempt, why := range map[string]string{
		`while true do end`: "too long",
		`while true do pcall(function() while true do end end) end`:        "too long",
		`local co = coroutine.wrap(function() while true do end end) co()`: "too long",
		`ngx.sleep(3600)`: "too long",
		`local function f() return 1 + f() end f()`:                                                         "stack overflow",
		`local function f() f() end pcall(f) f()`:                                                           "stack overflow",
		`local s = "x" while true do s = s .. s end`:                                                        "string of more than",
		`local s = ("x"):rep(1e9)`:                                                                          "string of more than",
		`local s = ("x"):rep(1e18)`:                                                                         "string of more than",
		`local s = ("x"):rep(1e6) s = s:gsub(".", s)`:                                                       "string of more than",
		`local s = ("%999999999d"):format(1)`:                                                               "invalid format",
		`local t = {} local s = ("x"):rep(1e7) for i = 1, 100 do t[i] = s end table.concat(t)`:              "string of more than",
		`local t = {} while true do t[#t + 1] = {{}, {}, {}} end`:                                           "too",
		`local t = {} for i = 1, 1e9 do t[i] = i .. "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" end`:         "too",
		`local t = {} for i = 1, 1e9 do t[i] = {} t[i][1e6] = 1 end`:                                        "too",
		`local s = ("a"):rep(30000) s:find(".-.-.-.-.-b")`:                                                  "takes too long",
		`unpack({}, 1, 1e8)`:                                                                                "",
		`local t = {} for i = 1, 1e9 do t[i] = coroutine.create(function() end) coroutine.resume(t[i]) end`: "too",
		`setmetatable({}, {__index = function(t, k) return t[k] end}).x()`:                                  "stack overflow",
	} {
		n++
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Log(attempt)
			var mu sync.Mutex
			var out bytes.Buffer
			e := lua.New(lua.Config{Limit: 300 * time.Millisecond, Memory: 64 << 20}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
			g := gatewaytest.New(t, []gateway.Plugin{function.NewPre(e)}, func(d *gateway.Deps) {
				d.Log = slog.New(slog.NewTextHandler(writer(func(p []byte) { mu.Lock(); out.Write(p); mu.Unlock() }), nil))
			})
			gatewaytest.Route(t, g)
			configure(t, g, code("access", `if kong.request.get_header("ok") then kong.response.exit(204) end `+attempt))
			began := time.Now()
			r := gatewaytest.Do(g, gatewaytest.Request{})
			mu.Lock()
			line := out.String()
			mu.Unlock()
			// On a busy machine the time may be up before the bound is reached.
			bounded := strings.Contains(line, why) || strings.Contains(line, "takes too long")
			if r.Status != 500 || !strings.Contains(line, "Lua code failed") || !bounded || time.Since(began) > time.Minute {
				t.Errorf("%d after %v: %s", r.Status, time.Since(began), line)
			}
			if r := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"ok", "1"}}); r.Status != 204 {
				t.Errorf("the next request: %d", r.Status)
			}
		})
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) { w(p); return len(p), nil }

// TestRefused is what the configuration does not take.
func TestRefused(t *testing.T) {
	g := newGateway(t, lua.Config{})
	plugins, _ := g.Entity("plugins")
	for _, source := range []string{`if`, `x = = 1`, "\x1bLua", strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), `return ` + strings.Repeat("{", 1000) + strings.Repeat("}", 1000),
		`goto nowhere`, strings.Repeat("-", 2<<20)} {
		_, err := g.Create(t.Context(), plugins, schema.Record{"name": "pre-function", "config": code("access", source)})
		if err == nil || !strings.Contains(err.Error(), "access") {
			t.Errorf("%.20q: %v", source, err)
		}
	}
	if _, err := g.Create(t.Context(), plugins, schema.Record{"name": "pre-function", "config": schema.Record{}}); err == nil {
		t.Error("no code at all was accepted")
	}
}

// TestProgramsAreApart: the globals of one are not those of another.
func TestProgramsAreApart(t *testing.T) {
	g := newGateway(t, lua.Config{})
	configure(t, g, code("access", `leak = "x" kong.ctx.shared.seen = true`, `if leak or _G.leak then error("leaked") end assert(kong.ctx.shared.seen)`))
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "post-function", "config": code("access",
		`assert(kong.ctx.shared.seen) assert(not kong.ctx.plugin.mine) kong.ctx.plugin.mine = 1 kong.response.exit(204)`)})
	for range 2 {
		if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 204 {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
	}
}

func TestConcurrently(t *testing.T) {
	g := newGateway(t, lua.Config{Limit: time.Minute}) // on a busy machine one of 64 may not run for a second
	id := configure(t, g, code("access", `local n = kong.request.get_header("n") kong.ctx.shared.n = n
		local v = kong.cache:get("n" .. n, nil, function() return n end) assert(v == n) kong.response.exit(200, kong.ctx.shared.n)`))
	plugins, _ := g.Entity("plugins")
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			for range 50 {
				if r := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"n", fmt.Sprint(i)}}); r.Body != fmt.Sprint(i) {
					t.Errorf("%d: %d %q", i, r.Status, r.Body)
					return
				}
			}
		})
	}
	for i := range 5 { // instances come and go meanwhile
		if _, err := g.Patch(t.Context(), plugins, id, schema.Record{"tags": []any{fmt.Sprint("t", i)}}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
}

func BenchmarkAccess(b *testing.B) {
	for name, source := range map[string]string{
		"set_header": `kong.service.request.set_header("X-Lua", "1")`,
		"typical": `local id = kong.request.get_header("X-One") if not id then return kong.response.exit(400, {message = "no id"}) end
			kong.ctx.shared.id = id kong.service.request.set_header("X-Id", "id-" .. id:upper():gsub("%s", ""))`,
	} {
		b.Run(name, func(b *testing.B) {
			g := newGateway(b, lua.Config{})
			configure(b, g, code("access", "return function() "+source+" end"))
			x := func() *gateway.Exchange {
				x := g.Begin()
				x.Conn = &gateway.Conn{}
				x.Request.Method = "GET"
				x.Request.Header.AddValid("X-One", "abc")
				gateway.SetTarget(&x.Request, "/", 80)
				return x
			}
			b.ReportAllocs()
			for b.Loop() {
				x := x()
				g.Access(x)
				if x.Answered() {
					b.Fatal(string(x.Response.Body))
				}
				g.End(x)
			}
		})
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{`return 1`, `local t = {a = 1, [2] = "x" .. 1} for k, v in pairs(t) do t[k] = v .. k end`, `goto a ::a::`, "return ... .. ...", "f{..."} {
		f.Add(s)
	}
	e := lua.New(lua.Config{Limit: 50 * time.Millisecond, Memory: 64 << 20}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
	g := gatewaytest.New(f, nil)
	u := &lua.Unit{Env: gateway.Env{Log: gatewaytest.Log(), Directory: g}}
	f.Fuzz(func(t *testing.T, source string) {
		p, err := e.Compile("fuzz", source)
		if err != nil {
			return
		}
		x := g.Begin()
		defer g.End(x)
		x.Conn = &gateway.Conn{}
		_, _ = e.Evaluate(x, u, p, lua.Log) // whatever it returns, it returns
	})
}

package transformer_test

import (
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/lua"
	"sluice.dev/sluice/internal/service/gateway/plugin/transformer"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

type rec = schema.Record

func list(v ...any) []any { return v }

func newGateway(t testing.TB) *gateway.Gateway {
	e := lua.New(lua.Config{}, lua.Deps{Clock: clock.System{}, Log: gatewaytest.Log()})
	g := gatewaytest.New(t, []gateway.Plugin{transformer.NewRequest(e), transformer.NewResponse()})
	gatewaytest.Create(t, g, "services", rec{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", rec{"paths": list("/", `~/users/(?P<id>\d+)`), "service": rec{"name": "s"}})
	return g
}

func TestRequest(t *testing.T) {
	const form, json = "application/x-www-form-urlencoded", "application/json; charset=utf-8"
	for name, c := range map[string]struct {
		config             rec
		target, kind, body string
		want               map[string]string // header, or "query", "body", "method"
	}{
		"remove":  {config: rec{"remove": rec{"headers": list("x-a"), "querystring": list("q"), "body": list("p")}}, target: "/?q=1&r=2", kind: form, body: "p=1&s=2", want: map[string]string{"X-A": "", "query": "r=2", "body": "s=2"}},
		"rename":  {config: rec{"rename": rec{"headers": list("x-a:x-b"), "querystring": list("q:n"), "body": list("p:o")}}, target: "/?q=1", kind: form, body: "p=1", want: map[string]string{"X-A": "", "X-B": "one", "query": "n=1", "body": "o=1"}},
		"replace": {config: rec{"replace": rec{"headers": list("x-a:new", "x-none:v"), "querystring": list("q:new", "z:1"), "body": list("p:new", "z:1")}}, target: "/?q=1&q=2", kind: form, body: "p=1", want: map[string]string{"X-A": "new", "X-None": "", "query": "q=new", "body": "p=new"}},
		"add":     {config: rec{"add": rec{"headers": list("x-a:new", "x-c:url:with:colons"), "querystring": list("q:new", "z:a b"), "body": list("p:new", "z:1")}}, target: "/?q=1", kind: form, body: "p=1", want: map[string]string{"X-A": "one", "X-C": "url:with:colons", "query": "q=1&z=a%20b", "body": "p=1&z=1"}},
		"append":  {config: rec{"append": rec{"headers": list("x-a:two"), "querystring": list("q:2"), "body": list("p:2")}}, target: "/?q=1", kind: form, body: "p=1", want: map[string]string{"X-A": "one|two", "query": "q=1&q=2", "body": "p=1&p=2"}},
		"json": {config: rec{"remove": rec{"body": list("a")}, "rename": rec{"body": list("b:c")}, "replace": rec{"body": list("d:1")}, "add": rec{"body": list("e:x", "d:no")}, "append": rec{"body": list("l:2", "s:t")}},
			kind: json, body: `{"a":1,"b":2,"d":0,"l":["1"],"s":"r","n":12345678901234567890}`, want: map[string]string{"body": `{"c":2,"d":"1","e":"x","l":["1","2"],"n":12345678901234567890,"s":["r","t"]}`}},
		"no body":     {config: rec{"add": rec{"body": list("a:1")}}, kind: json, want: map[string]string{"body": `{"a":"1"}`}},
		"broken json": {config: rec{"add": rec{"body": list("a:1")}}, kind: json, body: `{"x`, want: map[string]string{"body": `{"x`}},
		"other body":  {config: rec{"add": rec{"body": list("a:1")}}, kind: "text/plain", body: `x`, want: map[string]string{"body": ``}},
		"method":      {config: rec{"http_method": "GET"}, target: "/?q=1", kind: form, body: "p=1", want: map[string]string{"query": "q=1&p=1"}},
		"templates": {config: rec{"replace": rec{"uri": "/v2/$(uri_captures.id)/$(query_params['q'])"}, "add": rec{"headers": list("x-t:$(headers.x_a)-$(headers['X-A']:upper())-$(query_params.none or 'def')", "x-n:$(1 + 1)", "x-e:a$(headers.none)b", "x-p:$(')' .. \"(\")")}},
			target: "/users/42?q=hi", want: map[string]string{"X-T": "one-ONE-def", "X-N": "2", "X-E": "ab", "X-P": ")("}},
		"templates see what was": {config: rec{"remove": rec{"headers": list("x-a")}, "add": rec{"headers": list("x-b:$(headers.x_a)"), "querystring": list("w:$(headers['x-a'] .. '!')")}}, want: map[string]string{"X-B": "one", "query": "w=one%21"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			gatewaytest.Create(t, g, "plugins", rec{"name": "request-transformer", "config": c.config})
			r := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Target: c.target, Header: []string{"X-A", "one", "Content-Type", c.kind}, Body: c.body})
			if r.Status != 0 {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
			for what, want := range c.want {
				got := ""
				switch what {
				case "query":
					got = r.Query
				case "body":
					got = r.Sent
				default:
					var all []string
					for _, f := range r.Upstream.Fields() {
						if gateway.EqualFold(f.Name, what) {
							all = append(all, f.Value)
						}
					}
					got = strings.Join(all, "|")
				}
				if got != want {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
		})
	}
}

func TestMultipart(t *testing.T) {
	g := newGateway(t)
	gatewaytest.Create(t, g, "plugins", rec{"name": "request-transformer", "config": rec{"remove": rec{"body": list("gone")}, "add": rec{"body": list("new:v", "kept:no")}, "replace": rec{"body": list("old:fresh")}}})
	body := "--b\r\nContent-Disposition: form-data; name=\"gone\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"kept\"; filename=\"f\"\r\nContent-Type: text/x\r\n\r\nfile\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"old\"\r\n\r\n2\r\n--b--\r\n"
	r := gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Header: []string{"Content-Type", "multipart/form-data; boundary=b"}, Body: body})
	for _, part := range []string{"name=\"kept\"; filename=\"f\"\r\nContent-Type: text/x\r\n\r\nfile\r\n", "name=\"new\"\r\n\r\nv\r\n", "name=\"old\"\r\n\r\nfresh\r\n", "--b--"} {
		if !strings.Contains(r.Sent, part) {
			t.Errorf("no %q in %q", part, r.Sent)
		}
	}
	if strings.Contains(r.Sent, "gone") {
		t.Errorf("%q", r.Sent)
	}
}

func TestResponse(t *testing.T) {
	config := rec{
		"remove": rec{"headers": list("x-gone", "set-cookie:a value"), "json": list("gone")}, "rename": rec{"headers": list("x-old:x-new"), "json": list("old:new")},
		"replace": rec{"headers": list("x-have:2", "x-not:1"), "json": list("n:7"), "json_types": list("number")},
		"add":     rec{"headers": list("x-have:3", "x-add:1"), "json": list("flag:true", "text:a/\"b"), "json_types": list("boolean", "string")},
		"append":  rec{"headers": list("x-have:4"), "json": list("l:3"), "json_types": list("number")},
	}
	g := newGateway(t)
	gatewaytest.Create(t, g, "plugins", rec{"name": "response-transformer", "config": config})
	head := []string{"X-Gone", "1", "Set-Cookie", "a=1", "Set-Cookie", "b=2", "X-Old", "o", "X-Have", "1", "Content-Type", "application/json"}
	const body = `{"gone":1,"old":2,"n":1,"l":[1,2]}`
	r := gatewaytest.Do(g, gatewaytest.Request{Answer: head, AnswerBody: body})
	if want := `{"flag":true,"l":[1,2,3],"n":7,"new":2,"text":"a/\"b"}`; r.Body != want {
		t.Errorf("%s, want %s", r.Body, want)
	}
	if h := r.Header; h.Get("X-Gone") != "" || h.Count("Set-Cookie") != 0 || h.Get("X-New") != "o" || h.Get("X-Have") != "2" || h.Count("X-Have") != 2 || h.Get("X-Add") != "1" || h.Count("X-Not") != 0 {
		t.Errorf("%v", h.Fields())
	}
	for _, h := range [][]string{append(head, "Content-Encoding", "gzip"), {"Content-Type", "text/html"}} {
		if r := gatewaytest.Do(g, gatewaytest.Request{Answer: h, AnswerBody: body}); r.Body != body {
			t.Errorf("%v: %s", h, r.Body)
		}
	}
	if r := gatewaytest.Do(g, gatewaytest.Request{Answer: head, AnswerBody: "no json"}); r.Body != "no json" {
		t.Errorf("%s", r.Body)
	}
}

func TestRefused(t *testing.T) {
	g := newGateway(t)
	plugins, _ := g.Entity("plugins")
	for field, config := range map[string]rec{
		"add":         {"add": rec{"headers": list("nocolon")}},
		"replace":     {"replace": rec{"uri": "$(headers"}},
		"append":      {"append": rec{"querystring": list("a:$(if)")}},
		"http_method": {"http_method": "no method"},
		"rename":      {"rename": rec{"headers": list("a:b c")}},
	} {
		if _, err := g.Create(t.Context(), plugins, rec{"name": "request-transformer", "config": config}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

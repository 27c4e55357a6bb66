package node_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/kong"
	"sluice.dev/sluice/internal/node"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// seeds are good bodies of the collections, and configurations of the kinds of plugin, that
// need more than nothing.
func seeds(t *testing.T) (entities, configs map[string]schema.Record) {
	ca := gatewaytest.NewAuthority(t, "ca")
	pair := ca.Issue(t, "one")
	name := func(s string) schema.Record { return schema.Record{"name": s} }
	holder := schema.Record{"username": "holder"}
	list := func(v ...any) []any { return v }
	model := schema.Record{"route_type": "llm/v1/chat", "model": schema.Record{"provider": "openai", "name": "m"}, "auth": schema.Record{"header_name": "a", "header_value": "b"}}
	return map[string]schema.Record{
			"services":              {"host": "h"},
			"routes":                {"paths": list("/probe")},
			"consumers":             {"username": "probe"},
			"upstreams":             name("probe"),
			"targets":               {"target": "10.0.0.9:1"},
			"certificates":          {"cert": pair.Cert, "key": pair.Key},
			"snis":                  {"name": "probe.example"},
			"ca_certificates":       {"cert": ca.Cert},
			"vaults":                {"prefix": "probe", "name": "env"},
			"keys":                  {"kid": "k", "jwk": `{"kty":"oct","kid":"k"}`},
			"filter_chains":         {"route": name("r"), "filters": list(name("f"))},
			"sessions":              {"session_id": "probe"},
			"mtls_auth_credentials": {"consumer": holder, "subject_name": "probe"},
			"jwt_secrets":           {"consumer": holder},
			"keyauth_credentials":   {"consumer": holder},
			"basicauth_credentials": {"consumer": holder, "username": "probe", "password": "p"},
			"hmacauth_credentials":  {"consumer": holder, "username": "probe"},
			"acls":                  {"consumer": holder, "group": "probe"},
			"oauth2_credentials":    {"consumer": holder, "name": "probe"},
			"oauth2_tokens":         {"expires_in": 1.0},
		}, map[string]schema.Record{
			"pre-function":  {"access": list("return")},
			"post-function": {"access": list("return")},
			"acme":          {"account_email": "a@b.example", "tos_accepted": true},
			"oauth2":        {"enable_client_credentials": true},
			"ldap-auth":     {"attribute": "uid", "base_dn": "dc=x", "ldap_host": "127.0.0.1"}, "openid-connect": {"issuer": "http://127.0.0.1:1/", "client_id": list("c")},
			"ip-restriction": {"allow": list("10.0.0.1")}, "acl": {"allow": list("g")}, "rate-limiting": {"minute": 1.0},
			"response-ratelimiting": {"limits": schema.Record{"sms": schema.Record{"minute": 1.0}}}, "redirect": {"location": "http://a/"},
			"ai-request-transformer": {"prompt": "p", "llm": model}, "ai-response-transformer": {"prompt": "p", "llm": model}, "ai-proxy": model,
			"ai-prompt-template":  {"templates": list(schema.Record{"name": "n", "template": "t"})},
			"ai-prompt-decorator": {"prompts": schema.Record{"prepend": list(schema.Record{"role": "user", "content": "c"})}},
			"ai-prompt-guard":     {"allow_patterns": list("a")}, "standard-webhooks": {"secret_v1": "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"},
			"collector":       {"stream": "s", "fields": list(schema.Record{"name": "f"})},
			"azure-functions": {"appname": "a", "functionname": "f"}, "proxy-cache": {"strategy": "memory"},
			"opentelemetry": {"endpoint": "http://127.0.0.1:1/"}, "http-log": {"http_endpoint": "http://127.0.0.1:1/"}, "file-log": {"path": t.TempDir() + "/log"},
			"udp-log": {"host": "127.0.0.1", "port": 1.0}, "tcp-log": {"host": "127.0.0.1", "port": 1.0}, "loggly": {"key": "k"},
			"aws-lambda": {"aws_region": "eu-west-1"},
		}
}

// stubFilters knows one filter, which takes any configuration.
type stubFilters struct{}

func (stubFilters) Schema(name string) (schema.Record, bool) { return schema.Record{}, name == "f" }
func (stubFilters) Check(string, any) string                 { return "" }
func (stubFilters) New([]gateway.Filter) (any, error)        { return struct{}{}, nil }

// prober sends bodies with one wrong value to the Admin API.
type prober struct {
	*testing.T
	gw     *gateway.Gateway
	call   func(method, path, kind, body string) (int, map[string]any)
	logged *bytes.Buffer
	done   map[string]bool // the fields that were probed
	sent   int
}

func newProber(t *testing.T) *prober {
	logged := new(bytes.Buffer)
	log := slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelError}))
	gw := gatewaytest.New(t, node.Kinds(log), func(d *gateway.Deps) { d.Log, d.Filters = log, stubFilters{} })
	gatewaytest.Create(t, gw, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, gw, "routes", schema.Record{"name": "r", "paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	gatewaytest.Create(t, gw, "consumers", schema.Record{"username": "holder"})
	gatewaytest.Create(t, gw, "upstreams", schema.Record{"name": "u"})
	h := kong.New(kong.Config{}, kong.Deps{Gateway: gw, Log: log})
	return &prober{T: t, gw: gw, logged: logged, done: map[string]bool{}, call: func(method, path, kind, body string) (int, map[string]any) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		var out map[string]any
		if w.Body.Len() > 0 && json.Unmarshal(w.Body.Bytes(), &out) != nil {
			t.Errorf("%s %s answers with %q", method, path, w.Body)
		}
		return w.Code, out
	}}
}

// wrongs are values of every type of JSON, and those of each that break things.
func wrongs() []any {
	deep := any("x")
	for range 200 {
		deep = []any{deep}
	}
	return []any{nil, true, "", "x", "NaN", "-1", strings.Repeat("x", 70_000), "\x00\n\r",
		0.0, -1.0, 1.5, 9e15, 1e300, []any{}, []any{nil}, []any{"x", "x"}, []any{1.5}, []any{schema.Record{}}, deep,
		schema.Record{}, schema.Record{"id": "x"}, schema.Record{"": []any{}}}
}

// fits reports whether a value is of the field's type.
func fits(f *schema.Field, v any) bool {
	switch v := v.(type) {
	case nil: // a record that must be there is filled
		return !f.Required || f.Auto || f.Kind == schema.Nested
	case bool:
		return f.Kind == schema.Boolean || f.Kind == schema.JSON
	case string:
		return f.Kind == schema.String || f.Kind == schema.JSON
	case float64:
		return f.Kind == schema.Number || f.Kind == schema.Integer && v != 1.5 && v != 1e300 || f.Kind == schema.JSON
	case []any:
		return f.Kind == schema.Array || f.Kind == schema.Set || f.Kind == schema.JSON
	}
	return f.Kind == schema.Nested || f.Kind == schema.Map || f.Kind == schema.Foreign && v.(schema.Record)["id"] == nil || f.Kind == schema.JSON
}

// names reports whether the answer's fields tell of the value at path, or of one around it.
func names(fields any, path []string) bool {
	for _, p := range path {
		switch v := fields.(type) {
		case map[string]any:
			if v["@entity"] != nil && v[p] == nil {
				return true
			}
			fields = v[p]
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i > len(v) {
				return false
			}
			fields = v[i-1]
		default:
			return fields != nil
		}
	}
	return fields != nil
}

// put returns a copy of a value with v at a path of names and numbers.
func put(in any, path []string, v any) any {
	if len(path) == 0 {
		return v
	}
	if _, err := strconv.Atoi(path[0]); err == nil {
		return []any{put(nil, path[1:], v)}
	}
	r, _ := schema.Clone(in).(schema.Record)
	if r == nil {
		r = schema.Record{}
	}
	r[path[0]] = put(r[path[0]], path[1:], v)
	return r
}

// fields walks a field and all there is inside it.
func fields(f *schema.Field, path []string, do func(f *schema.Field, path []string)) {
	if len(path) > 0 {
		do(f, path)
	}
	for _, c := range f.Fields {
		fields(c, append(slices.Clone(path), c.Name), do)
	}
	if f.Elements != nil {
		fields(f.Elements, append(slices.Clone(path), "1"), do)
	}
	if f.Values != nil {
		fields(f.Values, append(slices.Clone(path), "k"), do)
	}
}

func (p *prober) probe(path string, record *schema.Field, seed schema.Record) {
	before := p.gw.Export()
	raw, _ := json.Marshal(seed)
	if code, out := p.call("POST", path, "application/json", string(raw)); code != 201 {
		p.Errorf("%s refuses %s: %d %v", path, raw, code, out)
		return
	} else {
		p.forget(path, out)
	}
	fields(record, nil, func(f *schema.Field, at []string) {
		described, _ := json.Marshal(f.Describe())
		if what := fmt.Sprint(at[max(0, len(at)-2):], string(described)); p.done[what] { // several share it
			return
		} else {
			p.done[what] = true
		}
		if at[0] == "updated_at" || f.Reference == "upstreams" || at[0] == "name" && path == "/plugins" { // not the client's, the path's, and none of the kind's
			return
		}
		for _, v := range wrongs() {
			p.json(path, f, at, put(seed, at, v), v)
			if s, ok := v.(string); ok && len(s) < 4 {
				p.form(path, at, seed, s)
			}
		}
		if f.Kind == schema.Nested {
			p.json(path, &schema.Field{Name: "surely-unknown"}, append(slices.Clone(at), "surely-unknown"), put(seed, append(slices.Clone(at), "surely-unknown"), 1.0), 1.0)
		}
	})
	if after := p.gw.Export(); !schema.Equal(before, after) {
		p.Errorf("%s: refused calls left something behind", path)
	}
}

func (p *prober) forget(path string, made map[string]any) {
	p.Helper()
	if code, out := p.call("DELETE", path+"/"+fmt.Sprint(made["id"]), "application/json", ""); code != 204 {
		p.Fatalf("DELETE %s/%v: %d %v", path, made["id"], code, out)
	}
}

func (p *prober) check(path, kind, body string, at []string, refuse bool, what string) {
	p.sent++
	p.logged.Reset()
	code, out := p.call("POST", path, kind, body)
	told := at
	if !refuse { // what lies beside a value of the right type may be what is missed
		told = at[:1]
	}
	short := func(s string) string { return s[:min(len(s), 300)] }
	switch {
	case code == 201:
		p.forget(path, out)
		if refuse {
			p.Errorf("%s %v = %s: accepted", path, at, short(what))
		}
	case code == 400 && out["code"] == 2.0:
		if out["name"] != "schema violation" || !names(out["fields"], told) {
			p.Errorf("%s %v = %s: %s", path, at, short(what), short(fmt.Sprint(out)))
		}
	case code == 400 && (out["code"] == 4.0 || out["code"] == 13.0): // well formed, and points nowhere
	default:
		p.Errorf("%s %v = %s: %d %s", path, at, short(what), code, short(fmt.Sprint(out)))
	}
	late := func(s string) bool { return strings.Contains(p.logged.String(), s) } // what only the node can tell
	if p.logged.Len() > 0 && !late("no region") && !late("no stream") {
		p.Errorf("%s %v = %s: %d and in the log %s", path, at, short(what), code, short(p.logged.String()))
	}
}

func (p *prober) json(path string, f *schema.Field, at []string, body, v any) {
	raw, err := json.Marshal(body)
	if err != nil {
		p.Fatal(err)
	}
	what, _ := json.Marshal(v)
	unsets := v == nil && at[len(at)-1] == "k" // takes the entry out of the map
	p.check(path, "application/json", string(raw), at, !fits(f, v) && !unsets, string(what))
}

func (p *prober) form(path string, at []string, seed schema.Record, v string) {
	args := url.Values{}
	flatten(args, "", seed)
	name := at[0]
	for _, part := range at[1:] {
		if _, err := strconv.Atoi(part); err == nil {
			part = "[" + part + "]"
		} else {
			part = "." + part
		}
		name += part
	}
	for k := range args { // what the value takes the place of
		if in := func(a, b string) bool { return a == b || strings.HasPrefix(a, b+".") || strings.HasPrefix(a, b+"[") }; in(k, name) || in(name, k) {
			delete(args, k)
		}
	}
	args.Set(name, v)
	p.check(path, "application/x-www-form-urlencoded", args.Encode(), at, false, name+"="+strconv.Quote(v))
}

// flatten writes a value as a form does.
func flatten(out url.Values, name string, v any) {
	switch v := v.(type) {
	case schema.Record:
		for k, e := range v {
			if name != "" {
				k = name + "." + k
			}
			flatten(out, k, e)
		}
	case []any:
		for i, e := range v {
			flatten(out, fmt.Sprintf("%s[%d]", name, i+1), e)
		}
	default:
		out.Set(name, fmt.Sprint(v))
	}
}

func TestWrongValues(t *testing.T) {
	p := newProber(t)
	entities, configs := seeds(t)
	for _, e := range p.gw.Entities() {
		path, seed := "/"+e.AdminPath(), entities[e.Name]
		if seed == nil {
			seed = schema.Record{}
		}
		switch e.Name {
		case "plugins":
			continue
		case "targets":
			path = "/upstreams/u/targets"
		case "snis":
			made := gatewaytest.Create(t, p.gw, "certificates", entities["certificates"])
			seed["certificate"] = schema.Record{"id": made["id"]}
		case "oauth2_tokens":
			made := gatewaytest.Create(t, p.gw, "oauth2_credentials", entities["oauth2_credentials"])
			seed["credential"] = schema.Record{"id": made["id"]}
		}
		p.probe(path, e.Record, seed)
	}
	for _, k := range p.gw.Plugins() {
		record, _, _ := p.gw.PluginRecord(k.Name)
		seed := schema.Record{"name": k.Name}
		if c := configs[k.Name]; c != nil {
			seed["config"] = c
		}
		p.probe("/plugins", record, seed)
	}
	if p.sent < 10_000 {
		t.Errorf("%d bodies were sent: fields are missed", p.sent)
	}
}

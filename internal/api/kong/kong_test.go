package kong_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"sluice.dev/sluice/internal/api/kong"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/ratelimiting"
)

type admin struct {
	t   testing.TB
	url string
}

func newAdmin(t testing.TB, more ...gateway.Plugin) *admin {
	t.Helper()
	gw := gatewaytest.New(t, append(more, keyauth.New(), ratelimiting.New()))
	refs := gateway.CacheReferences(&memory{docs: map[string][]byte{}}, nil)
	t.Cleanup(refs.Close)
	s := httptest.NewServer(kong.New(kong.Config{Hostname: "h", NodeID: "n"}, kong.Deps{Gateway: gw, References: refs, Log: gatewaytest.Log()}))
	t.Cleanup(s.Close)
	return &admin{t, s.URL}
}

// memory keeps references in a map.
type memory struct {
	mu   sync.Mutex
	docs map[string][]byte
}

func (m *memory) Get(_ context.Context, c, k string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.docs[c+"/"+k]
	return d, ok, nil
}

func (m *memory) Put(_ context.Context, c, k string, d []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.docs[c+"/"+k] = d
	return nil
}

func (m *memory) Delete(_ context.Context, c, k string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.docs[c+"/"+k]
	delete(m.docs, c+"/"+k)
	return ok, nil
}

func (m *memory) List(_ context.Context, c, after string, limit int) (out []gateway.ReferenceEntry, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, d := range m.docs {
		if name, ok := strings.CutPrefix(k, c+"/"); ok && name > after {
			out = append(out, gateway.ReferenceEntry{Key: name, Doc: d})
		}
	}
	slices.SortFunc(out, func(a, b gateway.ReferenceEntry) int { return strings.Compare(a.Key, b.Key) })
	return out[:min(len(out), limit)], nil
}

// do sends a request; a body that begins with a brace is JSON, any other a form.
func (a *admin) do(method, path, body string, headers ...string) (int, map[string]any, http.Header) {
	a.t.Helper()
	req, err := http.NewRequest(method, a.url+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if body[0] == '{' || body[0] == '[' {
			req.Header.Set("Content-Type", "application/json")
		}
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, _ := io.ReadAll(resp.Body)
	var out map[string]any
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			a.t.Fatalf("%s %s: %s: %v", method, path, raw, err)
		}
	}
	return resp.StatusCode, out, resp.Header
}

func (a *admin) must(status int, method, path, body string) map[string]any {
	a.t.Helper()
	got, out, _ := a.do(method, path, body)
	if got != status {
		a.t.Fatalf("%s %s %s: status %d, want %d: %v", method, path, body, got, status, out)
	}
	return out
}

func TestServiceLife(t *testing.T) {
	a := newAdmin(t)
	s := a.must(201, "POST", "/services", "name=web&url=http://example.com:8080/base&tags[]=a&tags[]=b")
	for k, want := range map[string]any{
		"name": "web", "protocol": "http", "host": "example.com", "port": 8080.0, "path": "/base", "retries": 5.0, "connect_timeout": 60000.0,
		"enabled": true, "tags": "[a b]", "client_certificate": nil, "tls_verify": nil, "ca_certificates": nil,
	} {
		got, there := s[k]
		if !there || got != want && fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", k, got, want)
		}
	}
	if _, there := s["url"]; there {
		t.Error("the shorthand is shown")
	}
	id := s["id"].(string)
	if got := a.must(200, "GET", "/services/"+id, ""); got["name"] != "web" {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "PATCH", "/services/web", `{"retries":0,"tags":null}`); got["retries"] != 0.0 || got["tags"] != nil || got["host"] != "example.com" {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "PUT", "/services/web", `{"host":"other"}`); got["id"] != id || got["port"] != 80.0 || got["retries"] != 5.0 || got["created_at"] != s["created_at"] {
		t.Errorf("%v", got)
	}
	other := "8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"
	if got := a.must(200, "PUT", "/services/"+other, `{"name":"put","host":"h"}`); got["id"] != other {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "PUT", "/services/fresh", `{"host":"h"}`); got["name"] != "fresh" {
		t.Errorf("%v", got)
	}
	route := a.must(201, "POST", "/services/web/routes", "paths[]=/x&name=r1")
	if ref := route["service"].(map[string]any); ref["id"] != id || route["strip_path"] != true {
		t.Errorf("%v", route)
	}
	if got := a.must(200, "GET", "/routes/r1/service", ""); got["id"] != id {
		t.Errorf("%v", got)
	}
	a.must(404, "GET", "/services/fresh/routes/r1", "")
	a.must(200, "GET", "/services/web/routes/r1", "")
	a.must(405, "DELETE", "/routes/r1/service", "")
	if got := a.must(400, "DELETE", "/services/web", ""); got["code"] != 4.0 || got["message"] != "an existing 'routes' entity references this 'services' entity" {
		t.Errorf("%v", got)
	}
	a.must(204, "DELETE", "/routes/r1", "")
	a.must(204, "DELETE", "/services/web", "")
	a.must(204, "DELETE", "/services/web", "")
	a.must(404, "GET", "/services/web", "")
}

func TestErrorBodies(t *testing.T) {
	a := newAdmin(t)
	a.must(201, "POST", "/services", "name=s&host=h")
	a.must(201, "POST", "/consumers", "username=c")
	a.must(201, "POST", "/services/s/plugins", "name=key-auth")
	for _, c := range []struct {
		method, path, body string
		status             int
		code               float64
		message            string
		fields             string
	}{
		{"POST", "/services", `{}`, 400, 2, "schema violation (host: required field missing)", `{"host":"required field missing"}`},
		{"POST", "/services", `{"host":"h","port":"80"}`, 400, 2, "schema violation (port: expected an integer)", `{"port":"expected an integer"}`},
		{"POST", "/services", `{"host":"h","port":70000}`, 400, 2, "schema violation (port: value should be between 0 and 65535)", `{"port":"value should be between 0 and 65535"}`},
		{"POST", "/services", `{"host":"h:80"}`, 400, 2, "schema violation (host: must not have a port)", `{"host":"must not have a port"}`},
		{"POST", "/services", `{"host":"h","foo":1,"path":"x"}`, 400, 2, "2 schema violations (foo: unknown field; path: should start with: /)", `{"foo":"unknown field","path":"should start with: /"}`},
		{"POST", "/services", `{"host":"h","protocol":"ftp"}`, 400, 2, "schema violation (protocol: expected one of: grpc, grpcs, http, https, tcp, tls, tls_passthrough, udp)", ""},
		{"POST", "/services", `{"host":"h","protocol":"grpc","path":"/x"}`, 400, 2, "2 schema violations (failed conditional validation given value of field 'protocol'; path: value must be null)", `{"@entity":["failed conditional validation given value of field 'protocol'"],"path":"value must be null"}`},
		{"POST", "/services", `{"host":"h","name":"s"}`, 409, 5, `UNIQUE violation detected on '{name="s"}'`, `{"name":"s"}`},
		{"POST", "/services", `{"host":"h","name":"a b"}`, 400, 2, "schema violation (name: invalid value 'a b': the only accepted ascii characters are alphanumerics or ., -, _, and ~)", ""},
		{"POST", "/services", `{"host":"h","client_certificate":{"id":"8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}}`, 400, 2, "2 schema violations (failed conditional validation given value of field 'protocol'; client_certificate: value must be null)", ""},
		{"POST", "/services", `{"url":"https://h","client_certificate":{"id":"8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}}`, 400, 4, `the foreign key '{id="8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}' does not reference an existing 'certificates' entity.`, ""},
		{"POST", "/services", `{"url":"https://h","ca_certificates":["8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"]}`, 400, 4, `the foreign key '{id="8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}' does not reference an existing 'ca_certificates' entity.`, ""},
		{"POST", "/services", `{"url":"nonsense"}`, 400, 2, "schema violation (url: missing host in url)", ""},
		{"POST", "/routes", `{"protocols":["http"]}`, 400, 2, "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths' when 'protocols' is 'http')", ""},
		{"POST", "/routes", `{"paths":["x","/ok","~/("]}`, 400, 2, "", `{"paths":["should start with: / (fixed path) or ~/ (regex path)",null,"invalid regex: '/(' (error parsing regexp: missing closing ): ` + "`^(?:/()`" + `)"]}`},
		{"POST", "/routes", `{"paths":["/x"],"protocols":["http","grpc"]}`, 400, 2, "schema violation (protocols: these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp'), ('tls_passthrough'), ('grpc', 'grpcs'))", ""},
		{"POST", "/routes", `{"paths":["/x"],"service":{"id":"8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}}`, 400, 4, `the foreign key '{id="8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}' does not reference an existing 'services' entity.`, `{"service":{"id":"8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}}`},
		{"POST", "/routes", `{"paths":["/x"],"service":{"name":"nope"}}`, 400, 13, "", ""},
		{"POST", "/routes", `{"paths":["/x"],"service":{"id":"nope"}}`, 400, 2, "schema violation (service.id: expected a valid UUID)", ""},
		{"POST", "/consumers", `{}`, 400, 2, "schema violation (at least one of these fields must be non-empty: 'custom_id', 'username')", `{"@entity":["at least one of these fields must be non-empty: 'custom_id', 'username'"]}`},
		{"POST", "/plugins", `{"name":"nope"}`, 400, 2, "schema violation (name: plugin 'nope' not enabled; add it to the 'plugins' configuration property)", ""},
		{"POST", "/plugins", `{"name":"key-auth","consumer":{"username":"c"}}`, 400, 2, "schema violation (consumer: value must be null)", ""},
		{"POST", "/plugins", `{"name":"key-auth","config":{"key_names":[]}}`, 400, 2, "schema violation (config.key_names: length must be at least 1)", `{"config":{"key_names":"length must be at least 1"}}`},
		{"POST", "/plugins", `{"name":"rate-limiting"}`, 400, 2, "", ""},
		{"POST", "/plugins", `{"name":"rate-limiting","config":{"minute":0}}`, 400, 2, "schema violation (config.minute: value must be greater than 0)", ""},
		{"POST", "/plugins", `{"name":"rate-limiting","config":{"minute":10,"hour":5}}`, 400, 2, "schema violation (The limit for hour(5.0) cannot be lower than the limit for minute(10.0))", ""},
		{"POST", "/plugins", `{"name":"rate-limiting","config":{"minute":1,"policy":"redis"}}`, 400, 2, "schema violation (must set one of 'config.redis.host', 'config.redis_host' when 'policy' is 'redis')", ""},
		{"POST", "/services/s/plugins", `{"name":"key-auth"}`, 409, 5, "", ""},
		{"PATCH", "/services/s", `{"id":"8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11"}`, 400, 2, "schema violation (id: immutable field cannot be updated)", ""},
		{"GET", "/services?size=0", "", 400, 9, "size must be an integer between 1 and 1000", ""},
		{"GET", "/services?offset=xx", "", 400, 7, "invalid offset", ""},
		{"GET", "/services?tags=a,b/c", "", 400, 11, "", ""},
		{"POST", "/services", `{"host"`, 400, 0, "Cannot parse JSON body", ""},
		{"GET", "/nope", "", 404, 0, "Not found", ""},
		{"PATCH", "/services/nope", `{"port":1}`, 404, 0, "Not found", ""},
		{"PATCH", "/services", `{"port":1}`, 405, 0, "Method not allowed", ""},
		{"GET", "/schemas/nope", "", 404, 0, "No entity named 'nope'", ""},
		{"GET", "/schemas/plugins/nope", "", 404, 0, "No plugin named 'nope'", ""},
		{"POST", "/schemas/services/validate", `{"port":1}`, 400, 2, "schema violation (host: required field missing)", ""},
	} {
		status, out, _ := a.do(c.method, c.path, c.body)
		if status != c.status || c.code != 0 && out["code"] != c.code || c.message != "" && out["message"] != c.message {
			t.Errorf("%s %s %s: %d %v\nwant %d %v %s", c.method, c.path, c.body, status, out, c.status, c.code, c.message)
		}
		if c.fields != "" {
			got, _ := json.Marshal(out["fields"])
			var a, b any
			json.Unmarshal(got, &a)
			if err := json.Unmarshal([]byte(c.fields), &b); err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("%s %s %s: fields %s, want %s", c.method, c.path, c.body, got, c.fields)
			}
		}
	}
}

func TestBodiesAndMethods(t *testing.T) {
	a := newAdmin(t)
	if status, _, _ := a.do("POST", "/services", "x", "Content-Type", "text/yaml"); status != 415 {
		t.Errorf("status %d for an unknown type", status)
	}
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	w.WriteField("name", "m")
	w.WriteField("host", "h")
	w.WriteField("port", "81")
	w.Close()
	if status, out, _ := a.do("POST", "/services", b.String(), "Content-Type", w.FormDataContentType()); status != 201 || out["port"] != 81.0 {
		t.Errorf("multipart: %d %v", status, out)
	}
	route := a.must(201, "POST", "/services/m/routes", "headers.x-ver[]=1&headers.x-ver[]=2&hosts=a.com&hosts=b.com&paths[1]=/a&paths[2]=/b&strip_path=false&methods=GET")
	if fmt.Sprint(route["headers"], route["hosts"], route["paths"], route["strip_path"], route["methods"]) != "map[x-ver:[1 2]] [a.com b.com] [/a /b] false [GET]" {
		t.Errorf("%v", route)
	}
	p := a.must(201, "POST", "/plugins", "name=rate-limiting&config.minute=5&config.hour=100&service.name=m&config.policy=local&enabled=false")
	if c := p["config"].(map[string]any); c["minute"] != 5.0 || c["redis"].(map[string]any)["port"] != 6379.0 || p["enabled"] != false {
		t.Errorf("%v", p)
	}
	q := a.must(200, "PATCH", "/plugins/"+p["id"].(string), `{"config":{"minute":7,"redis":{"database":2}}}`)
	if c := q["config"].(map[string]any); c["minute"] != 7.0 || c["hour"] != 100.0 || c["redis"].(map[string]any)["port"] != 6379.0 || c["redis"].(map[string]any)["database"] != 2.0 {
		t.Errorf("records do not merge: %v", c)
	}
	if q := a.must(200, "PATCH", "/plugins/"+p["id"].(string), "config.minute=9"); q["config"].(map[string]any)["minute"] != 9.0 {
		t.Errorf("%v", q)
	}
	status, _, h := a.do("OPTIONS", "/services", "")
	if status != 204 || h.Get("Allow") != "GET, HEAD, OPTIONS, POST" {
		t.Errorf("OPTIONS: %d %v", status, h)
	}
	if status, _, h = a.do("GET", "/services/", "", "Origin", "http://x"); status != 200 || h.Get("Access-Control-Allow-Origin") != "" || h.Get("Access-Control-Allow-Credentials") != "" || h.Get("Server") != "kong/3.9.1" || h.Get("X-Kong-Admin-Latency") == "" {
		t.Errorf("%d %v", status, h)
	}
	if status, _, _ := a.do("HEAD", "/services/m", ""); status != 200 {
		t.Errorf("HEAD: %d", status)
	}
	if status, out, _ := a.do("POST", "/services", `{"host":"`+strings.Repeat("a", 11<<20)+`"}`); status != 413 {
		t.Errorf("a huge body: %d %v", status, out)
	}
}

func TestPagesAndTags(t *testing.T) {
	a := newAdmin(t)
	for i := range 7 {
		tags := []string{"all", []string{"even", "odd"}[i%2]}
		a.must(201, "POST", "/consumers", fmt.Sprintf(`{"username":"u%d","custom_id":"id %d","tags":["%s"]}`, i, i, strings.Join(tags, `","`)))
	}
	seen := map[string]bool{}
	next := "/consumers?size=3&tags=all"
	pages := 0
	for next != "" {
		out := a.must(200, "GET", next, "")
		for _, e := range out["data"].([]any) {
			seen[e.(map[string]any)["username"].(string)] = true
		}
		pages++
		n, _ := out["next"].(string)
		if _, has := out["offset"]; has != (n != "") {
			t.Errorf("offset and next disagree: %v", out)
		}
		next = n
	}
	if len(seen) != 7 || pages != 3 {
		t.Errorf("%d entities on %d pages", len(seen), pages)
	}
	for query, want := range map[string]int{"all,odd": 3, "even/odd": 7, "even": 4, "none": 0} {
		if out := a.must(200, "GET", "/consumers?tags="+query, ""); len(out["data"].([]any)) != want {
			t.Errorf("tags=%s: %d, want %d", query, len(out["data"].([]any)), want)
		}
	}
	if out := a.must(200, "GET", "/consumers?custom_id=id%203", ""); out["data"].([]any)[0].(map[string]any)["username"] != "u3" {
		t.Errorf("%v", out)
	}
	if out := a.must(200, "GET", "/tags/odd", ""); len(out["data"].([]any)) != 3 {
		t.Errorf("%v", out)
	}
	if out := a.must(200, "GET", "/tags", ""); len(out["data"].([]any)) != 14 {
		t.Errorf("%v", out)
	}
}

func TestCredentials(t *testing.T) {
	a := newAdmin(t)
	c := a.must(201, "POST", "/consumers", "username=alice")
	k := a.must(201, "POST", "/consumers/alice/key-auth", "")
	if key := k["key"].(string); len(key) != 32 {
		t.Errorf("the minted key is %q", key)
	}
	if _, there := k["updated_at"]; there {
		t.Error("credentials have no updated_at")
	}
	if made := a.must(201, "POST", "/consumers/alice/key-auth", "key=mine&ttl=60"); made["ttl"] != 59.0 {
		t.Errorf("%v", made)
	}
	if got := a.must(200, "GET", "/key-auths/mine/consumer", ""); got["id"] != c["id"] {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "GET", "/consumers/alice/key-auth/mine", ""); got["ttl"] == nil || got["@expires"] != nil {
		t.Errorf("%v", got)
	}
	if got := a.must(409, "POST", "/consumers/alice/key-auth", "key=mine"); got["message"] != `UNIQUE violation detected on '{key="mine"}'` {
		t.Errorf("%v", got)
	}
	a.must(200, "PUT", "/consumers/alice/key-auth/other", "")
	if out := a.must(200, "GET", "/consumers/alice/key-auth", ""); len(out["data"].([]any)) != 3 {
		t.Errorf("%v", out)
	}
	a.must(204, "DELETE", "/consumers/alice", "")
	if out := a.must(200, "GET", "/key-auths", ""); len(out["data"].([]any)) != 0 {
		t.Errorf("credentials outlive their consumer: %v", out)
	}
}

func TestInformation(t *testing.T) {
	a := newAdmin(t)
	root := a.must(200, "GET", "/", "")
	if root["version"] != "3.9.1" || root["tagline"] != "Welcome to kong" || root["plugins"].(map[string]any)["available_on_server"].(map[string]any)["key-auth"] == nil {
		t.Errorf("%v", root)
	}
	if out := a.must(200, "GET", "/status", ""); out["database"].(map[string]any)["reachable"] != true {
		t.Errorf("%v", out)
	}
	if out := a.must(200, "GET", "/plugins/enabled", ""); fmt.Sprint(out["enabled_plugins"]) != "[key-auth rate-limiting]" {
		t.Errorf("%v", out)
	}
	out := a.must(200, "GET", "/schemas/services", "")
	found := false
	for _, f := range out["fields"].([]any) {
		if p, ok := f.(map[string]any)["port"].(map[string]any); ok {
			found = p["type"] == "integer" && p["default"] == 80.0 && p["required"] == true && fmt.Sprint(p["between"]) == "[0 65535]"
		}
	}
	if !found {
		t.Errorf("%v", out)
	}
	out = a.must(200, "GET", "/schemas/plugins/rate-limiting", "")
	if !strings.Contains(fmt.Sprint(out), "hide_client_headers") || !strings.Contains(fmt.Sprint(out["entity_checks"]), "config.second") {
		t.Errorf("%v", out)
	}
	a.must(200, "POST", "/schemas/services/validate", `{"host":"h"}`)
	a.must(200, "POST", "/schemas/plugins/validate", `{"name":"key-auth"}`)
	if got := a.must(200, "GET", "/services", ""); len(got["data"].([]any)) != 0 {
		t.Errorf("validating stores: %v", got)
	}
	paths := a.must(200, "GET", "/endpoints", "")["data"].([]any)
	for _, want := range []any{"/services/{services}/routes/{routes}", "/consumers/{consumers}/key-auth", "/key-auths/{keyauth_credentials}/consumer", "/plugins/{plugins}/route"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%v is not listed", want)
		}
	}
}

func TestReferences(t *testing.T) {
	a := newAdmin(t)
	if got := a.must(200, "PUT", "/references/programmes/p1", `{"valid_to":"2030-01-01T00:00:00Z","name":"x"}`); got["name"] != "x" {
		t.Errorf("%v", got)
	}
	a.must(200, "PUT", "/references/programmes/p2", `{"enabled":false}`)
	for body, field := range map[string]string{`{"enabled":1}`: "enabled", `{"valid_to":"soon"}`: "valid_to", `[1]`: ""} {
		got := a.must(400, "PUT", "/references/programmes/p3", body)
		if fields, _ := got["fields"].(map[string]any); field != "" && fields[field] == nil {
			t.Errorf("%s: %v", body, got)
		}
	}
	if got := a.must(200, "GET", "/references/programmes?size=1", ""); got["next"] != "/references/programmes?offset=p1&size=1" {
		t.Errorf("%v", got)
	}
	a.must(204, "DELETE", "/references/programmes/p1", "")
	a.must(404, "GET", "/references/programmes/p1", "")
}

func TestToken(t *testing.T) {
	gw := gatewaytest.New(t, nil)
	s := httptest.NewServer(kong.New(kong.Config{Token: "secret"}, kong.Deps{Gateway: gw, Log: gatewaytest.Log()}))
	t.Cleanup(s.Close)
	a := &admin{t, s.URL}
	for header, want := range map[string]int{"": 401, "Bearer wrong": 401, "Bearer secret": 200, "bearer secret": 200, "Basic secret": 401} {
		if status, _, _ := a.do("GET", "/services", "", "Authorization", header); status != want {
			t.Errorf("%q: %d, want %d", header, status, want)
		}
	}
	if status, _, _ := a.do("GET", "/services", "", "Kong-Admin-Token", "secret"); status != 200 {
		t.Errorf("Kong-Admin-Token: %d", status)
	}
}

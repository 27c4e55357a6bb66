package kong_test

import (
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestPluginEndpoints checks the paths that a kind of plugin adds to the API.
func TestPluginEndpoints(t *testing.T) {
	kind := gateway.Plugin{Name: "stocked", Config: &schema.Field{},
		New: func(schema.Record, gateway.Env) (any, error) { return struct{}{}, nil },
		Admin: []gateway.AdminEndpoint{{Path: "/stock/{item}/left", Methods: map[string]func(gateway.AdminRequest) gateway.AdminAnswer{
			"GET": func(q gateway.AdminRequest) gateway.AdminAnswer {
				return gateway.AdminAnswer{Status: 200, Body: map[string]any{"item": q.Params["item"], "n": q.Query.Get("n")}}
			},
			"POST": func(q gateway.AdminRequest) gateway.AdminAnswer {
				return gateway.AdminAnswer{Status: 201, Body: q.Body}
			},
			"DELETE": func(gateway.AdminRequest) gateway.AdminAnswer { return gateway.AdminAnswer{Status: 204} },
		}}}}
	a := newAdmin(t, kind)
	if got := a.must(200, "GET", "/stock/a%2Fb/left?n=3", ""); got["item"] != "a/b" || got["n"] != "3" {
		t.Errorf("%v", got)
	}
	if got := a.must(201, "POST", "/stock/x/left", "why=because"); got["why"] != "because" {
		t.Errorf("%v", got)
	}
	a.must(204, "DELETE", "/stock/x/left", "")
	a.must(405, "PUT", "/stock/x/left", "")
	a.must(404, "GET", "/stock/x", "")
}

// TestShorthands checks the deprecated names of fields that became a record: they are taken,
// shown beside the new form, and never in disagreement with it.
func TestShorthands(t *testing.T) {
	a := newAdmin(t)
	hosts := func(p map[string]any) string {
		c := p["config"].(map[string]any)
		redis, _ := c["redis"].(map[string]any)
		return fmt.Sprintf("%v %v %v %v", c["redis_host"], c["redis_port"], redis["host"], redis["port"])
	}
	p := a.must(201, "POST", "/plugins", `{"name":"rate-limiting","config":{"minute":1,"policy":"redis","redis_host":"a","redis":{"port":7}}}`)
	if got := hosts(p); got != "a 7 a 7" {
		t.Errorf("created: %s", got)
	}
	path := "/plugins/" + p["id"].(string)
	for _, c := range []struct{ body, want string }{
		{`{"config":{"redis":{"host":"b"}}}`, "b 7 b 7"},
		{`{"config":{"redis_host":"c"}}`, "c 7 c 7"},
		{`{"config":{"redis_host":null,"redis":{"host":"d"}}}`, "d 7 d 7"},
		{`{"config":{"redis_host":"e","redis":{"host":"e"}}}`, "e 7 e 7"},
		{`{"config":{"redis_host":"f","redis":{"host":null}}}`, "f 7 f 7"},
	} {
		if got := hosts(a.must(200, "PATCH", path, c.body)); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
	got := a.must(200, "GET", path, "")
	if hosts(got) != "f 7 f 7" {
		t.Errorf("%v", got)
	}
	a.must(200, "PUT", path, body(t, map[string]any{"name": got["name"], "config": got["config"]}))
	if listed := a.must(200, "GET", "/plugins", "")["data"].([]any); hosts(listed[0].(map[string]any)) != "f 7 f 7" {
		t.Errorf("%v", listed)
	}
	for in, want := range map[string]string{
		`{"redis_host":"x","redis":{"host":"y"}}`: "config.redis_host: both deprecated and new field are used but their values mismatch: redis_host = x vs redis.host = y",
		`{"redis_port":"x"}`:                      "config.redis_port: expected an integer",
		`{"redis_hosts":"x"}`:                     "config.redis_hosts: unknown field",
	} {
		if got := a.must(400, "PATCH", path, `{"config":`+in+`}`); !strings.Contains(fmt.Sprint(got["message"]), want) {
			t.Errorf("%s: %v", in, got)
		}
	}
	described := body(t, a.must(200, "GET", "/schemas/plugins/rate-limiting", ""))
	if want := `{"redis_host":{"deprecation":{"message":"rate-limiting: config.redis_host is deprecated, please use config.redis.host instead",` +
		`"removal_in_version":"4.0","replaced_with":[{"path":["redis","host"]}]},"translate_backwards":["redis","host"],"type":"string"}}`; !strings.Contains(described, want) {
		t.Errorf("%s", described)
	}
}

package kong_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
)

// Typed clients pass back the whole object that they got. Its primary key counts.
func TestForeignObjects(t *testing.T) {
	a := newAdmin(t)
	whole := func(record map[string]any) string { return body(t, record) }
	s := whole(a.must(201, "POST", "/services", `{"name":"s","host":"h"}`))
	c := whole(a.must(201, "POST", "/consumers", `{"username":"bob","custom_id":"7"}`))
	pair := gatewaytest.NewAuthority(t, "ca").Issue(t, "a.test", gatewaytest.Names("a.test"))
	cert := whole(a.must(201, "POST", "/certificates", body(t, map[string]any{"cert": pair.Cert, "key": pair.Key})))
	u := whole(a.must(201, "POST", "/upstreams", `{"name":"u"}`))
	r := whole(a.must(201, "POST", "/routes", `{"name":"r","paths":["/r"],"service":`+s+`}`))
	target := a.must(201, "POST", "/upstreams/u/targets", `{"target":"1.2.3.4","upstream":`+u+`}`)
	for _, c := range []struct {
		status             int
		method, path, body string
		field, want        string
	}{
		{200, "PUT", "/routes/r2", `{"paths":["/r2"],"service":` + s + `}`, "service", s},
		{200, "PATCH", "/routes/r2", `{"service":` + s + `}`, "service", s},
		{201, "POST", "/plugins", `{"name":"rate-limiting","config":{"minute":1},"route":` + r + `,"service":` + s + `,"consumer":` + c + `}`, "consumer", c},
		{201, "POST", "/consumers/bob/plugins", `{"name":"rate-limiting","config":{"minute":1},"consumer":` + c + `}`, "consumer", c},
		{201, "POST", "/key-auths", `{"consumer":` + c + `}`, "consumer", c},
		{201, "POST", "/snis", `{"name":"b.test","certificate":` + cert + `}`, "certificate", cert},
		{201, "POST", "/services", `{"name":"tls","url":"https://h/","client_certificate":` + cert + `}`, "client_certificate", cert},
		{200, "PATCH", "/upstreams/u", `{"client_certificate":` + cert + `}`, "client_certificate", cert},
		{200, "PATCH", "/upstreams/u/targets/" + target["id"].(string), `{"weight":7,"upstream":` + u + `}`, "upstream", u},
		// Without an id, any unique field finds it.
		{201, "POST", "/key-auths", `{"consumer":{"custom_id":"7"}}`, "consumer", c},
		{201, "POST", "/routes", `{"paths":["/x"],"service":{"name":"s","port":1}}`, "service", s},
		{200, "POST", "/schemas/plugins/validate", `{"name":"rate-limiting","config":{"minute":1},"route":` + r + `}`, "", ""},
		{200, "POST", "/schemas/routes/validate", `{"paths":["/"],"service":{"id":"4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b","name":"any","other":1}}`, "", ""},
		{200, "POST", "/schemas/targets/validate", `{"target":"1.2.3.4","upstream":` + u + `}`, "", ""},
		{200, "POST", "/schemas/snis/validate", `{"name":"c.test","certificate":` + cert + `}`, "", ""},
	} {
		got := a.must(c.status, c.method, c.path, c.body)
		if c.field == "" {
			continue
		}
		var want struct{ ID string }
		if err := json.Unmarshal([]byte(c.want), &want); err != nil {
			t.Fatal(err)
		}
		if shown := fmt.Sprint(got[c.field]); shown != "map[id:"+want.ID+"]" {
			t.Errorf("%s %s: %s is %s", c.method, c.path, c.field, shown)
		}
	}
}

func TestForeignObjectsRefused(t *testing.T) {
	a := newAdmin(t)
	const nobody = "4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b"
	for _, c := range []struct {
		path, service string
		code          int
		message       string
	}{
		{"/routes", `{}`, 2, "schema violation (service.id: missing primary key)"},
		{"/routes", `"s"`, 2, "schema violation (service.id: missing primary key)"},
		{"/routes", `5`, 2, "schema violation (service.id: missing primary key)"},
		{"/routes", `["s"]`, 2, "schema violation (service.id: missing primary key)"},
		{"/routes", `{"host":"h"}`, 2, "schema violation (service.id: missing primary key)"},
		{"/routes", `{"id":5}`, 2, "schema violation (service.id: expected a string)"},
		{"/routes", `{"id":"x"}`, 2, "schema violation (service.id: expected a valid UUID)"},
		{"/routes", `{"other":1}`, 2, "schema violation (service.other: unknown field)"},
		{"/routes", `{"name":5}`, 2, "schema violation (service.name: expected a string)"},
		{"/routes", `{"name":"nope"}`, 13, `foreign key unresolved (service.name: the foreign key cannot be resolved with '{name="nope"}' for an existing 'services' entity)`},
		{"/routes", `{"id":"` + nobody + `","name":"nope"}`, 4, `the foreign key '{id="` + nobody + `"}' does not reference an existing 'services' entity.`},
		{"/schemas/routes/validate", `{"name":"nope"}`, 2, "schema violation (service.id: missing primary key)"},
	} {
		status, got, _ := a.do("POST", c.path, `{"paths":["/"],"service":`+c.service+`}`)
		if status != 400 || got["code"] != float64(c.code) || !strings.HasPrefix(fmt.Sprint(got["message"]), c.message) {
			t.Errorf("%s %s: %d %v", c.path, c.service, status, got)
		}
	}
	if got := a.must(200, "GET", "/routes", "")["data"].([]any); len(got) != 0 {
		t.Errorf("stored %v", got)
	}
}

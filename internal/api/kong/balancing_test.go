package kong_test

import (
	"slices"
	"strings"
	"testing"
)

func TestUpstreamEntity(t *testing.T) {
	a := newAdmin(t)
	u := a.must(201, "POST", "/upstreams", "name=orders.internal")
	for field, want := range map[string]any{
		"algorithm": "round-robin", "hash_on": "none", "hash_fallback": "none", "hash_on_cookie_path": "/", "slots": 10000.0,
		"use_srv_name": false, "host_header": nil, "client_certificate": nil,
	} {
		if got, there := u[field]; !there || got != want {
			t.Errorf("%s = %v, want %v", field, got, want)
		}
	}
	checks := u["healthchecks"].(map[string]any)
	active := checks["active"].(map[string]any)
	passive := checks["passive"].(map[string]any)
	if checks["threshold"] != 0.0 || active["concurrency"] != 10.0 || active["type"] != "http" || active["http_path"] != "/" ||
		len(active["unhealthy"].(map[string]any)["http_statuses"].([]any)) != 8 ||
		len(passive["healthy"].(map[string]any)["http_statuses"].([]any)) != 19 {
		t.Errorf("healthchecks %v", checks)
	}
	patched := a.must(200, "PATCH", "/upstreams/orders.internal", `{"healthchecks":{"passive":{"unhealthy":{"tcp_failures":3}}}}`)
	unhealthy := patched["healthchecks"].(map[string]any)["passive"].(map[string]any)["unhealthy"].(map[string]any)
	if unhealthy["tcp_failures"] != 3.0 || len(unhealthy["http_statuses"].([]any)) != 3 {
		t.Errorf("a deep patch gave %v", unhealthy)
	}
	if hashed := a.must(200, "PATCH", "/upstreams/orders.internal", "hash_on=ip"); hashed["algorithm"] != "consistent-hashing" {
		t.Errorf("hash_on ip leaves algorithm %v", hashed["algorithm"])
	}
	if least := a.must(200, "PATCH", "/upstreams/orders.internal", "algorithm=least-connections"); least["hash_on"] != "none" {
		t.Errorf("least-connections leaves hash_on %v", least["hash_on"])
	}
	for body, want := range map[string]string{
		"name=10.0.0.1":                                 "name: Invalid name; no ip addresses allowed",
		"name=a.b:80":                                   "name: Invalid name; no port allowed",
		"name=a b":                                      "name: Invalid name; must be a valid hostname",
		"name=x&algorithm=random":                       "expected one of: consistent-hashing, least-connections, round-robin, latency",
		"name=x&hash_on=header":                         "hash_on_header: required field missing",
		"name=x&hash_on=cookie":                         "hash_on_cookie: required field missing",
		"name=x&hash_on=query_arg":                      "hash_on_query_arg: required field missing",
		"name=x&hash_on=uri_capture":                    "failed conditional validation given value of field 'hash_on'",
		"name=x&hash_fallback=ip":                       "hash_fallback: expected one of: none",
		"name=x&hash_on=ip&hash_fallback=ip":            "hash_fallback: expected one of: none, consumer, header",
		"name=x&hash_on=path&hash_fallback=path":        "hash_fallback: expected one of: none, consumer",
		"name=x&slots=9":                                "slots: value should be between 10 and 65536",
		"name=x&healthchecks.threshold=101":             "healthchecks.threshold: value should be between 0 and 100",
		"name=x&healthchecks.active.healthy.interval=x": "expected a number",
		"name=x&hash_on=header&hash_on_header=A&hash_fallback=header&hash_fallback_header=A": "values of these fields must be distinct",
		"name=x&healthchecks.active.unhealthy.timeouts=256":                                  "value should be between 0 and 255",
	} {
		if msg, _ := a.must(400, "POST", "/upstreams", body)["message"].(string); !strings.Contains(msg, want) {
			t.Errorf("%s: %q, want %q", body, msg, want)
		}
	}
	a.must(409, "POST", "/upstreams", "name=orders.internal")
}

func TestTargetEntity(t *testing.T) {
	a := newAdmin(t)
	a.must(201, "POST", "/upstreams", "name=u")
	other := a.must(201, "POST", "/upstreams", "name=other")
	for given, want := range map[string]string{
		"10.0.0.1": "10.0.0.1:8000", "10.0.0.2:81": "10.0.0.2:81", "Web.Internal": "web.internal:8000", "::1": "[0000:0000:0000:0000:0000:0000:0000:0001]:8000",
		"[fe80::1]:9": "[fe80:0000:0000:0000:0000:0000:0000:0001]:9", "[2001:DB8::A:1]:80": "[2001:0db8:0000:0000:0000:0000:000a:0001]:80",
	} {
		if got := a.must(201, "POST", "/upstreams/u/targets", `{"target":"`+given+`"}`); got["target"] != want || got["weight"] != 100.0 {
			t.Errorf("%s became %v", given, got)
		}
	}
	for _, bad := range []string{"", "a b", "a:0", "a:65536", "a:b:c", "*.x", "256.1.1.1:x", "[::1]x:2"} {
		a.must(400, "POST", "/upstreams/u/targets", `{"target":"`+bad+`"}`)
	}
	a.must(400, "POST", "/upstreams/u/targets", "target=x&weight=65536")
	a.must(409, "POST", "/upstreams/u/targets", "target=10.0.0.1:8000")
	a.must(201, "POST", "/upstreams/other/targets", "target=10.0.0.1")
	one := a.must(200, "GET", "/upstreams/u/targets/10.0.0.1:8000", "")
	if at, ok := one["created_at"].(float64); !ok || at < 1.6e9 || one["upstream"].(map[string]any)["id"] == other["id"] {
		t.Errorf("%v", one)
	}
	id := one["id"].(string)
	a.must(404, "GET", "/upstreams/other/targets/"+id, "")
	a.must(404, "GET", "/upstreams/u/targets/10.9.9.9:1", "")
	if got := a.must(200, "PATCH", "/upstreams/u/targets/10.0.0.1", "weight=0"); got["weight"] != 0.0 || got["id"] != id {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "PUT", "/upstreams/u/targets/10.0.0.1:8000", "weight=7"); got["weight"] != 7.0 || got["id"] != id {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "PUT", "/upstreams/u/targets/new:1", "weight=8"); got["target"] != "new:1" {
		t.Errorf("%v", got)
	}
	a.must(204, "DELETE", "/upstreams/u/targets/"+id, "")
	a.must(404, "DELETE", "/upstreams/u/targets/"+id, "")
	for _, path := range []string{"/targets", "/targets/" + id, "/targets/" + id + "/upstream"} {
		a.must(404, "GET", path, "")
	}
	a.must(204, "DELETE", "/upstreams/other", "")
}

func TestHealthEndpoints(t *testing.T) {
	a := newAdmin(t)
	a.must(201, "POST", "/upstreams", "name=u")
	one := a.must(201, "POST", "/upstreams/u/targets", "target=10.0.0.1:80&weight=30")
	a.must(201, "POST", "/upstreams/u/targets", "target=10.0.0.2:80&weight=70")
	a.must(201, "POST", "/upstreams/u/targets", "target=10.0.0.3:80&weight=0")
	words := func() map[string]any {
		page := a.must(200, "GET", "/upstreams/u/health", "")
		if page["node_id"] != "n" {
			t.Errorf("node_id %v", page["node_id"])
		}
		out := map[string]any{}
		for _, rec := range page["data"].([]any) {
			r := rec.(map[string]any)
			out[r["target"].(string)] = r["health"]
		}
		return out
	}
	if w := words(); w["10.0.0.1:80"] != "HEALTHCHECKS_OFF" || len(w) != 3 {
		t.Errorf("without checks: %v", w)
	}
	a.must(200, "PATCH", "/upstreams/u", `{"healthchecks":{"passive":{"unhealthy":{"tcp_failures":1}}}}`)
	a.must(204, "PUT", "/upstreams/u/targets/10.0.0.1:80/unhealthy", "")
	if w := words(); w["10.0.0.1:80"] != "UNHEALTHY" || w["10.0.0.2:80"] != "HEALTHY" {
		t.Errorf("%v", w)
	}
	whole := a.must(200, "GET", "/upstreams/u/health?balancer_health=1", "")["data"].(map[string]any)
	details := whole["details"].(map[string]any)
	if w := details["weight"].(map[string]any); whole["health"] != "HEALTHY" || w["total"] != 100.0 || w["available"] != 70.0 || w["unavailable"] != 30.0 {
		t.Errorf("%v", whole)
	}
	host := details["hosts"].([]any)[0].(map[string]any)
	if address := host["addresses"].([]any)[0].(map[string]any); host["nodeWeight"] == nil || host["dns"] != "A" || address["ip"] == nil {
		t.Errorf("%v", host)
	}
	a.must(204, "PUT", "/upstreams/u/targets/"+one["id"].(string)+"/10.0.0.1:80/healthy", "")
	if w := words(); w["10.0.0.1:80"] != "HEALTHY" {
		t.Errorf("%v", w)
	}
	a.must(400, "PUT", "/upstreams/u/targets/10.0.0.1:80/10.9.9.9/healthy", "")
	a.must(404, "PUT", "/upstreams/u/targets/10.9.9.9:80/healthy", "")
	a.must(404, "PUT", "/upstreams/nobody/targets/10.0.0.1:80/healthy", "")
	a.must(404, "GET", "/upstreams/nobody/health", "")
	a.must(405, "GET", "/upstreams/u/targets/10.0.0.1:80/healthy", "")
	if all := a.must(200, "GET", "/upstreams/u/targets/all", "")["data"].([]any); len(all) != 3 {
		t.Errorf("all targets: %v", all)
	}
	listed := a.must(200, "GET", "/endpoints", "")["data"].([]any)
	for _, path := range healthPaths {
		if !slices.Contains(listed, any(path)) {
			t.Errorf("%s is not listed", path)
		}
	}
}

var healthPaths = []string{"/upstreams/{upstreams}/health", "/upstreams/{upstreams}/targets/all",
	"/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy"}

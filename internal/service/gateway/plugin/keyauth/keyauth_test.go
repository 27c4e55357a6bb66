package keyauth_test

import (
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func setup(t *testing.T, config schema.Record) (*gateway.Gateway, *gatewaytest.Clock) {
	t.Helper()
	clock := gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	g := gatewaytest.New(t, []gateway.Plugin{keyauth.New()}, func(d *gateway.Deps) { d.Clock = clock })
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	c := gatewaytest.Create(t, g, "consumers", schema.Record{"username": "alice", "custom_id": "a-1"})
	gatewaytest.Create(t, g, "consumers", schema.Record{"username": "nobody"})
	ref := schema.Record{"id": c["id"]}
	gatewaytest.Create(t, g, "keyauth_credentials", schema.Record{"key": "right", "consumer": ref})
	gatewaytest.Create(t, g, "keyauth_credentials", schema.Record{"key": "brief", "consumer": ref, "ttl": 10.0})
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "key-auth", "config": config})
	return g, clock
}

func TestWhereKeysAreFound(t *testing.T) {
	g, _ := setup(t, schema.Record{"key_names": []any{"apikey", "x-key"}, "key_in_body": true, "realm": `my "realm"`})
	for name, c := range map[string]struct {
		request gatewaytest.Request
		message string // empty: forwarded
	}{
		"header":            {gatewaytest.Request{Header: []string{"ApiKey", "right"}}, ""},
		"second name":       {gatewaytest.Request{Header: []string{"X-Key", "right"}}, ""},
		"query":             {gatewaytest.Request{Target: "/?a=b&apikey=right"}, ""},
		"escaped query":     {gatewaytest.Request{Target: "/?api%6bey=%72ight"}, ""},
		"form":              {gatewaytest.Request{Method: "POST", Body: "apikey=right&x=1", Header: []string{"Content-Type", "application/x-www-form-urlencoded"}}, ""},
		"JSON":              {gatewaytest.Request{Method: "POST", Body: `{"apikey":"right"}`, Header: []string{"Content-Type", "application/json; charset=utf-8"}}, ""},
		"multipart":         {gatewaytest.Request{Method: "POST", Body: "--b\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nright\r\n--b--\r\n", Header: []string{"Content-Type", "multipart/form-data; boundary=b"}}, ""},
		"none":              {gatewaytest.Request{}, "No API key found in request"},
		"empty":             {gatewaytest.Request{Header: []string{"apikey", ""}}, "No API key found in request"},
		"wrong":             {gatewaytest.Request{Header: []string{"apikey", "wrong"}}, "Unauthorized"},
		"nearly right":      {gatewaytest.Request{Header: []string{"apikey", "right "}}, "Unauthorized"},
		"repeated header":   {gatewaytest.Request{Header: []string{"apikey", "right", "apikey", "right"}}, "Duplicate API key found"},
		"repeated query":    {gatewaytest.Request{Target: "/?apikey=right&apikey=right"}, "Duplicate API key found"},
		"header goes first": {gatewaytest.Request{Target: "/?apikey=right", Header: []string{"apikey", "wrong"}}, "Unauthorized"},
		"preflight":         {gatewaytest.Request{Method: "OPTIONS"}, "No API key found in request"},
	} {
		got := gatewaytest.Do(g, c.request)
		if c.message == "" {
			if got.Status != 0 || got.Consumer != "alice" || got.Upstream.Get("X-Consumer-Username") != "alice" ||
				got.Upstream.Get("X-Consumer-Custom-Id") != "a-1" || got.Upstream.Get("X-Credential-Identifier") == "" {
				t.Errorf("%s: %+v %v", name, got, got.Upstream)
			}
			continue
		}
		if got.Status != 401 || !strings.Contains(got.Body, `"message":"`+c.message+`"`) || got.Header.Get("WWW-Authenticate") != `Key realm="my \"realm\""` {
			t.Errorf("%s: %d %s %v", name, got.Status, got.Body, got.Header)
		}
	}
}

func TestForgedIdentityIsRemoved(t *testing.T) {
	g, _ := setup(t, schema.Record{"anonymous": "nobody"})
	forged := []string{"X-Consumer-ID", "root", "x-consumer-username", "root", "X-Consumer-Custom-ID", "root", "X-Credential-Identifier", "root", "X-Anonymous-Consumer", "false"}
	got := gatewaytest.Do(g, gatewaytest.Request{Header: forged})
	if got.Status != 0 || got.Consumer != "nobody" || got.Upstream.Get("X-Anonymous-Consumer") != "true" {
		t.Fatalf("%+v", got)
	}
	for _, f := range got.Upstream.Fields() {
		if f.Value == "root" {
			t.Errorf("%s is the client's", f.Name)
		}
	}
	got = gatewaytest.Do(g, gatewaytest.Request{Header: append(forged, "apikey", "right")})
	if got.Consumer != "alice" || got.Upstream.Get("X-Anonymous-Consumer") != "" || got.Upstream.Count("X-Consumer-Username") != 1 {
		t.Errorf("%+v", got.Upstream)
	}
}

func TestHideCredentials(t *testing.T) {
	g, _ := setup(t, schema.Record{"hide_credentials": true, "key_in_body": true, "run_on_preflight": false})
	got := gatewaytest.Do(g, gatewaytest.Request{Target: "/?x=%41&apikey=right&y", Header: []string{"apikey", "right", "Other", "1"}})
	if _, there := got.Upstream.Lookup("apikey"); there || got.Query != "x=%41&y" || got.Upstream.Get("Other") != "1" {
		t.Errorf("%q %v", got.Query, got.Upstream)
	}
	got = gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: "a=1&apikey=right&b=2", Header: []string{"Content-Type", "application/x-www-form-urlencoded"}})
	if got.Sent != "a=1&b=2" {
		t.Errorf("%q", got.Sent)
	}
	got = gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Body: `{"apikey":"right","b":[1]}`, Header: []string{"Content-Type", "application/json"}})
	if got.Sent != `{"b":[1]}` {
		t.Errorf("%q", got.Sent)
	}
	got = gatewaytest.Do(g, gatewaytest.Request{Method: "POST", Header: []string{"Content-Type", "multipart/form-data; boundary=b"},
		Body: "--b\r\nContent-Disposition: form-data; name=\"apikey\"\r\n\r\nright\r\n--b\r\nContent-Disposition: form-data; name=\"o\"\r\n\r\nkept\r\n--b--\r\n"})
	if strings.Contains(got.Sent, "right") || !strings.Contains(got.Sent, "kept") {
		t.Errorf("%q", got.Sent)
	}
	if got = gatewaytest.Do(g, gatewaytest.Request{Method: "OPTIONS"}); got.Status != 0 {
		t.Errorf("a preflight is stopped: %+v", got)
	}
}

func TestKeysEnd(t *testing.T) {
	g, clock := setup(t, schema.Record{})
	ask := func() int { return gatewaytest.Do(g, gatewaytest.Request{Header: []string{"apikey", "brief"}}).Status }
	clock.Pass(9 * time.Second)
	if ask() != 0 {
		t.Error("the key has ended too early")
	}
	clock.Pass(time.Second)
	if ask() != 401 {
		t.Error("the key outlives its ttl")
	}
	if err := g.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	e, _ := g.Entity("keyauth_credentials")
	if all, _ := g.List(e, gateway.ListQuery{Size: 10}); len(all) != 1 {
		t.Errorf("%v", all)
	}
	if existed, err := g.Delete(t.Context(), e, "right"); !existed || err != nil {
		t.Fatal(existed, err)
	}
	if gatewaytest.Do(g, gatewaytest.Request{Header: []string{"apikey", "right"}}).Status != 401 {
		t.Error("a deleted key still opens")
	}
}

package basicauth_test

import (
	"encoding/base64"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/basicauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func basic(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }

func TestBasicAuth(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{basicauth.New()})
	gatewaytest.Route(t, g)
	bob := gatewaytest.Consumer(t, g, "bob")
	cred := gatewaytest.Create(t, g, "basicauth_credentials", schema.Record{"username": "bobby", "password": "pa:ss", "consumer": bob})
	if p := cred["password"].(string); len(p) != 40 || p == "pa:ss" {
		t.Errorf("the password is kept as %q", p)
	}
	plugin := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "basic-auth", "config": schema.Record{"hide_credentials": true}})
	for name, c := range map[string]struct {
		header []string
		passes bool
	}{
		"right":             {[]string{"Authorization", basic("bobby:pa:ss")}, true},
		"lower case":        {[]string{"Authorization", "b" + basic("bobby:pa:ss")[1:]}, true},
		"proxy goes first":  {[]string{"Proxy-Authorization", basic("bobby:pa:ss"), "Authorization", "Bearer x"}, true},
		"proxy is wrong":    {[]string{"Proxy-Authorization", basic("bobby:no"), "Authorization", basic("bobby:pa:ss")}, false},
		"none":              {nil, false},
		"wrong":             {[]string{"Authorization", basic("bobby:pa:s")}, false},
		"unknown":           {[]string{"Authorization", basic("alice:pa:ss")}, false},
		"the stored hash":   {[]string{"Authorization", basic("bobby:" + cred["password"].(string))}, false},
		"no colon":          {[]string{"Authorization", basic("bobby")}, false},
		"not base64":        {[]string{"Authorization", "Basic ???"}, false},
		"another scheme":    {[]string{"Authorization", "Bearer " + basic("bobby:pa:ss")[6:]}, false},
		"empty credentials": {[]string{"Authorization", basic(":")}, false},
	} {
		got := gatewaytest.Do(g, gatewaytest.Request{Header: c.header})
		if c.passes {
			if got.Status != 0 || got.Consumer != "bob" || got.Upstream.Get("X-Credential-Identifier") != "bobby" {
				t.Errorf("%s: %+v", name, got)
			}
			if got.Upstream.Get(c.header[0]) != "" {
				t.Errorf("%s: the credential is passed on", name)
			}
		} else if got.Status != 401 || got.Header.Get("WWW-Authenticate") != `Basic realm="service"` {
			t.Errorf("%s: %+v %v", name, got, got.Header.Fields())
		}
	}
	e, _ := g.Entity("basicauth_credentials")
	if _, err := g.Patch(t.Context(), e, "bobby", schema.Record{"password": "new"}); err != nil {
		t.Fatal(err)
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{Header: []string{"Authorization", basic("bobby:new")}}); got.Status != 0 {
		t.Errorf("the new password: %+v", got)
	}
	plugins, _ := g.Entity("plugins")
	if _, err := g.Patch(t.Context(), plugins, plugin["id"].(string), schema.Record{"config": schema.Record{"anonymous": "bob"}}); err != nil {
		t.Fatal(err)
	}
	if got := gatewaytest.Do(g, gatewaytest.Request{}); got.Status != 0 || got.Upstream.Get("X-Anonymous-Consumer") != "true" || got.Consumer != "bob" {
		t.Errorf("anonymous: %+v", got)
	}
}

package gateway_test

import (
	"errors"
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// TestReferences checks that a plugin is given what its references point at, and that the
// stored configuration keeps the references.
func TestReferences(t *testing.T) {
	var got schema.Record
	kind := gateway.Plugin{
		Name: "asks", Priority: 1,
		Config: &schema.Field{Fields: []*schema.Field{
			{Name: "token", Kind: schema.String, Referenceable: true},
			{Name: "plain", Kind: schema.String},
			{Name: "list", Kind: schema.Array, Elements: &schema.Field{Kind: schema.String, Referenceable: true}},
			{Name: "map", Kind: schema.Map, Values: &schema.Field{Kind: schema.String, Referenceable: true}},
			{Name: "deep", Kind: schema.Nested, Fields: []*schema.Field{{Name: "key", Kind: schema.String, Referenceable: true}}},
		}},
		New: func(c schema.Record, _ gateway.Env) (any, error) {
			got = c
			return struct{}{}, nil
		},
	}
	env := map[string]string{"MY_TOKEN": "t0", "KONG_KEY": `{"inner":"k0"}`}
	g := gatewaytest.New(t, []gateway.Plugin{kind}, func(d *gateway.Deps) {
		d.Secret = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	})
	gatewaytest.Create(t, g, "vaults", schema.Record{"name": "env", "prefix": "mine", "config": schema.Record{"prefix": "KONG_"}})
	stored := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "asks", "config": schema.Record{
		"token": "{vault://env/my-token}", "plain": "{vault://env/my-token}", "list": []any{"x", "{vault://mine/key/inner}"},
		"map": schema.Record{"a": "{vault://env/my_token}"}, "deep": schema.Record{"key": "{vault://mine/key/inner}"},
	}})
	want := schema.Record{
		"token": "t0", "plain": "{vault://env/my-token}", "list": []any{"x", "k0"}, "map": schema.Record{"a": "t0"}, "deep": schema.Record{"key": "k0"},
	}
	if !schema.Equal(got, want) {
		t.Errorf("the plugin was given %v", got)
	}
	if c := stored["config"].(schema.Record); c["token"] != "{vault://env/my-token}" {
		t.Errorf("stored: %v", c)
	}
	e, _ := g.Entity("plugins")
	if _, err := g.Patch(t.Context(), e, stored["id"].(string), schema.Record{"config": schema.Record{"token": "{vault://env/absent}"}}); err != nil {
		t.Fatal(err)
	}
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 404 {
		t.Errorf("%+v", r)
	}
	gatewaytest.Create(t, g, "services", schema.Record{"name": "s", "host": "h"})
	gatewaytest.Create(t, g, "routes", schema.Record{"paths": []any{"/"}, "service": schema.Record{"name": "s"}})
	if r := gatewaytest.Do(g, gatewaytest.Request{}); r.Status != 500 {
		t.Errorf("a plugin whose secret is missing lets requests pass: %+v", r)
	}
}

func TestVaultsAndKeys(t *testing.T) {
	g := gatewaytest.New(t, nil)
	set := gatewaytest.Create(t, g, "key_sets", schema.Record{"name": "set"})
	key := schema.Record{"name": "k", "kid": "1", "set": schema.Record{"name": "set"}, "jwk": `{"kty":"oct","kid":"1","k":"AA"}`}
	gatewaytest.Create(t, g, "keys", key)
	for _, c := range []struct {
		collection string
		r          schema.Record
		reason     any
	}{
		{"vaults", schema.Record{"name": "env", "prefix": "env"}, gateway.SchemaViolation},
		{"vaults", schema.Record{"name": "hcv", "prefix": "x"}, gateway.SchemaViolation},
		{"vaults", schema.Record{"name": "env", "prefix": "X"}, gateway.SchemaViolation},
		{"keys", schema.Record{"kid": "1"}, gateway.SchemaViolation},
		{"keys", schema.Record{"kid": "1", "jwk": `{"kty":"oct","kid":"2"}`}, gateway.SchemaViolation},
		{"keys", schema.Record{"kid": "1", "jwk": `{`}, gateway.SchemaViolation},
		{"keys", schema.Record{"kid": "1", "pem": schema.Record{"public_key": "x"}}, gateway.SchemaViolation},
		{"keys", schema.Record{"kid": "1", "jwk": `{"kty":"oct","kid":"1"}`, "set": schema.Record{"id": set["id"]}}, gateway.NotUnique},
	} {
		e, _ := g.Entity(c.collection)
		_, err := g.Create(t.Context(), e, c.r)
		refused, ok := errors.AsType[*gateway.Error](err)
		if !ok || refused.Reason() != c.reason {
			t.Errorf("%s %v: %v", c.collection, c.r, err)
		}
	}
	n := 0
	for rec := range g.Children("keys", "set", set["id"].(string)) {
		if n++; rec["kid"] != "1" {
			t.Errorf("%v", rec)
		}
	}
	if n != 1 {
		t.Errorf("%d keys in the set", n)
	}
}

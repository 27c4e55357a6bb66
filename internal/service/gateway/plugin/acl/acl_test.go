package acl_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/acl"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// as authenticates the consumer or the groups that a request names.
type as struct{ directory gateway.Directory }

func (a as) Access(x *gateway.Exchange) {
	if c, ok := a.directory.Consumer(x.Request.Header.Get("As")); ok {
		x.Authenticate(c, &gateway.Credential{ID: "c", ConsumerID: c.ID})
	}
	if g := x.Request.Header.Get("Groups"); g != "" {
		x.SetGroups([]string{g})
	}
}

func TestACL(t *testing.T) {
	login := gateway.Plugin{Name: "as", Priority: 1000, Config: &schema.Field{},
		New: func(_ schema.Record, env gateway.Env) (any, error) { return as{env.Directory}, nil }}
	g := gatewaytest.New(t, []gateway.Plugin{acl.New(), login})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "as"})
	alice := gatewaytest.Consumer(t, g, "alice")
	gatewaytest.Consumer(t, g, "loner")
	for _, group := range []string{"dev", "ops"} {
		gatewaytest.Create(t, g, "acls", schema.Record{"group": group, "consumer": alice})
	}
	e, _ := g.Entity("acls")
	if _, err := g.Create(t.Context(), e, schema.Record{"group": "dev", "consumer": alice}); err == nil {
		t.Error("a consumer can be in a group twice")
	}
	plugins, _ := g.Entity("plugins")
	plugin := gatewaytest.Create(t, g, "plugins", schema.Record{"name": "acl", "config": schema.Record{"allow": []any{"dev"}}})
	configure := func(c schema.Record) {
		t.Helper()
		if _, err := g.Patch(t.Context(), plugins, plugin["id"].(string), schema.Record{"config": c}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, status int, groups string, header ...string) {
		t.Helper()
		got := gatewaytest.Do(g, gatewaytest.Request{Header: header})
		if got.Status != status || got.Upstream.Get("X-Consumer-Groups") != groups {
			t.Errorf("%s: %+v, groups %q", what, got, got.Upstream.Get("X-Consumer-Groups"))
		}
	}
	check("allowed", 0, "dev, ops", "As", "alice")
	check("not in the group", 403, "", "As", "loner")
	check("nobody", 401, "")
	check("authenticated group", 0, "", "Groups", "dev")
	check("another authenticated group", 403, "", "Groups", "sales")
	check("a consumer's groups go first", 403, "", "As", "loner", "Groups", "dev")
	configure(schema.Record{"always_use_authenticated_groups": true})
	check("authenticated groups go first", 0, "", "As", "loner", "Groups", "dev")
	configure(schema.Record{"hide_groups_header": true})
	check("hidden", 0, "", "As", "alice")
	configure(schema.Record{"allow": nil, "deny": []any{"ops"}, "hide_groups_header": false})
	check("denied", 403, "", "As", "alice")
	check("not denied", 0, "", "As", "loner")
	check("nobody is not asked", 401, "")
	for _, bad := range []schema.Record{{}, {"allow": []any{"a"}, "deny": []any{"b"}}} {
		if _, err := g.Create(t.Context(), plugins, schema.Record{"name": "acl", "config": bad}); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}
}

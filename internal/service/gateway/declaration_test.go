package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/basicauth"
	"sluice.dev/sluice/internal/service/gateway/plugin/keyauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func document(t testing.TB, text string) (doc schema.Record) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func declare(t testing.TB, g *gateway.Gateway, text string) *gateway.Declaration {
	t.Helper()
	d, err := g.Declare(document(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

const nested = `{"_format_version": "3.0", "_comment": "x",
 "services": [{"name": "s", "url": "http://h/", "routes": [{"name": "r", "paths": ["/a"], "plugins": [{"name": "key-auth"}]}]}],
 "upstreams": [{"name": "u", "targets": [{"target": "1.2.3.4"}, {"target": "1.2.3.5:80"}]}],
 "consumers": [{"username": "bob", "keyauth_credentials": [{"key": "k1"}], "basicauth_credentials": [{"username": "bob", "password": "secret"}]}],
 "plugins": [{"name": "key-auth", "service": "s", "config": {"key_names": ["x"]}}]}`

func newDeclared(t testing.TB) *gateway.Gateway {
	return gatewaytest.New(t, []gateway.Plugin{keyauth.New(), basicauth.New()}, func(d *gateway.Deps) { d.Clock = gatewaytest.NewClock(time.Unix(1_800_000_000, 0)) })
}

func count(g *gateway.Gateway, collection string) int {
	e, _ := g.Entity(collection)
	page, _ := g.List(e, gateway.ListQuery{Size: 1000})
	return len(page)
}

func TestApply(t *testing.T) {
	g := newDeclared(t)
	d := declare(t, g, nested)
	got, err := g.Apply(t.Context(), d, gateway.ApplyOptions{Replace: true})
	if err != nil || got != (gateway.Applied{Created: 10}) {
		t.Fatalf("%+v %v", got, err)
	}
	if r := gatewaytest.Do(g, gatewaytest.Request{Target: "/a", Header: []string{"apikey", "k1"}}); r.Status != 0 || r.Consumer != "bob" {
		t.Errorf("%+v", r)
	}
	// The same again, also from what is exported, changes nothing.
	if got, err := g.Apply(t.Context(), declare(t, g, nested), gateway.ApplyOptions{Replace: true}); err != nil || got.Updated+got.Created+got.Deleted > 0 {
		t.Errorf("%+v %v", got, err)
	}
	raw, err := json.Marshal(g.Export())
	if err != nil || strings.Contains(string(raw), `"secret"`) {
		t.Fatalf("%s %v", raw, err)
	}
	if got, err := g.Apply(t.Context(), declare(t, g, string(raw)), gateway.ApplyOptions{Replace: true}); err != nil || got != (gateway.Applied{Unchanged: 10}) {
		t.Errorf("%+v %v", got, err)
	}
	other := newDeclared(t)
	if got, err := other.Apply(t.Context(), declare(t, other, string(raw)), gateway.ApplyOptions{}); err != nil || got.Created != 10 {
		t.Errorf("%+v %v", got, err)
	}
	if again, _ := json.Marshal(other.Export()); string(again) != string(raw) {
		t.Errorf("exported %s\nand again %s", raw, again)
	}
	// A route moves to a service that takes the place of its old one.
	moved := strings.NewReplacer(`"name": "s", "url"`, `"name": "s2", "url"`, `"service": "s"`, `"service": "s2"`).Replace(nested)
	if got, err := g.Apply(t.Context(), declare(t, g, moved), gateway.ApplyOptions{Replace: true}); err != nil || got.Deleted == 0 || count(g, "services") != 1 || count(g, "routes") != 1 {
		t.Errorf("%+v %v", got, err)
	}
	// Without replace, what is not declared stays.
	if got, err := g.Apply(t.Context(), declare(t, g, `{"_format_version": "3.0", "routes": [{"name": "more", "paths": ["/m"], "service": "s2"}]}`), gateway.ApplyOptions{}); err != nil || got.Created != 1 || count(g, "routes") != 2 {
		t.Errorf("%+v %v", got, err)
	}
	if got, err := g.Apply(t.Context(), declare(t, g, `{"_format_version": "1.1"}`), gateway.ApplyOptions{Replace: true}); err != nil || count(g, "services")+count(g, "consumers")+count(g, "plugins") != 0 {
		t.Errorf("%+v %v", got, err)
	}
}

func TestDeclarationsRefused(t *testing.T) {
	g := newDeclared(t)
	if _, err := g.Apply(t.Context(), declare(t, g, nested), gateway.ApplyOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	before, _ := json.Marshal(g.Export())
	for _, c := range []struct{ doc, message string }{
		{`{}`, `"_format_version":"required field missing"`},
		{`{"_format_version": "4.0"}`, `expected one of: 1.1, 2.1, 3.0`},
		{`{"_format_version": "3.0", "servcies": []}`, `"servcies":"unknown field"`},
		{`{"_format_version": "3.0", "services": {}}`, `"services":"expected an array"`},
		{`{"_format_version": "3.0", "services": ["x"]}`, `expected an array of records`},
		{`{"_format_version": "3.0", "services": [{"host": "a"}, {"name": "b"}]}`, `"services":[null,{"host":"required field missing"}]`},
		{`{"_format_version": "3.0", "routes": [{"paths": ["/"], "service": "nobody"}]}`, `the foreign key cannot be resolved`},
		{`{"_format_version": "3.0", "routes": [{"paths": ["/"], "service": "4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b"}]}`, `does not reference an existing`},
		{`{"_format_version": "3.0", "consumers": [{"username": "a"}, {"username": "a", "id": "4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b"}]}`, `UNIQUE violation`},
		{`{"_format_version": "3.0", "services": [{"name": "a", "host": "x"}, {"name": "a", "host": "y"}]}`, `uniqueness violation: 'services' entity with name set to 'a' already declared`},
		{`{"_format_version": "3.0", "services": [{"name": "a", "host": "x", "routes": [{"name": "r", "paths": ["/a"]}]}], "routes": [{"name": "r", "paths": ["/b"]}]}`, `with name set to 'r' already declared`},
		{`{"_format_version": "3.0", "consumers": [{"username": "a", "keyauth_credentials": [{"key": "k"}, {"key": "k"}]}]}`, `'keyauth_credentials' entity with primary key set to`},
		{`{"_format_version": "3.0", "plugins": [{"name": "nope"}]}`, `plugin 'nope' not enabled`},
	} {
		d, err := g.Declare(document(t, c.doc))
		if err == nil {
			_, err = g.Apply(t.Context(), d, gateway.ApplyOptions{Replace: true})
		}
		refused, ok := errors.AsType[*gateway.Error](err)
		if !ok || refused.Reason() != gateway.InvalidDeclaration || !strings.Contains(refused.Message, c.message) {
			t.Errorf("%s: %v", c.doc, err)
		}
	}
	if after, _ := json.Marshal(g.Export()); string(after) != string(before) {
		t.Errorf("a refused declaration changed something: %s", after)
	}
}

// Records without a name may say the same: they are two.
func TestNamelessTwice(t *testing.T) {
	g := newDeclared(t)
	d := declare(t, g, `{"_format_version": "3.0", "services": [{"host": "x"}, {"host": "x"}], "routes": [{"paths": ["/"]}, {"paths": ["/"]}]}`)
	got, err := g.Apply(t.Context(), d, gateway.ApplyOptions{Replace: true})
	if err != nil || got != (gateway.Applied{Created: 4}) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = g.Apply(t.Context(), d, gateway.ApplyOptions{Replace: true}); err != nil || got != (gateway.Applied{Unchanged: 4}) {
		t.Errorf("again: %+v, %v", got, err)
	}
}

func TestFormerFormats(t *testing.T) {
	g := newDeclared(t)
	d := declare(t, g, `{"_format_version": "2.1", "routes": [{"name": "r", "paths": ["/plain", "/a(b|c)"]}]}`)
	if _, err := g.Apply(t.Context(), d, gateway.ApplyOptions{Replace: true}); err != nil {
		t.Fatal(err)
	}
	e, _ := g.Entity("routes")
	r, _ := g.Get(e, "r")
	if fmt.Sprint(r["paths"]) != "[/plain ~/a(b|c)]" {
		t.Errorf("%v", r["paths"])
	}
}

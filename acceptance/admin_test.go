package acceptance_test

import (
	"encoding/json"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// TestAdminAccess opens the Kong Admin API by tokens, by signatures that curl makes, and by
// HTTP Basic, and looks at what the audit holds afterwards.
func TestAdminAccess(t *testing.T) {
	n := plat.Start(t, plat.Options{Env: []string{"SLUICE_KONG_ADMIN_TOKEN=full-token", "SLUICE_KONG_ADMIN_READ_TOKEN=read-token"}})
	reader := n.User("reader", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"apigateway:GET","Resource":"*"}]}`)
	routes := n.User("routes", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"apigateway:*","Resource":"arn:aws:apigateway:*::/routes*"}]}`)
	signed := func(k plat.Key) []string {
		return []string{"--aws-sigv4", "aws:amz:us-east-1:apigateway", "--user", k.ID + ":" + k.Secret}
	}
	wrong := reader
	wrong.Secret = "x" + wrong.Secret[1:]
	basic := []string{"--user", n.Root.ID + ":" + n.Root.Secret}
	bearer := func(token string) []string { return []string{"-H", "Authorization: Bearer " + token} }
	for i, c := range []struct {
		who    []string
		method string
		path   string
		form   string
		status string
	}{
		{nil, "GET", "/services", "", "401"},
		{bearer("guess"), "GET", "/services", "", "401"},
		{[]string{"-H", "Kong-Admin-Token: full-token"}, "GET", "/", "", "200"},
		{bearer("read-token"), "GET", "/services", "", "200"},
		{bearer("read-token"), "POST", "/services", "name=no&host=x", "403"},
		{bearer("full-token"), "POST", "/services", "name=one&host=x", "201"},
		{signed(reader), "GET", "/services?tags=a%20b", "", "200"},
		{signed(reader), "POST", "/services", "name=no&host=x", "403"},
		{signed(wrong), "GET", "/services", "", "401"},
		{signed(routes), "GET", "/services", "", "403"},
		{signed(routes), "POST", "/routes", "name=r&paths[]=/r", "201"},
		{signed(n.Root), "POST", "/consumers", "username=carl", "201"},
		{signed(n.Root), "POST", "/consumers/carl/key-auth", "key=do-not-tell", "201"},
		{basic, "PATCH", "/services/one", "retries=2", "200"},
		{basic, "DELETE", "/routes/r", "", "204"},
		{[]string{"--user", n.Root.ID + ":guess"}, "GET", "/services", "", "401"},
	} {
		args := append([]string{"-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", c.method, n.Endpoints.KongAdmin + c.path}, c.who...)
		if c.form != "" {
			args = append(args, "--data", c.form)
		}
		if got := must(t, nil, "curl", args...); got != c.status {
			t.Errorf("%d: %s %s: %s, want %s", i, c.method, c.path, got, c.status)
		}
	}
	out := must(t, nil, "curl", append([]string{"-sS", n.Endpoints.KongAdmin + "/audit/objects"}, bearer("read-token")...)...)
	var audit struct {
		Data []struct {
			Who, Operation, Entity string
			Before, After          map[string]any
		}
	}
	if err := json.Unmarshal([]byte(out), &audit); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var got []string
	for _, e := range audit.Data {
		who := e.Who[strings.LastIndex(e.Who, ":")+1:]
		got = append(got, strings.Join([]string{who, e.Operation, e.Entity}, " "))
		if e.Entity == "services" && e.Operation == "update" && (e.Before["retries"] != 5.0 || e.After["retries"] != 2.0) {
			t.Errorf("%+v", e)
		}
	}
	want := "admin token create services, user/routes create routes, root create consumers, root create keyauth_credentials, root update services, root delete routes"
	if strings.Join(got, ", ") != want {
		t.Errorf("the audit holds %s\nwant %s", strings.Join(got, ", "), want)
	}
	if strings.Contains(out, "do-not-tell") || !strings.Contains(out, `"key":"***"`) {
		t.Errorf("the audit shows a secret: %s", out)
	}
	n.Kill()
	n.Launch()
	if again := must(t, nil, "curl", append([]string{"-sS", n.Endpoints.KongAdmin + "/audit/objects"}, bearer("read-token")...)...); again != out {
		t.Errorf("after kill -9 the audit is %s", again)
	}
}

package acceptance_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

const declaredRoutes = `_format_version: "3.0"
services:
- name: answers
  url: %s
  routes:
  - name: %s
    paths: [/%[2]s]
    plugins:
    - name: key-auth
consumers:
- username: dora
  keyauth_credentials:
  - key: doras-key
  basicauth_credentials:
  - username: dora
    password: secret
certificates: []
`

func statusOf(t *testing.T, url string, header ...string) int {
	t.Helper()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body) // only the status is of interest
	_ = resp.Body.Close()                 // read already
	return resp.StatusCode
}

// TestDBLess runs a gateway from a file, changes the file, breaks it, and gives it others
// by POST /config.
func TestDBLess(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	file := filepath.Join(t.TempDir(), "kong.yml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf(declaredRoutes, up, "one"))
	n := plat.Start(t, plat.Options{Env: []string{"SLUICE_KONG_DATABASE=off", "SLUICE_KONG_DECLARATIVE_CONFIG=" + file}})
	get := func(path string) int { return statusOf(t, n.Endpoints.Proxy+path, "apikey", "doras-key") }
	if s := get("/one"); s != 200 {
		t.Fatalf("/one: %d", s)
	}
	write(fmt.Sprintf(declaredRoutes, up, "two"))
	plat.Until(t, "the changed file counts", func() error {
		if one, two := get("/one"), get("/two"); one != 404 || two != 200 {
			return fmt.Errorf("/one: %d, /two: %d", one, two)
		}
		return nil
	})
	write("_format_version: \"3.0\"\nservices:\n- name: broken\n")
	plat.Until(t, "the broken file is told of", func() error {
		if !strings.Contains(n.LogText(), "host") || !strings.Contains(n.LogText(), "stays in force") {
			return fmt.Errorf("the log says nothing of it")
		}
		return nil
	})
	if s := get("/two"); s != 200 {
		t.Errorf("after a broken file /two: %d", s)
	}
	admin := n.Endpoints.KongAdmin
	curl := func(args ...string) string {
		return must(t, nil, "curl", append([]string{"-sS", "-w", "\n%{http_code}"}, args...)...)
	}
	refused := curl("-d", "name=x", "-d", "host=y", admin+"/services")
	if !strings.HasSuffix(refused, "\n405") || !strings.Contains(refused, `cannot create 'services' entities when not using a database`) || !strings.Contains(refused, `"code":12`) {
		t.Errorf("%s", refused)
	}
	write(fmt.Sprintf(declaredRoutes, up, "three"))
	if out := curl("-F", "config=@"+file, admin+"/config"); !strings.HasSuffix(out, "\n201") || !strings.Contains(out, `"answers"`) {
		t.Errorf("%s", out)
	}
	if s := get("/three"); s != 200 {
		t.Errorf("/three: %d", s)
	}
	if out := curl("-F", "config=@"+file, admin+"/config?check_hash=1"); !strings.HasSuffix(out, "\n304") {
		t.Errorf("%s", out)
	}
	bad := curl("-H", "Content-Type: application/json", "-d", `{"_format_version":"3.0","services":[{"name":"a b","host":"h","tags":["t"]}]}`, admin+"/config?flatten_errors=1")
	if !strings.HasSuffix(bad, "\n400") || !strings.Contains(bad, `"entity_name":"a b"`) || !strings.Contains(bad, `"code":14`) || !strings.Contains(bad, `"field":"name"`) {
		t.Errorf("%s", bad)
	}
	if out := curl(admin + "/config"); !strings.Contains(out, "_format_version") || strings.Contains(out, "secret\\n") {
		t.Errorf("%s", out)
	}
	if out := curl(admin + "/status"); !strings.Contains(out, "configuration_hash") || strings.Contains(out, `"database"`) {
		t.Errorf("%s", out)
	}
}

// TestDeclarativeCommands takes a configuration from one node to another by the commands.
func TestDeclarativeCommands(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	file := filepath.Join(t.TempDir(), "kong.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, declaredRoutes, up, "one"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second := plat.Start(t, plat.Options{}), plat.Start(t, plat.Options{Env: []string{"SLUICE_KONG_ADMIN_TOKEN=secret-token"}})
	if out := must(t, nil, plat.Program(), "gate", "check", file); !strings.Contains(out, "valid configuration of 6 records") {
		t.Errorf("%s", out)
	}
	if out := must(t, nil, plat.Program(), "gate", "import", "--data", first.Dir, "--dry-run", file); out != "6 created, 0 updated, 0 deleted, 0 unchanged\n" {
		t.Errorf("%s", out)
	}
	for _, want := range []string{"6 created, 0 updated, 0 deleted, 0 unchanged\n", "0 created, 0 updated, 0 deleted, 6 unchanged\n"} {
		if out := must(t, nil, plat.Program(), "gate", "import", "--data", first.Dir, "--replace", file); out != want {
			t.Errorf("%s", out)
		}
	}
	if s := statusOf(t, first.Endpoints.Proxy+"/one", "apikey", "doras-key"); s != 200 {
		t.Errorf("the first node: %d", s)
	}
	token := []string{"SLUICE_ADMIN_TOKEN=secret-token"}
	if out, err := run(t, nil, plat.Program(), "import", "kong", "--admin-url", first.Endpoints.KongAdmin, "--data", second.Dir); err == nil || !strings.Contains(out, "Unauthorized") {
		t.Errorf("without the token: %v %s", err, out)
	}
	if out := must(t, token, plat.Program(), "import", "kong", "--admin-url", first.Endpoints.KongAdmin, "--data", second.Dir); !strings.Contains(out, "6 created") {
		t.Errorf("%s", out)
	}
	if s := statusOf(t, second.Endpoints.Proxy+"/one", "apikey", "doras-key"); s != 200 {
		t.Errorf("the second node: %d", s)
	}
	a := must(t, nil, plat.Program(), "gate", "export", "--data", first.Dir)
	if b := must(t, token, plat.Program(), "gate", "export", "--admin-url", second.Endpoints.KongAdmin); a != b {
		t.Errorf("the nodes export\n%s\n%s", a, b)
	}
	broken := filepath.Join(t.TempDir(), "broken.yml")
	if err := os.WriteFile(broken, []byte("_format_version: \"3.0\"\nroutes:\n- name: r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"gate", "check", broken}, {"gate", "import", "--data", first.Dir, broken},
		{"serve", "--data", t.TempDir(), "--port-base", strconv.Itoa(plat.FreePorts(t))},
	} {
		env := []string{"SLUICE_KONG_DATABASE=off", "SLUICE_KONG_DECLARATIVE_CONFIG=" + broken}
		out, err := run(t, env, plat.Program(), args...)
		if err == nil || !strings.Contains(out, broken+`:3: routes "r": must set one of 'methods'`) || !strings.Contains(out, broken+" is refused; nothing was changed") || strings.Contains(out, "null") {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
	unknown := filepath.Join(t.TempDir(), "unknown.yml")
	if err := os.WriteFile(unknown, []byte("_format_version: \"3.0\"\nplugins:\n- id: 4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b\n  name: nope\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, nil, plat.Program(), "gate", "import", "--data", first.Dir, unknown); err == nil ||
		!strings.Contains(out, unknown+`:4: plugins "nope" (id 4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b): name: plugin 'nope' not enabled`) || !strings.Contains(out, "there are acl, acme") {
		t.Errorf("%v %s", err, out)
	}
}

// TestKongConf starts a node from a kong.conf and KONG_* variables.
func TestKongConf(t *testing.T) {
	up := upstream(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") })
	dir := t.TempDir()
	file := filepath.Join(dir, "kong.yml")
	if err := os.WriteFile(file, fmt.Appendf(nil, declaredRoutes, up, "one"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(dir, "kong.conf")
	if err := os.WriteFile(conf, []byte("database = off\nlog_level = notice\nlua_ssl_verify_depth = 1\ndeclarative_config = /nonexistent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := plat.Start(t, plat.Options{Env: []string{"SLUICE_CONFIG=" + conf, "KONG_DECLARATIVE_CONFIG=" + file}})
	if s := statusOf(t, n.Endpoints.Proxy+"/one", "apikey", "doras-key"); s != 200 {
		t.Errorf("%d", s)
	}
	if !strings.Contains(n.LogText(), "configuration: lua_ssl_verify_depth has no meaning here and is ignored") {
		t.Errorf("nothing is said of what was ignored: %s", n.LogText())
	}
}

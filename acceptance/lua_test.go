package acceptance_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// chooseAuthority is the seed's advanced case: logic of one's own for mutual TLS. It takes
// the authority by the tenant that the request names, verifies the client's certificate
// against that one alone, adds a rule of its own, and logs.
const chooseAuthority = `
local x509, store = require "resty.openssl.x509", require "resty.openssl.x509.store"
local chain = kong.client.tls.get_full_client_certificate_chain()
if not chain then
  return kong.response.exit(401, { message = "a client certificate is needed" })
end
local tenant = kong.request.get_header("X-Tenant") or "none"
local trusted
for authority, err in kong.db.ca_certificates:each() do
  for _, tag in ipairs(authority.tags or {}) do
    if tag == tenant then trusted = authority end
  end
end
if not trusted then
  return kong.response.exit(403, { message = "no authority for the tenant " .. tenant })
end
local client = assert(x509.new(chain))
local s = assert(store.new())
assert(s:add(assert(x509.new(trusted.cert))))
local found, err = s:verify(client)
if not found then
  kong.log.warn("certificate refused for ", tenant, ": ", err)
  kong.client.tls.set_client_verify("FAILED:" .. err)
  return kong.response.exit(403, { message = "the certificate is not of the authority of " .. tenant })
end
if ngx.var.ssl_client_s_dn:find("Revoked", 1, true) then
  return kong.response.exit(403, { message = "not this one" })
end
kong.client.tls.set_client_verify("SUCCESS")
kong.service.request.set_header("X-Client-Cert-Dn", ngx.var.ssl_client_s_dn)
kong.service.request.set_header("X-Client-Verify", ngx.var.ssl_client_verify)
`

// TestMutualTLSInLua is custom mTLS logic with a dynamic choice of the authority, by the
// serverless functions, with openssl's certificates and curl.
func TestMutualTLSInLua(t *testing.T) {
	g := newGate(t)
	g.authority("foreign")
	g.client("stranger", "foreign", "Stranger")
	g.client("revoked", "ca", "Revoked-Name")
	g.made("/ca_certificates", "-F", "cert=@"+g.path("ca.crt"), "-F", "tags[]=acme")
	g.made("/ca_certificates", "-F", "cert=@"+g.path("foreign.crt"), "-F", "tags[]=globex")
	if status, answer := g.admin("POST", "/routes/web/plugins", "--data", "name=pre-function", "--data-urlencode", "config.access[]=if then"); status != "400" || !strings.Contains(fmt.Sprint(answer), "access") {
		t.Errorf("broken code: %s %v", status, answer)
	}
	file := filepath.Join(t.TempDir(), "access.lua")
	if err := os.WriteFile(file, []byte(chooseAuthority), 0o600); err != nil {
		t.Fatal(err)
	}
	g.made("/routes/web/plugins", "--data", "name=pre-function", "--data-urlencode", "config.certificate[]=kong.client.tls.request_client_certificate()",
		"--data-urlencode", "config.access[]@"+file)
	const no = "the certificate is not of the authority of"
	g.check("acme", map[string]string{"": "a client certificate is needed", "client": "dn=CN=Client-Name", "stranger": no + " acme", "revoked": "not this one"}, "-H", "X-Tenant: acme")
	g.check("globex", map[string]string{"client": no + " globex", "stranger": "dn=CN=Stranger"}, "-H", "X-Tenant: globex")
	g.check("nobody", map[string]string{"client": "no authority for the tenant none\"} 403"})
}

// TestLuaPluginOfADirectory runs a node with a plugin of its owner's.
func TestLuaPluginOfADirectory(t *testing.T) {
	plat.Need(t, "curl")
	dir, err := filepath.Abs("../internal/service/gateway/plugin/lua/testdata")
	if err != nil {
		t.Fatal(err)
	}
	n := plat.Start(t, plat.Options{Env: []string{"SLUICE_GATE_LUA_PATH=" + dir, "SLUICE_GATE_PLUGINS=bundled,header-adder"}})
	route(n, "web", upstream(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "x-req=", r.Header.Get("X-Req")) }))
	admin := func(args ...string) string {
		return must(t, nil, "curl", append([]string{"-s", n.Endpoints.KongAdmin + "/routes/web/plugins", "--data", "name=header-adder"}, args...)...)
	}
	if got := admin("--data", "config.mark=no"); !strings.Contains(got, "expected one of: !, ?") {
		t.Errorf("bad value: %s", got)
	}
	if got := admin("--data", "config.request_headers.X-Req=yes", "--data", "config.response_headers[1].name=X-Resp"); !strings.Contains(got, `"port":80`) {
		t.Errorf("configured: %s", got)
	}
	if got := must(t, nil, "curl", "-si", n.Endpoints.Proxy+"/web"); !strings.Contains(got, "X-Resp: 1") || !strings.Contains(got, "x-req=yes") {
		t.Errorf("%s", got)
	}
}

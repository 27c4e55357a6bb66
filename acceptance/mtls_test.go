package acceptance_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// pki is a directory with an authority and certificates by openssl, made with the commands
// of the seed.
type pki struct {
	t   *testing.T
	dir string
}

func newPKI(t *testing.T) *pki {
	t.Helper()
	plat.Need(t, "openssl")
	p := &pki{t, t.TempDir()}
	p.authority("ca")
	p.client("client", "ca", "Client-Name")
	return p
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

func (p *pki) openssl(args string) {
	p.t.Helper()
	fields := strings.Fields(args)
	for i, f := range fields {
		if strings.HasSuffix(f, ".key") || strings.HasSuffix(f, ".crt") || strings.HasSuffix(f, ".csr") {
			fields[i] = p.path(f)
		}
	}
	must(p.t, nil, "openssl", fields...)
}

func (p *pki) authority(name string) {
	p.t.Helper()
	p.openssl("genrsa -out " + name + ".key 2048")
	p.openssl("req -x509 -new -nodes -key " + name + ".key -sha256 -days 3650 -out " + name + ".crt -subj /C=US/ST=State/L=City/O=Organization/OU=OrgUnit/CN=Your-CA-Name")
}

func (p *pki) client(name, by, cn string) {
	p.t.Helper()
	p.openssl("genrsa -out " + name + ".key 2048")
	p.openssl("req -new -key " + name + ".key -out " + name + ".csr -subj /C=US/ST=State/L=City/O=Organization/OU=OrgUnit/CN=" + cn)
	p.openssl("x509 -req -in " + name + ".csr -CA " + by + ".crt -CAkey " + by + ".key -CAcreateserial -out " + name + ".crt -days 365 -sha256")
}

// gate is a node with one service and one route to an upstream that tells what it is told
// of the client.
type gate struct {
	t *testing.T
	n *plat.Node
	*pki
}

func newGate(t *testing.T) *gate {
	t.Helper()
	plat.Need(t, "curl")
	g := &gate{t, plat.Start(t, plat.Options{}), newPKI(t)}
	route(g.n, "web", upstream(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "consumer=%s dn=%s", r.Header.Get("X-Consumer-Username"), r.Header.Get("X-Client-Cert-Dn"))
	}))
	return g
}

// admin runs curl against the Admin API and returns the status and the answer.
func (g *gate) admin(method, path string, args ...string) (string, map[string]any) {
	g.t.Helper()
	out := must(g.t, nil, "curl", append([]string{"-s", "-w", "\n%{http_code}", "-X", method, g.n.Endpoints.KongAdmin + path}, args...)...)
	i := strings.LastIndexByte(out, '\n')
	var answer map[string]any
	if out[:i] != "" {
		if err := json.Unmarshal([]byte(out[:i]), &answer); err != nil {
			g.t.Fatalf("%s %s: %s", method, path, out)
		}
	}
	return out[i+1:], answer
}

// made is admin for what must be created.
func (g *gate) made(path string, args ...string) string {
	g.t.Helper()
	status, answer := g.admin("POST", path, args...)
	if status != "201" {
		g.t.Fatalf("POST %s %v: %s %v", path, args, status, answer)
	}
	return answer["id"].(string)
}

// asks sends a request with a client's certificate, none where it is "".
func (g *gate) asks(client string, args ...string) string {
	g.t.Helper()
	if client != "" {
		args = append(args, "--cert", g.path(client+".crt"), "--key", g.path(client+".key"))
	}
	return must(g.t, nil, "curl", append([]string{"-sk", "-w", " %{http_code}", g.n.Endpoints.ProxyTLS + "/web"}, args...)...)
}

func (g *gate) check(when string, want map[string]string, args ...string) {
	g.t.Helper()
	for client, part := range want {
		for _, version := range []string{"--http1.1", "--http2"} {
			if got := g.asks(client, append(args, version)...); !strings.Contains(got, part) {
				g.t.Errorf("%s, certificate %q, %s: %s, want %s", when, client, version, got, part)
			}
		}
	}
}

// TestMutualTLSFirstWalkThrough is the seed's guide from an authority to a test by curl:
// the plugin without any configuration.
func TestMutualTLSFirstWalkThrough(t *testing.T) {
	g := newGate(t)
	g.authority("foreign")
	g.client("stranger", "foreign", "Client-Name")
	// As printed, the name of the file is sent in place of the file.
	status, answer := g.admin("POST", "/ca_certificates", "--data", "cert=@"+g.path("ca.crt"))
	if status != "400" || !strings.Contains(fmt.Sprint(answer["message"]), "-F cert=@file") {
		t.Errorf("%s %v", status, answer)
	}
	ca := g.made("/ca_certificates", "-F", "cert=@"+g.path("ca.crt"))
	open := map[string]string{"": " 200", "client": " 200", "stranger": " 200"}
	guarded := map[string]string{"": "No required TLS certificate was sent", "client": "consumer= dn= 200", "stranger": "TLS certificate failed verification"}
	g.check("before", open)
	for _, scope := range []string{"/services/web/plugins", "/routes/web/plugins"} {
		plugin := g.made(scope, "--data", "name=mtls-auth")
		g.check(scope, guarded)
		if got := must(t, nil, "curl", "-s", "-w", " %{http_code}", g.n.Endpoints.Proxy+"/web"); !strings.Contains(got, "No required TLS certificate was sent") || !strings.HasSuffix(got, " 401") {
			t.Errorf("clear text: %s", got)
		}
		// Step 5: which authorities to trust.
		if status, answer := g.admin("PATCH", "/plugins/"+plugin, "--data", "config.trusted_certificate_ids="+ca); status != "200" {
			t.Errorf("%s %v", status, answer)
		}
		g.check(scope+", by id", guarded)
		g.admin("DELETE", "/plugins/"+plugin)
		g.check(scope+", removed", open)
	}
}

// TestMutualTLSSecondWalkThrough is the seed's other guide: the plugin with the names its
// fields had before, and together with basic-auth.
func TestMutualTLSSecondWalkThrough(t *testing.T) {
	g := newGate(t)
	g.authority("foreign")
	g.client("stranger", "foreign", "Client-Name")
	g.client("other", "ca", "Other-Name")
	ca := g.made("/ca_certificates", "-F", "cert=@"+g.path("ca.crt"))
	g.made("/ca_certificates", "-F", "cert=@"+g.path("foreign.crt"))
	if status, page := g.admin("GET", "/ca_certificates"); status != "200" || len(page["data"].([]any)) != 2 {
		t.Errorf("%s %v", status, page)
	}
	guarded := map[string]string{"": " 401", "client": "consumer= dn= 200", "stranger": " 401"}
	for _, scope := range []string{"/services/web/plugins", "/routes/web/plugins"} {
		plugin := g.made(scope, "--data", "name=mtls-auth", "--data", "config.ca_certificates="+ca, "--data", "config.allow_any_client_cert=true")
		g.check(scope, guarded)
		patch := func(field, value string) {
			t.Helper()
			if status, answer := g.admin("PATCH", "/plugins/"+plugin, "--data-urlencode", "config."+field+"="+value); status != "200" {
				t.Fatalf("%s %v", status, answer)
			}
		}
		patch("pass_client_cert", "true")
		g.check(scope+", passed on", map[string]string{"client": "dn=CN=Client-Name,OU=OrgUnit,O=Organization,L=City,ST=State,C=US 200"})
		patch("pass_client_cert", "false")
		// Kong's own rule: a certificate of the authority that leads to no consumer is refused.
		patch("allow_any_client_cert", "false")
		g.check(scope+", with consumers", map[string]string{"client": " 401"})
		consumer := g.made("/consumers", "--data", "username=Client-Name")
		g.check(scope+", with a consumer", map[string]string{"client": "consumer=Client-Name dn= 200", "other": " 401"})
		g.made("/consumers/Client-Name/mtls-auth", "--data", "subject_name=Other-Name", "--data", "ca_certificate.id="+ca)
		g.check(scope+", mapped", map[string]string{"other": "consumer=Client-Name dn= 200"})
		g.admin("DELETE", "/consumers/"+consumer)
		digest := must(t, nil, "openssl", "x509", "-in", g.path("client.crt"), "-noout", "-fingerprint", "-sha256")
		_, digest, _ = strings.Cut(strings.TrimSpace(digest), "=")
		patch("allowed_client_certificates", digest)
		g.check(scope+", one certificate", map[string]string{"client": " 200", "other": " 401"})
		g.admin("DELETE", "/plugins/"+plugin)
	}
	// Combined usage: both a certificate and a password.
	g.made("/routes/web/plugins", "--data", "name=mtls-auth", "--data", "config.ca_certificates="+ca, "--data", "config.allow_any_client_cert=true")
	g.made("/routes/web/plugins", "--data", "name=basic-auth")
	g.made("/consumers", "--data", "username=alice")
	g.made("/consumers/alice/basic-auth", "--data", "username=alice", "--data", "password=secret")
	g.check("both", map[string]string{"client": "consumer=alice dn= 200", "": "No required TLS certificate", "stranger": "failed verification"}, "-u", "alice:secret")
	g.check("no password", map[string]string{"client": " 401"})
	g.check("wrong password", map[string]string{"client": " 401"}, "-u", "alice:wrong")
}

// TestCertificateFiles uploads a server's certificate as files, finds it by its name in
// handshakes of real clients, and replaces it.
func TestCertificateFiles(t *testing.T) {
	g := newGate(t)
	trusting := func(name string) string {
		t.Helper()
		_, port, _ := strings.Cut(strings.TrimPrefix(g.n.Endpoints.ProxyTLS, "https://"), ":")
		out, err := run(t, nil, "curl", "-s", "-w", " %{http_code}", "--cacert", g.path("ca.crt"), "--resolve", name+":"+port+":127.0.0.1", "https://"+name+":"+port+"/web")
		if err != nil {
			return err.Error()
		}
		return out
	}
	sans := func(name, host string) {
		t.Helper()
		g.openssl("ecparam -name prime256v1 -genkey -noout -out " + name + ".key")
		g.openssl("req -new -x509 -key " + name + ".key -CA ca.crt -CAkey ca.key -days 30 -out " + name + ".crt -subj /CN=" + host + " -addext subjectAltName=DNS:" + host)
	}
	sans("server", "web.example")
	if got := trusting("web.example"); !strings.Contains(got, "exit status 60") {
		t.Errorf("before: %s", got)
	}
	g.made("/certificates", "-F", "cert=@"+g.path("server.crt"), "-F", "key=@"+g.path("server.key"), "-F", "snis[]=web.example")
	if got := trusting("web.example"); !strings.HasSuffix(got, " 200") {
		t.Errorf("uploaded: %s", got)
	}
	sans("next", "next.example")
	status, answer := g.admin("PUT", "/certificates/next.example", "-F", "cert=@"+g.path("next.crt"), "-F", "key=@"+g.path("next.key"))
	if got := trusting("next.example"); status != "200" || !strings.HasSuffix(got, " 200") {
		t.Errorf("put by name: %s %v, %s", status, answer, got)
	}
	if status, answer := g.admin("PATCH", "/certificates/web.example", "-F", "cert=@"+g.path("next.crt")); status != "400" || !strings.Contains(fmt.Sprint(answer), "certificate does not match key") {
		t.Errorf("%s %v", status, answer)
	}
}

// TestDecKCertificates carries authorities, certificates and who uses them in and out by decK.
func TestDecKCertificates(t *testing.T) {
	plat.Need(t, "deck")
	p := newPKI(t)
	n := plat.Start(t, plat.Options{})
	indented := func(file string) string {
		b, err := os.ReadFile(p.path(file))
		if err != nil {
			t.Fatal(err)
		}
		return "    " + strings.ReplaceAll(strings.TrimSpace(string(b)), "\n", "\n    ") + "\n"
	}
	const ca, cert = "8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a11", "8d6e2a1c-52ad-4bd0-8d5e-6d8b6d4f0a12"
	config, dump := p.path("config.yaml"), p.path("dump.yaml")
	if err := os.WriteFile(config, []byte("_format_version: '1.1'\n"+
		"ca_certificates:\n- id: "+ca+"\n  cert: |\n"+indented("ca.crt")+
		"certificates:\n- id: "+cert+"\n  cert: |\n"+indented("client.crt")+"  key: |\n"+indented("client.key")+
		"  snis:\n  - name: a.example\n  - name: '*.b.example'\n"+
		"services:\n- name: s\n  url: https://h/\n  client_certificate: "+cert+"\n"+
		"  plugins:\n  - name: mtls-auth\n    config: {ca_certificates: ["+ca+"]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ want, args string }{
		{"Created: 6", "sync -s " + config}, {"", "dump -o " + dump}, {"Created: 0\n  Updated: 0\n  Deleted: 0", "sync -s " + dump},
		{"", "reset -f"}, {"Created: 6", "sync -s " + dump},
	} {
		if out := must(t, nil, "deck", append(strings.Fields(step.args), "--kong-addr", n.Endpoints.KongAdmin)...); !strings.Contains(out, step.want) {
			t.Errorf("%s: %s", step.args, out)
		}
	}
}

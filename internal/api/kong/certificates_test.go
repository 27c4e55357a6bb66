package kong_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
)

func body(t testing.TB, v map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestCertificateLife(t *testing.T) {
	a, ca := newAdmin(t), gatewaytest.NewAuthority(t, "ca")
	p := ca.Issue(t, "one", gatewaytest.Names("one.example"))
	made := a.must(201, "POST", "/certificates", url.Values{"cert": {p.Cert}, "key": {p.Key}, "snis": {"one.example"}, "tags": {"x"}}.Encode())
	if fmt.Sprint(made["snis"]) != "[one.example]" || made["cert"] != p.Cert || made["key"] != p.Key || made["cert_alt"] != nil {
		t.Errorf("%v", made)
	}
	id := made["id"].(string)
	for _, path := range []string{"/certificates/" + id, "/certificates/one.example"} {
		if got := a.must(200, "GET", path, ""); got["id"] != id || fmt.Sprint(got["snis"]) != "[one.example]" {
			t.Errorf("%s: %v", path, got)
		}
	}
	a.must(201, "POST", "/certificates/one.example/snis", "name=*.one.example")
	if got := a.must(200, "GET", "/certificates/"+id, ""); fmt.Sprint(got["snis"]) != "[*.one.example one.example]" {
		t.Errorf("%v", got)
	}
	// a patch without the list leaves it; with it, names come and go
	if got := a.must(200, "PATCH", "/certificates/"+id, `{"tags":["y"]}`); fmt.Sprint(got["snis"]) != "[*.one.example one.example]" {
		t.Errorf("%v", got)
	}
	if got := a.must(200, "PATCH", "/certificates/one.example", `{"snis":["one.example","b.example"]}`); fmt.Sprint(got["snis"]) != "[b.example one.example]" {
		t.Errorf("%v", got)
	}
	a.must(404, "GET", "/snis/*.one.example", "")
	if sni := a.must(200, "GET", "/snis/b.example", ""); sni["certificate"].(map[string]any)["id"] != id {
		t.Errorf("%v", sni)
	}
	// by a name that there is none of, a certificate is made
	put := a.must(200, "PUT", "/certificates/new.example", body(t, map[string]any{"cert": p.Cert, "key": p.Key}))
	if put["id"] == id || fmt.Sprint(put["snis"]) != "[new.example]" {
		t.Errorf("%v", put)
	}
	other := ca.Issue(t, "two")
	again := a.must(200, "PUT", "/certificates/new.example", body(t, map[string]any{"cert": other.Cert, "key": other.Key}))
	if again["id"] != put["id"] || again["cert"] != other.Cert || fmt.Sprint(again["snis"]) != "[new.example]" || again["created_at"] != put["created_at"] {
		t.Errorf("%v", again)
	}
	// an sni moves by its own entity
	a.must(200, "PATCH", "/snis/b.example", body(t, map[string]any{"certificate": map[string]any{"id": put["id"]}}))
	if got := a.must(200, "GET", "/certificates/new.example", ""); fmt.Sprint(got["snis"]) != "[b.example new.example]" {
		t.Errorf("%v", got)
	}
	a.must(404, "GET", "/snis/b.example/certificate", "")
	a.must(404, "GET", "/certificates/no.example", "")
	a.must(404, "PATCH", "/certificates/no.example", `{}`)
	page := a.must(200, "GET", "/certificates/new.example/snis", "")["data"].([]any)
	list := a.must(200, "GET", "/certificates", "")["data"].([]any)
	if len(page) != 2 || len(list) != 2 || list[0].(map[string]any)["snis"] == nil {
		t.Errorf("%v %v", page, list)
	}
	// what uses it
	a.must(201, "POST", "/services", body(t, map[string]any{"name": "s", "url": "https://h", "client_certificate": map[string]any{"id": id}}))
	if page := a.must(200, "GET", "/certificates/"+id+"/services", "")["data"].([]any); len(page) != 1 {
		t.Errorf("%v", page)
	}
	if got := a.must(200, "GET", "/services/s/client_certificate", ""); got["id"] != id {
		t.Errorf("%v", got)
	}
	if got := a.must(400, "DELETE", "/certificates/"+id, ""); got["code"] != 4.0 || got["message"] != "an existing 'services' entity references this 'certificates' entity" {
		t.Errorf("%v", got)
	}
	a.must(200, "PATCH", "/services/s", `{"client_certificate":null}`)
	a.must(204, "DELETE", "/certificates/"+id, "")
	a.must(404, "GET", "/snis/one.example", "")
	a.must(204, "DELETE", "/certificates/new.example", "")
}

func TestCertificateRefusals(t *testing.T) {
	a, ca := newAdmin(t), gatewaytest.NewAuthority(t, "ca")
	one, two, third := ca.Issue(t, "one"), ca.Issue(t, "two"), ca.IssueRSA(t, "rsa")
	held := a.must(201, "POST", "/certificates", body(t, map[string]any{"cert": one.Cert, "key": one.Key, "snis": []string{"held.example"}}))["id"].(string)
	send := "this is the name of a file, not what is in it; send the file itself, with curl by -F "
	for _, c := range []struct {
		name string
		in   map[string]any
		want string
	}{
		{"nothing", map[string]any{}, "2 schema violations (cert: required field missing; key: required field missing)"},
		{"file name", map[string]any{"cert": "@/path/to/x.crt", "key": "@x.key"}, "2 schema violations (cert: " + send + "cert=@file; key: " + send + "key=@file)"},
		{"no PEM", map[string]any{"cert": "x", "key": "y"}, "2 schema violations (cert: invalid certificate: no PEM block of a certificate; key: invalid key: no PEM block of a private key)"},
		{"other key", map[string]any{"cert": one.Cert, "key": two.Key}, "schema violation (certificate does not match key)"},
		{"half a pair", map[string]any{"cert": one.Cert, "key": one.Key, "cert_alt": third.Cert}, "schema violation (all or none of these fields must be set: 'cert_alt', 'key_alt')"},
		{"other key of the second", map[string]any{"cert": one.Cert, "key": one.Key, "cert_alt": third.Cert, "key_alt": two.Key}, "schema violation (alternative certificate does not match key)"},
		{"same type", map[string]any{"cert": one.Cert, "key": one.Key, "cert_alt": two.Cert, "key_alt": two.Key}, "schema violation (certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided certificates were both of the same type)"},
		{"name twice", map[string]any{"cert": one.Cert, "key": one.Key, "snis": []string{"a", "a"}}, "schema violation (snis: a is duplicated)"},
		{"name held", map[string]any{"cert": one.Cert, "key": one.Key, "snis": []string{"held.example"}}, "schema violation (snis: held.example already associated with existing certificate '" + held + "')"},
		{"no name", map[string]any{"cert": one.Cert, "key": one.Key, "snis": []string{"a:1", "10.0.0.1", "*.*.x", "a.*.b", "ok"}}, "4 schema violations (snis.1: must not have a port; snis.2: must not be an IP; snis.3: invalid wildcard: must have at most one wildcard; snis.4: invalid wildcard: must be placed at leftmost or rightmost label)"},
	} {
		if got := a.must(400, "POST", "/certificates", body(t, c.in)); got["message"] != c.want || strings.Contains(fmt.Sprint(got), "PRIVATE") {
			t.Errorf("%s: %v\nwant %s", c.name, got, c.want)
		}
	}
	if n := len(a.must(200, "GET", "/certificates", "")["data"].([]any)); n != 1 {
		t.Errorf("%d certificates are left", n)
	}
	a.must(201, "POST", "/certificates", body(t, map[string]any{"cert": one.Cert, "key": one.Key, "cert_alt": third.Cert, "key_alt": third.Key}))
}

func TestAuthorities(t *testing.T) {
	a, ca := newAdmin(t), gatewaytest.NewAuthority(t, "ca")
	leaf := ca.Issue(t, "leaf")
	old := ca.Issue(t, "old", func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.NotBefore, c.NotAfter = true, true, time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	})
	var buf bytes.Buffer
	m := multipart.NewWriter(&buf)
	file, _ := m.CreateFormFile("cert", "ca.crt")
	fmt.Fprint(file, ca.Cert)
	m.Close()
	status, made, _ := a.do("POST", "/ca_certificates", buf.String(), "Content-Type", m.FormDataContentType())
	sum := sha256.Sum256(ca.Leaf.Raw)
	if status != http.StatusCreated || made["cert_digest"] != hex.EncodeToString(sum[:]) {
		t.Fatalf("%d %v", status, made)
	}
	for cert, want := range map[string]string{
		"@/path/to/ca.crt":  "schema violation (cert: this is the name of a file, not what is in it; send the file itself, with curl by -F cert=@file)",
		leaf.Cert:           `schema violation (certificate does not appear to be a CA because it is missing the "CA" basic constraint)`,
		old.Cert:            `schema violation (certificate expired, "Not After" time is in the past)`,
		ca.Cert + leaf.Cert: "schema violation (please submit only one certificate at a time)",
	} {
		if got := a.must(400, "POST", "/ca_certificates", url.Values{"cert": {cert}}.Encode()); got["message"] != want {
			t.Errorf("%v, want %s", got, want)
		}
	}
	if got := a.must(409, "POST", "/ca_certificates", url.Values{"cert": {ca.Cert}}.Encode()); got["code"] != 5.0 || !strings.Contains(got["message"].(string), "cert_digest=") {
		t.Errorf("%v", got)
	}
	id := made["id"].(string)
	a.must(201, "POST", "/services", body(t, map[string]any{"name": "s", "url": "https://h", "tls_verify": true, "tls_verify_depth": 1, "ca_certificates": []any{id}}))
	if got := a.must(400, "DELETE", "/ca_certificates/"+id, ""); got["code"] != 19.0 || got["message"] != "ca certificate "+id+" is still referenced by services" {
		t.Errorf("%v", got)
	}
	a.must(204, "DELETE", "/services/s", "")
	a.must(204, "DELETE", "/ca_certificates/"+id, "")
}

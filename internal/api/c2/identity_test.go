package c2_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/api/c2"
	"sluice.dev/sluice/internal/service/edge"
)

// enrolled is a client with the certificate that a token gives.
func (n *node) enrolled(token string) (*http.Client, reply) {
	n.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.Fatal(err)
	}
	r := n.send(n.Client(), "POST", "/efm/api/agent-deployer/enroll", strings.NewReader(text(map[string]string{"token": token, "csr": request(n, key)})), "Content-Type", "application/json")
	var c struct{ Certificate string }
	if r.status != 200 || json.Unmarshal(r.body, &c) != nil {
		return nil, r
	}
	block, _ := pem.Decode([]byte(c.Certificate))
	plain := n.Client().Transport.(*http.Transport)
	conf := plain.TLSClientConfig.Clone()
	conf.Certificates = []tls.Certificate{{Certificate: [][]byte{block.Bytes}, PrivateKey: key}}
	own := &http.Transport{TLSClientConfig: conf}
	n.Cleanup(own.CloseIdleConnections)
	return &http.Client{Transport: own}, r
}

func request(n *node, key *ecdsa.PrivateKey) string {
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		n.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}))
}

// An agent's certificate is good for what is its own and its class's, and for nothing else.
func TestIdentities(t *testing.T) {
	n := start(t, "", "alone", true, edge.Config{RequireCertificate: true}, c2.Config{})
	root, d := as(t, "root"), dialects[0]
	token := func(class, agent string) string {
		t.Helper()
		k, err := n.edge.NewToken(root, class, agent, 0)
		if err != nil {
			t.Fatal(err)
		}
		return k.Text
	}
	used := token("pumps", "a")
	a, _ := n.enrolled(used)
	b, _ := n.enrolled(token("pumps", "b"))
	v, _ := n.enrolled(token("valves", "v"))
	post := func(c *http.Client, path, body string) reply {
		t.Helper()
		return n.send(c, "POST", "/efm/api/c2-protocol"+path, strings.NewReader(body), "Content-Type", "application/json")
	}
	for c, m := range map[*http.Client]machine{a: {id: "a", class: "pumps"}, b: {id: "b", class: "pumps"}, v: {id: "v", class: "valves"}} {
		m.hash, m.manifest = "h", d.manifest
		n.taken(post(c, "/heartbeat", d.beat(m)))
	}
	file, err := n.edge.AddResource(root, edge.Resource{Name: "pumps only", Type: edge.Asset}, strings.NewReader("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.edge.UpdateClass(root, "pumps", edge.ClassChange{Resources: &[]string{file.ID}}); err != nil {
		t.Fatal(err)
	}
	info, err := n.edge.FlowOf(root, "pumps")
	if err != nil {
		t.Fatal(err)
	}
	version, _, err := n.edge.Publish(root, info.ID, "", edge.Plan{})
	if err != nil {
		t.Fatal(err)
	}
	order, err := n.edge.Order(root, edge.Request{Operation: "TRANSFER", Operand: "debug", Agent: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var debug, op string
	for _, o := range n.taken(post(a, "/heartbeat", d.beat(machine{id: "a", class: "pumps", hash: "h"}))).Requested {
		if o.Operation == "TRANSFER" {
			debug, op = "/efm/api"+o.Args["relativeTarget"].(string), o.Identifier
		}
	}
	get := func(c *http.Client, path string) reply { return n.send(c, "GET", path, nil) }
	bundle := func(c *http.Client, path string) reply {
		return n.send(c, "POST", path, form("b"), "Content-Type", "multipart/form-data; boundary=b")
	}
	flow, resource := "/efm/api/c2-protocol/flows/"+version.ID, "/efm/api/c2-protocol/resources/"+file.ID
	for name, c := range map[string]struct {
		got    reply
		status int
		field  string
	}{
		"no certificate":                  {post(n.Client(), "/heartbeat", d.beat(machine{id: "a", class: "pumps"})), 401, ""},
		"no certificate, acknowledging":   {post(n.Client(), "/acknowledge", d.ack(op, "FULLY_APPLIED", "")), 401, ""},
		"no certificate, fetching":        {get(n.Client(), flow), 401, ""},
		"no certificate, fetching a file": {get(n.Client(), resource), 401, ""},
		"reporting for another":           {post(a, "/heartbeat", d.beat(machine{id: "b", class: "pumps"})), 403, "agentInfo.identifier"},
		"reporting for another class":     {post(a, "/heartbeat", d.beat(machine{id: "a", class: "valves"})), 403, "agentInfo.agentClass"},
		"acknowledging another's":         {post(b, "/acknowledge", d.ack(op, "FULLY_APPLIED", "")), 404, "operationId"},
		"acknowledging in another's name": {post(b, "/acknowledge", d.ack(op, "FULLY_APPLIED", machine{id: "a", class: "pumps"}.agentInfo())), 403, "agentInfo.identifier"},
		"acknowledging, C++":              {post(b, "/acknowledge", dialects[1].ack(op, "FULLY_APPLIED", "")), 404, "operationId"},
		"another's flow":                  {get(b, flow+"?aid=a"), 403, "agentInfo.identifier"},
		"another class's flow":            {get(v, flow+"?aid=v"), 403, "aid"},
		"another class's flow, nameless":  {get(v, flow), 403, "aid"},
		"another class's file":            {get(v, resource+"?aid=v"), 403, "aid"},
		"another class's file, nameless":  {get(v, resource), 403, "aid"},
		"another's file":                  {get(v, resource+"?aid=a"), 403, "agentInfo.identifier"},
		"another's bundle":                {bundle(b, debug), 403, "agentInfo.identifier"},
		"another's bundle, as its own":    {bundle(b, strings.ReplaceAll(debug, "aid=a", "aid=b")), 403, "aid"},
		"another's bundle, nameless":      {bundle(b, strings.Split(debug, "?")[0]), 403, "aid"},
		"a used token":                    {second(n.enrolled(used)), 401, ""},
		"an invented token":               {second(n.enrolled("x")), 401, ""},
		"renewing without a certificate":  {n.send(n.Client(), "POST", "/efm/api/agent-deployer/renew", strings.NewReader(`{"csr":""}`)), 401, ""},
		"its own flow":                    {get(a, flow+"?aid=a"), 200, ""},
		"its own flow, nameless":          {get(a, flow), 200, ""},
		"its class's file":                {get(b, resource+"?aid=b"), 200, ""},
		"its own bundle":                  {bundle(a, debug), 200, ""},
		"its own operation":               {post(a, "/acknowledge", dialects[1].ack(op, "FULLY_APPLIED", "")), 200, ""},
	} {
		if c.got.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, c.got.status, c.got.body, c.status)
			continue
		}
		if c.status != 200 {
			if f := c.got.failure(t); f.Error.Field != c.field || bytes.Contains(c.got.body, []byte("secret")) {
				t.Errorf("%s: %s, want the field %q", name, c.got.body, c.field)
			}
		}
	}
	states(t, n, order.Number, edge.Done)

	// A certificate is renewed for the same agent and class, and a token moves it.
	key, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	r := n.send(a, "POST", "/efm/api/agent-deployer/renew", strings.NewReader(text(map[string]string{"csr": request(n, key)})), "Content-Type", "application/json")
	var c edge.Certificate
	if r.status != 200 || json.Unmarshal(r.body, &c) != nil || c.Agent != "a" || c.Class != "pumps" {
		t.Errorf("%d %s", r.status, r.body)
	}
	moved, _ := n.enrolled(token("valves", "a"))
	n.taken(post(moved, "/heartbeat", d.beat(machine{id: "a", class: "valves", hash: "h"})))

	// Rights on one class do not reach an agent of another.
	if _, err := n.edge.NewToken(as(t, string(edge.Admin)+" class/pumps"), "pumps", "v", 0); err == nil {
		t.Error("who manages pumps gets a token for the agent of another class")
	}
	if _, err := n.edge.NewToken(as(t, string(edge.Admin)+" class/pumps"), "pumps", "b", 0); err != nil {
		t.Error(err)
	}
	if _, err := n.edge.NewToken(as(t, string(edge.Operate)+" class/pumps"), "pumps", "b", 0); err == nil {
		t.Error("who operates may enrol")
	}
	if u, _ := url.Parse(debug); u.Query().Get("aid") != "a" {
		t.Error(debug)
	}
}

func second(_ *http.Client, r reply) reply { return r }

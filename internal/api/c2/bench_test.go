package c2_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/c2"
	"sluice.dev/sluice/internal/api/console"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/store"
	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/edgetest"
)

func as(t testing.TB, user string) context.Context {
	return caller.With(t.Context(), caller.Identity{Root: user == "root", UserName: user, ARN: user})
}

// authority issues certificates of agents as a node does.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{key, cert}
}

func (a *authority) IssueAgent(key any, agent, class string, until time.Time) (cert, ca []byte, err error) {
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(2), NotAfter: until,
		Subject: pkix.Name{CommonName: agent, OrganizationalUnit: []string{class}}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a.cert, key, a.key)
	text := func(der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}) }
	return text(der), text(a.cert.Raw), err
}

func (a *authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// provedHeader stands, over plain HTTP, for a certificate of another authority that was verified.
const provedHeader = "Test-Proved"

// peer is the agent that shows a certificate of the authority's.
func (a *authority) peer(r *http.Request) edge.Peer {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return edge.Peer{Proved: r.Header.Get(provedHeader) != ""}
	}
	c := r.TLS.PeerCertificates[0]
	if _, err := c.Verify(x509.VerifyOptions{Roots: a.Roots(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return edge.Peer{}
	}
	return edge.Peer{Agent: c.Subject.CommonName, Class: c.Subject.OrganizationalUnit[0]}
}

// node is a node as its agents see it.
type node struct {
	testing.TB
	*httptest.Server
	edge *edge.Service
	ca   *authority
	url  string // of the database
}

// start runs the front, over a database and with TLS or without.
func start(t testing.TB, url, who string, secure bool, cfg edge.Config, front c2.Config) *node {
	t.Helper()
	if url == "" {
		url = "sqlite://" + filepath.Join(t.TempDir(), "control.db")
	}
	log := slog.New(slog.DiscardHandler)
	st, err := store.Open(t.Context(), store.Config{URL: url, Key: [32]byte{1}, Poll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	keeper, err := lease.New(t.Context(), lease.Config{Node: who, Owner: who}, lease.Deps{Store: st, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Node = who
	n := &node{TB: t, ca: newAuthority(t), url: url}
	n.edge = edge.New(cfg, edge.Deps{Store: st, Auth: edgetest.Rights{}, Leases: keeper, Clock: clock.System{}, Authority: n.ca, Log: log})
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, run := range []func(context.Context) error{st.Run, keeper.Run, n.edge.Run} {
		all.Go(func() { _ = run(ctx) })
	}
	t.Cleanup(func() {
		cancel()
		all.Wait()
		_ = keeper.Close(context.Background())
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	front.Context = "/efm"
	n.Server = httptest.NewUnstartedServer(c2.New(front, c2.Deps{Edge: n.edge, Log: log, Agent: n.ca.peer,
		Fail: func(w http.ResponseWriter, err error) { console.WriteError(w, log, err) }}))
	if secure {
		n.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
		n.StartTLS()
	} else {
		n.Start()
	}
	t.Cleanup(n.Close)
	return n
}

func alone(t testing.TB) *node { return start(t, "", "alone", false, edge.Config{}, c2.Config{}) }

// reply is an answer of the front.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// answer is what a heartbeat is answered with.
type answer struct {
	Requested []struct {
		Identifier, Operation, Operand string
		Args                           map[string]any
	} `json:"requestedOperations"`
}

// failure is what the front says of what it does not do.
type failure struct {
	Error struct{ Reason, Field, Message string }
}

func (r reply) failure(t testing.TB) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal(r.body, &f); err != nil || f.Error.Reason == "" || f.Error.Message == "" || r.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s %s is no failure of the front's (%v)", r.status, r.header, r.body, err)
	}
	return f
}

// send sends a request with any client.
func (n *node) send(c *http.Client, method, path string, body io.Reader, header ...string) reply {
	n.Helper()
	if !strings.HasPrefix(path, "http") {
		path = n.URL + path
	}
	r, err := http.NewRequestWithContext(n.Context(), method, path, body)
	if err != nil {
		n.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		n.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		n.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, text}
}

func (n *node) post(path, body string) reply {
	n.Helper()
	return n.send(n.Client(), "POST", "/efm/api/c2-protocol"+path, strings.NewReader(body), "Content-Type", "application/json")
}

// beat sends a heartbeat that must be taken.
func (n *node) beat(body string) answer {
	n.Helper()
	return n.taken(n.post("/heartbeat", body))
}

func (n *node) taken(r reply) (a answer) {
	n.Helper()
	if r.status != 200 || json.Unmarshal(r.body, &a) != nil || a.Requested == nil {
		n.Fatalf("%d %s", r.status, r.body)
	}
	return a
}

func packed(s string) *bytes.Buffer {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write([]byte(s)) // to memory
	_ = z.Close()
	return &b
}

// dialect is how agents of a kind speak.
type dialect struct {
	name, manifest string
	beat           func(m machine) string
	ack            func(operation, state, agentInfo string) string
	flow           string // media type
}

// machine is what an agent says of itself.
type machine struct {
	id, class, hash, manifest, flow, resources string
	created                                    int64
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// agentInfo is that part of a report; light ones have no manifest.
func (m machine) agentInfo() string {
	full := ""
	if m.manifest != "" {
		full = `,"agentManifest":` + m.manifest
	}
	return `{"identifier":` + text(m.id) + `,"agentClass":` + text(m.class) + `,"agentManifestHash":` + text(m.hash) + full + `,"status":{"uptime":5}}`
}

// The two dialects, with what C2ClientService of MiNiFi Java and HeartbeatJsonSerializer of
// MiNiFi C++ write: Java leaves out what it does not know, and C++ repeats the operation's id
// as its acknowledgement's identifier, says "null" where it has no resources, and -1 where it
// counts nothing.
var dialects = []dialect{{
	name: "java", manifest: string(edgetest.Manifest("java")), flow: "application/json",
	beat: func(m machine) string {
		rest := ""
		if m.created != 0 {
			rest = `,"created":` + text(m.created)
		}
		if m.resources != "" {
			rest += `,"resourceInfo":{"hash":` + text(m.resources) + `}`
		}
		if m.flow != "" {
			rest += `,"flowInfo":{"flowId":` + text(m.flow) + `,"runStatus":"RUNNING","queues":{"c":{"size":0,"sizeMax":10000,"dataSize":0,"dataSizeMax":1073741824}},"processorBulletins":[],` +
				`"processorStatuses":[{"id":"p","groupId":"g","bytesRead":1,"activeThreadCount":1,"runStatus":"RUNNING"}]}`
		}
		return `{"identifier":"` + "beat" + `"` + rest + `,"deviceInfo":{"identifier":"0a:1b","systemInfo":{"machineArch":"amd64","operatingSystem":"Linux","physicalMem":1,"vCores":2},"networkInfo":{"deviceId":"eth0","hostname":"pump","ipAddress":"10.0.0.9"}},"agentInfo":` + m.agentInfo() + `}`
	},
	ack: func(op, state, info string) string {
		if info != "" {
			info = `,"agentInfo":` + info
		}
		return `{"operationId":"` + op + `","operationState":{"state":"` + state + `","details":"done"}` + info + `}`
	},
}, {
	name: "cpp", manifest: string(edgetest.Manifest("cpp")), flow: "text/yml",
	beat: func(m machine) string {
		hash, flow := "null", ""
		if m.resources != "" {
			hash = m.resources
		}
		if m.flow != "" {
			flow = `"flowInfo": {"flowId": ` + text(m.flow) + `, "runStatus": "RUNNING", "versionedFlowSnapshotURI": {"registryUrl": "", "bucketId": "default", "flowId": ` + text(m.flow) + `},
				"queues": {"c": {"size": 0, "uuid": "c", "name": "x"}}, "processorStatuses": [{"id": "p", "activeThreadCount": -1, "terminatedThreadCount": -1}]},`
		}
		return "{\n  \"operation\": \"heartbeat\",\n" + `
			"deviceInfo": {"identifier": "12345", "systemInfo": {"machineArch": "x86_64", "operatingSystem": "Linux", "cpuUtilization": -1.0}, "networkInfo": {"deviceId": "67", "hostname": "pump", "ipAddress": "10.0.0.9"}},
			` + flow + `
			"resourceInfo": {"hash": "` + hash + `"},
			"agentInfo": ` + m.agentInfo() + `}`
	},
	ack: func(op, state, info string) string {
		if info != "" {
			info = `, "agentInfo": ` + info
		}
		return `{"operation": "acknowledge", "operationId": "` + op + `", "operationState": {"state": "` + state + `", "details": ""}, "identifier": "` + op + `"` + info + `}`
	},
}}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

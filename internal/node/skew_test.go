package node_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	crand "crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/handout"
	"sluice.dev/sluice/internal/base/lease"
	"sluice.dev/sluice/internal/base/store/dbtest"
	"sluice.dev/sluice/internal/node"
)

// skewed is a clock that goes wrong by a time.
type skewed time.Duration

func (s skewed) Now() time.Time { return time.Now().Add(time.Duration(s)) }

// member is a node of a cluster within the test's process.
type member struct {
	t         *testing.T
	name      string
	endpoints handout.Endpoints
	id, key   string // root's
	end       func() // has it stop, and waits for it
}

// begin runs a node in the test's process until it is ready, or has ended; the error is why it
// ended. The end of a node has it stop, and returns how it did, however often it is asked.
func begin(t *testing.T, data string, by clock.Clock, environ []string) (at handout.Endpoints, end func() error, err error) {
	t.Helper()
	c := node.Defaults()
	c.Data = data
	if err := config.Load(c, "", environ); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan handout.Endpoints, 1), make(chan error, 1)
	go func() {
		ended <- node.RunAt(ctx, c, by, io.Discard, func(e handout.Endpoints) { ready <- e })
	}()
	end = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	select {
	case at = <-ready:
		return at, end, nil
	case err := <-ended:
		cancel()
		return at, nil, err
	}
}

// startMember starts a node by a clock of its own.
func startMember(t *testing.T, name string, by time.Duration, environ []string) *member {
	t.Helper()
	data := t.TempDir()
	at, end, err := begin(t, data, skewed(by), append(environ, "SLUICE_CLUSTER_NODE="+name))
	if err != nil {
		t.Fatalf("node %s: %v", name, err)
	}
	m := &member{t: t, name: name, endpoints: at, end: func() {
		if err := end(); err != nil {
			t.Errorf("node %s ended: %v", name, err)
		}
	}}
	t.Cleanup(m.end)
	_, root, err := handout.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	m.id, m.key = root.ID, root.Secret
	return m
}

// call sends a request as root, with a form or a body of JSON if there is one, and decodes the
// answer into out if that is not nil.
func (m *member) call(method, to string, in, out any) error {
	var body []byte
	media := "application/json"
	switch in := in.(type) {
	case nil:
	case url.Values:
		body, media = []byte(in.Encode()), "application/x-www-form-urlencoded"
	default:
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	req, err := http.NewRequest(method, to, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.SetBasicAuth(m.id, m.key)
	req.Header.Set("Content-Type", media)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s at %s: %s: %.300s", method, to, m.name, resp.Status, raw)
	}
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// leader is the node that a member takes for the holder of the lease of rollouts, and its token.
func (m *member) leader() (lease.Holding, error) {
	var st struct{ Leases []lease.Holding }
	if err := m.call("GET", m.endpoints.Console+"/api/v1/cluster", nil, &st); err != nil {
		return lease.Holding{}, err
	}
	for _, l := range st.Leases {
		if l.Name == "edge rollouts" {
			return l, nil
		}
	}
	return lease.Holding{}, errors.New("nobody leads")
}

// beat is an agent's heartbeat to a member.
func (m *member) beat(agent string) error {
	return m.call("POST", m.endpoints.Console+"/efm/api/c2-protocol/heartbeat", map[string]any{"operation": "heartbeat",
		"agentInfo": map[string]any{"identifier": agent, "agentClass": "pumps"}}, nil)
}

// presence is what a member says of an agent.
func (m *member) presence(agent string) (string, error) {
	var report struct{ Presence string }
	err := m.call("GET", m.endpoints.Console+"/efm/api/agents/"+agent, nil, &report)
	return report.Presence, err
}

// until waits until something is true.
func until(t *testing.T, what string, within time.Duration, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s did not come true: %v", what, err)
}

// Nodes whose clocks are a minute fast, right and a minute slow are a cluster like any other:
// what is held for a time is held by the database's clock.
func TestClocksAMinuteApart(t *testing.T) {
	var bases []int
	var hosts []string
	for range 3 {
		bases = append(bases, freePorts(t, bases))
		hosts = append(hosts, fmt.Sprintf("127.0.0.1[%d]", bases[len(bases)-1]+8))
	}
	database := dbtest.Postgres(t).URL
	var all []*member
	for i, by := range []time.Duration{time.Minute, 0, -time.Minute} {
		all = append(all, startMember(t, string(rune('a'+i)), by, []string{
			"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_DISCOVERY=tcp-fixed", "SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","), fmt.Sprint("SLUICE_PORT_BASE=", bases[i]),
			"SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret", "SLUICE_EDGE_MAX_HEARTBEAT_INTERVAL=3s",
		}))
	}
	// What is changed on one is seen on all.
	for _, m := range all {
		if err := m.call("POST", m.endpoints.KongAdmin+"/services", url.Values{"name": {"of-" + m.name}, "url": {"http://127.0.0.1:9"}}, nil); err != nil {
			t.Fatal(err)
		}
		for _, other := range all {
			until(t, "the change is seen", 5*time.Second, func() error { return other.call("GET", other.endpoints.KongAdmin+"/services/of-"+m.name, nil, nil) })
		}
	}
	// An agent that beats is there for all of them, whichever it beats to, and one that does
	// not is missed. Meanwhile nobody takes a lease from who holds it.
	var before lease.Holding
	until(t, "a node leads", 10*time.Second, func() (err error) { before, err = all[1].leader(); return err })
	if err := all[0].beat("silent"); err != nil {
		t.Fatal(err)
	}
	turn := 0
	until(t, "the silent agent is missed", 30*time.Second, func() error {
		if err := all[turn%3].beat("lively"); err != nil {
			t.Fatal(err)
		}
		turn++
		for _, m := range all {
			if is, err := m.presence("lively"); turn > 20 && (err != nil || is != "ONLINE") {
				t.Fatalf("%s says that the agent is %s, %v", m.name, is, err)
			}
			if now, err := m.leader(); err != nil || now.Token != before.Token {
				t.Fatalf("%s says that %+v leads, not %+v; %v", m.name, now, before, err)
			}
		}
		for _, m := range all {
			if is, err := m.presence("silent"); err != nil || is != "MISSING" {
				return fmt.Errorf("%s says that it is %s, %w", m.name, is, err)
			}
		}
		return nil
	})
	// A token of the slowest is good at the fastest.
	var token struct{ Token string }
	if err := all[2].call("POST", all[2].endpoints.Console+"/efm/api/agent-deployer/generateCommand", map[string]any{"agentClass": "pumps", "expiresIn": 60}, &token); err != nil {
		t.Fatal(err)
	}
	err := all[0].call("POST", all[0].endpoints.Console+"/efm/api/agent-deployer/enroll", map[string]any{"token": token.Token, "csr": request(t)}, nil)
	if err != nil {
		t.Error(err)
	}
	// The leases of one that ends go to another.
	var left []*member
	for _, m := range all {
		if m.name == before.Node {
			m.end()
		} else {
			left = append(left, m)
		}
	}
	ended := time.Now()
	until(t, "another leads", 10*time.Second, func() error {
		for _, m := range left {
			if now, err := m.leader(); err != nil || now.Node == before.Node || now.Token <= before.Token {
				return fmt.Errorf("%s says that %+v leads, %w", m.name, now, err)
			}
		}
		return nil
	})
	if took := time.Since(ended); took > 5*time.Second {
		t.Errorf("the lease moved after %s", took)
	}
}

// freePorts finds ten ports in a row that nobody listens on, but for those that were found.
func freePorts(t *testing.T, found []int) int {
	t.Helper()
search:
	for range 200 {
		base := 20_000 + 10*rand.IntN(1200) // below the range that outgoing connections use
		if slices.Contains(found, base) {
			continue
		}
		for port := base; port < base+10; port++ {
			ln, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
			if err != nil {
				continue search
			}
			_ = ln.Close() // only asked
		}
		return base
	}
	t.Fatal("no ten free ports in a row")
	return 0
}

// request is a request for a certificate.
func request(t *testing.T) string {
	t.Helper()
	_, key, err := ed25519.GenerateKey(crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(crand.Reader, new(x509.CertificateRequest), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

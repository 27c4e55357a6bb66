package acceptance_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// efmFile writes an efm.properties as the documentation of Edge Flow Manager prints it, with
// the addresses of a node and a database of the test's, and more lines.
func efmFile(t *testing.T, address, database string, more ...string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	path := filepath.Join(t.TempDir(), "efm.properties")
	text := fmt.Sprintf(`# Web Server Properties
# address: the hostname or ip address of the interface to bind to; to bind to all, use 0.0.0.0
efm.server.address=%s
efm.server.port=10090
efm.server.servlet.contextPath=/efm
efm.cluster.enabled=true
# Database Properties
efm.db.url=jdbc:mysql://%s%s
efm.db.driverClass=com.mysql.cj.jdbc.Driver
efm.db.username=%s
efm.db.password=%s
efm.db.maxConnections=50
efm.db.sqlDebug=false
efm.encryption.password=efmPassword
%s
`, address, u.Host, u.Path, u.User.Username(), password, strings.Join(more, "\n"))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// forward lets hosts reach a server of the test's own machine that listens on loopback, and
// returns its URL as they see it.
func forward(t *testing.T, lan *plat.Lan, database string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", lan.Outside+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	to := u.Host
	go func() {
		for {
			from, err := ln.Accept()
			if err != nil {
				return
			}
			go pipe(from, to)
		}
	}()
	u.Host = ln.Addr().String()
	return u.String()
}

// pipe copies both ways until either ends.
func pipe(from net.Conn, address string) {
	defer func() { _ = from.Close() }() // it is over
	to, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer func() { _ = to.Close() }() // it is over
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // whichever way it ends
			ended <- struct{}{}
		}()
	}
	<-ended
}

// knowEachOther waits until every node is connected with all others.
func knowEachOther(t *testing.T, nodes ...*plat.Node) {
	t.Helper()
	plat.Until(t, "every node knows all others", func() error {
		for i, n := range nodes {
			out, err := plat.Command(nil, "cluster", "status", "--json", "--data", n.Dir).Output()
			if ee := new(exec.ExitError); err != nil && !(errors.As(err, &ee) && ee.ExitCode() == 2) {
				return err
			}
			var s struct{ Nodes map[string]int }
			if err := json.Unmarshal(out, &s); err != nil {
				return err
			}
			if s.Nodes["up"] != len(nodes) {
				return fmt.Errorf("node %d sees %v", i, s.Nodes)
			}
			if met := strings.Count(n.LogText(), "a node is connected"); met < len(nodes)-1 {
				return fmt.Errorf("node %d has met %d", i, met)
			}
		}
		return nil
	})
}

// actuator asks a node's console port.
func actuator(t *testing.T, n *plat.Node, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequest("GET", n.Endpoints.Console+"/efm/actuator/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if path == "prometheus" { // from another machine it is for operators
		awswire.Signer{AccessKeyID: n.Root.ID, Secret: n.Root.Secret, Region: plat.Region, Service: "cluster"}.Sign(req, nil, time.Now())
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestThreeHostsFindEachOtherByMulticast(t *testing.T) {
	lan := plat.Hosts(t, 4)
	database := forward(t, lan, dbtest.MariaDB(t).URL)
	var nodes []*plat.Node
	for _, h := range lan.Hosts[:3] {
		nodes = append(nodes, plat.Start(t, plat.Options{Host: h, Config: efmFile(t, h.Address, database)}))
	}
	knowEachOther(t, nodes...)
	for _, n := range nodes {
		if !strings.Contains(n.LogText(), "starting the cluster's channel `efm` with stack `tcp`") {
			t.Error("the log does not tell of the channel efm")
		}
		if code, body := actuator(t, n, "health"); code != 200 || !strings.HasPrefix(body, `{"status":"UP","components":{"`) || !strings.Contains(body, `"db":{"status":"UP"}`) {
			t.Errorf("health: %d %s", code, body)
		}
		if code, body := actuator(t, n, "prometheus"); code != 200 || !strings.Contains(body, "go_goroutines") {
			t.Errorf("metrics: %d %.200s", code, body)
		}
	}
	t.Run("a node that is drained is down", func(t *testing.T) {
		if out, err := plat.Command(nil, "node", "drain", lan.Hosts[0].Address, "--data", nodes[0].Dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		plat.Until(t, "its health is DOWN", func() error {
			if code, body := actuator(t, nodes[0], "health"); code != 503 || !strings.HasPrefix(body, `{"status":"DOWN"`) {
				return fmt.Errorf("%d %s", code, body)
			}
			return nil
		})
	})
	// A joiner that does not fit ends, and says why.
	other := forward(t, lan, dbtest.MariaDB(t).URL)
	h := lan.Hosts[3]
	for name, test := range map[string]struct {
		file, want string
	}{
		"one key":      {efmFile(t, h.Address, database, "efm.monitor.maxHeartbeatInterval=7m"), "edge.max_heartbeat_interval"},
		"the database": {efmFile(t, h.Address, other), "store.url"},
		"H2":           {efmFile(t, h.Address, database, "efm.db.url=jdbc:h2:./efm", "efm.db.driverClass=org.h2.Driver"), "efm.db.url is an H2 database"},
		"a list of two": {efmFile(t, h.Address, database, "efm.infinispan.environment=tcp-fixed",
			"efm.infinispan.jgroups[tcpping.initial_hosts]=10.0.0.1[7800],10.0.0.2[7800]"), "a cluster of two nodes is not supported"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := h.Run(plat.Command(nil, "serve", "--data", t.TempDir(), "--config", test.file))
			stuck := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
			out, err := cmd.CombinedOutput()
			stuck.Stop()
			if ee := new(exec.ExitError); !errors.As(err, &ee) || ee.ExitCode() != 1 || !strings.Contains(string(out), test.want) {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func TestAFixedListOnOneHost(t *testing.T) {
	lan := plat.Hosts(t, 1)
	database := forward(t, lan, dbtest.MariaDB(t).URL)
	var nodes []*plat.Node
	for i := range 3 {
		var env []string
		for j, port := range []string{"PROXY", "PROXY_TLS", "KONG_ADMIN", "AWS", "SQL", "STATUS"} {
			env = append(env, fmt.Sprintf("SLUICE_PORTS_%s=%d", port, 20000+10*i+j))
		}
		file := efmFile(t, "localhost", database, "efm.cluster.address=localhost", fmt.Sprintf("efm.server.port=%d", 10090+i), "efm.infinispan.environment=tcp-fixed",
			"efm.infinispan.jgroups[tcpping.initial_hosts]=localhost[7801],localhost[7802],localhost[7803]", fmt.Sprintf("efm.infinispan.jgroups[bind.port.jgroups.tcp.port]=%d", 7801+i))
		nodes = append(nodes, plat.Start(t, plat.Options{Host: lan.Hosts[0], Config: file, Env: env}))
	}
	for i, n := range nodes {
		plat.Until(t, "every node knows the others", func() error {
			for j := range nodes {
				if other := fmt.Sprintf("localhost-%d", 7801+j); j != i && !strings.Contains(n.LogText(), other) {
					return fmt.Errorf("node %d has not met %s", i, other)
				}
			}
			return nil
		})
	}
}

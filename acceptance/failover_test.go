package acceptance_test

import (
	"context"
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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

const clusterToken = "cluster-admin-token"

// site is three nodes on hosts of their own, their database, and a load balancer in front.
type site struct {
	t        *testing.T
	lan      *plat.Lan
	nodes    []*plat.Node
	database *plat.Relay
	proxy    string // the load balancer's addresses
	admin    string
}

// newSite starts a site whose database is reached at a relay; at is its address beside the
// test, and its URL there.
func newSite(t *testing.T, server *dbtest.Server) *site {
	t.Helper()
	s := &site{t: t, lan: plat.Hosts(t, 3)}
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	s.database = s.lan.Relay(u.Host)
	u.Host = s.database.Address
	var hosts []string
	for _, h := range s.lan.Hosts {
		hosts = append(hosts, h.Address+"[7800]")
	}
	s.nodes = make([]*plat.Node, len(s.lan.Hosts))
	for i, h := range s.lan.Hosts {
		s.nodes[i] = plat.Start(t, plat.Options{Host: h, Env: []string{
			"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_NODE=" + string(rune('a'+i)), "SLUICE_CLUSTER_DISCOVERY=tcp-fixed",
			"SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","), "SLUICE_STORE_URL=" + u.String(), "SLUICE_ROOT_PASSPHRASE=cluster secret",
			"SLUICE_KONG_ADMIN_TOKEN=" + clusterToken}})
	}
	s.balance()
	return s
}

// balance starts a load balancer as the documents describe one: it asks the nodes whether they
// are ready, and sends a request that a node did not take to another.
func (s *site) balance() {
	s.t.Helper()
	plat.Need(s.t, "haproxy")
	ports := make([]string, 2)
	for i := range ports {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			s.t.Fatal(err)
		}
		ports[i] = ln.Addr().String()
		_ = ln.Close() // the load balancer takes it
	}
	var b strings.Builder
	b.WriteString("global\n  maxconn 4000\ndefaults\n  mode http\n  timeout connect 500ms\n  timeout client 30s\n  timeout server 30s\n  retries 3\n  option redispatch\n" +
		"  retry-on conn-failure empty-response response-timeout\n  option httpchk GET /status/ready\n")
	for i, name := range []string{"proxy", "admin"} {
		fmt.Fprintf(&b, "frontend %s\n  bind %s\n  default_backend %s\nbackend %s\n  balance roundrobin\n", name, ports[i], name, name)
		for j, h := range s.lan.Hosts {
			fmt.Fprintf(&b, "  server %c %s:%d check port 8007 inter 300ms fall 1 rise 1\n", 'a'+j, h.Address, []int{8000, 8001}[i])
		}
	}
	config := filepath.Join(s.t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("haproxy", "-db", "-q", "-f", config)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to end
		_ = cmd.Wait()
	})
	s.proxy, s.admin = "http://"+ports[0], "http://"+ports[1]
	plat.Until(s.t, "the load balancer knows its nodes", func() error {
		_, err := s.get(s.admin + "/status")
		return err
	})
}

var clusterClient = &http.Client{Timeout: 10 * time.Second}

func (s *site) get(url string) (int, error) {
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Kong-Admin-Token", clusterToken)
	resp, err := clusterClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode >= 500 {
		err = errors.New(resp.Status)
	}
	return resp.StatusCode, err
}

// change makes a route through the load balancer, or beside it.
func (s *site) change(admin, path string) error {
	form := url.Values{"paths[]": {path}, "name": {strings.TrimPrefix(path, "/")}}
	req, err := http.NewRequest("POST", admin+"/services/up/routes", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Kong-Admin-Token", clusterToken)
	resp, err := clusterClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	return err
}

// upstream serves what the gateway forwards to, for all hosts.
func (s *site) upstream() {
	s.t.Helper()
	ln, err := net.Listen("tcp", s.lan.Outside+":0")
	if err != nil {
		s.t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })}
	go func() { _ = srv.Serve(ln) }() // until the test ends
	s.t.Cleanup(func() { _ = srv.Close() })
	req, err := http.NewRequest("PUT", s.admin+"/services/up", strings.NewReader(url.Values{"url": {"http://" + ln.Addr().String()}}.Encode()))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Kong-Admin-Token", clusterToken)
	resp, err := clusterClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	_ = resp.Body.Close() // its status is what counts
	if resp.StatusCode != 200 {
		s.t.Fatal(resp.Status)
	}
}

// load is clients that read and change through the load balancer.
type load struct {
	stop    func()
	reads   atomic.Int64
	failed  []atomic.Int64 // by reader
	mu      sync.Mutex
	changed []string // acknowledged
	refused int      // changes that were answered with an error, or not at all
	last    error
}

func (s *site) load(readers int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{failed: make([]atomic.Int64, readers)}
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() {
			for ctx.Err() == nil {
				if code, err := s.get(s.proxy + "/first"); err != nil || code != 200 {
					l.failed[i].Add(1)
					l.mu.Lock()
					l.last = fmt.Errorf("%d, %w", code, err)
					l.mu.Unlock()
				}
				l.reads.Add(1)
			}
		})
	}
	all.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			path := fmt.Sprintf("/change%d", n)
			err := s.change(s.admin, path)
			l.mu.Lock()
			if err == nil {
				l.changed = append(l.changed, path)
			} else {
				l.refused, l.last = l.refused+1, err
			}
			l.mu.Unlock()
		}
	})
	l.stop = func() { cancel(); all.Wait() }
	s.t.Cleanup(l.stop)
	return l
}

// more waits until so many changes more have been acknowledged.
func (l *load) more(t *testing.T, n int) {
	t.Helper()
	count := func() int {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.changed)
	}
	from := count()
	plat.Until(t, "changes are taken", func() error {
		if got := count(); got < from+n {
			l.mu.Lock()
			defer l.mu.Unlock()
			return fmt.Errorf("%d of %d; last: %v", got-from, n, l.last)
		}
		return nil
	})
}

// holds makes sure that a node has all changes that were acknowledged.
func (s *site) holds(l *load, n *plat.Node) {
	s.t.Helper()
	l.mu.Lock()
	changed := append([]string(nil), l.changed...)
	l.mu.Unlock()
	plat.Until(s.t, "the node has all that was acknowledged", func() error {
		for _, path := range changed {
			if code, err := s.get(n.Endpoints.KongAdmin + "/routes" + path); err != nil || code != 200 {
				return fmt.Errorf("%s: %d, %w", path, code, err)
			}
		}
		return nil
	})
}

// balanced waits until the load balancer sends requests to so many nodes.
func (s *site) balanced(nodes int) {
	s.t.Helper()
	seen := map[string]bool{}
	plat.Until(s.t, "the load balancer has noticed", func() error {
		req, err := http.NewRequest("GET", s.admin+"/", nil)
		if err != nil {
			return err
		}
		req.Header.Set("Kong-Admin-Token", clusterToken)
		resp, err := clusterClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var node struct {
			ID string `json:"node_id"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&node); err != nil {
			return err
		}
		if seen[node.ID] = true; len(seen) < nodes {
			return fmt.Errorf("%d of %d nodes", len(seen), nodes)
		}
		return nil
	})
}

// Two of three nodes may fall: nothing that was acknowledged is lost, no client sees more than
// one failed request, and the nodes come back.
func TestTwoOfThreeNodesMayFall(t *testing.T) {
	s := newSite(t, dbtest.Postgres(t))
	s.upstream()
	if err := s.change(s.admin, "/first"); err != nil {
		t.Fatal(err)
	}
	plat.Until(t, "all nodes serve", func() error {
		for _, n := range s.nodes {
			if code, err := s.get(n.Endpoints.Proxy + "/first"); err != nil || code != 200 {
				return fmt.Errorf("%d, %w", code, err)
			}
		}
		return nil
	})
	l := s.load(4)
	l.more(t, 20)
	for _, n := range s.nodes[:2] {
		n.Kill()
		l.more(t, 20)
	}
	s.holds(l, s.nodes[2])
	for _, n := range s.nodes[:2] {
		n.Launch()
	}
	s.balanced(3)
	s.nodes[2].Kill() // those that came back carry on
	l.more(t, 20)
	l.stop()
	for _, n := range s.nodes[:2] {
		s.holds(l, n)
	}
	for i := range l.failed {
		if n := l.failed[i].Load(); n > 1 {
			t.Errorf("client %d saw %d failed requests of %d in all; last: %v", i, n, l.reads.Load(), l.last)
		}
	}
	if l.refused > 3 { // one for each node that fell, at most
		t.Errorf("%d changes were not taken; last: %v", l.refused, l.last)
	}
	t.Logf("%d reads; %d changes taken, %d not", l.reads.Load(), len(l.changed), l.refused)
}

// sluice runs the program against a node.
func (s *site) sluice(n *plat.Node, args ...string) string {
	s.t.Helper()
	out, err := plat.Command(nil, append(args, "--data", n.Dir)...).CombinedOutput()
	if err != nil {
		s.t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// A rolling restart, node by node, as the documents say: drain, stop, start, let it work again.
// Nobody notices.
func TestARollingRestartFailsNoRequest(t *testing.T) {
	s := newSite(t, dbtest.MariaDB(t))
	s.upstream()
	if err := s.change(s.admin, "/first"); err != nil {
		t.Fatal(err)
	}
	plat.Until(t, "the route serves", func() error {
		for _, n := range s.nodes {
			if code, err := s.get(n.Endpoints.Proxy + "/first"); err != nil || code != 200 {
				return fmt.Errorf("%d, %w", code, err)
			}
		}
		return nil
	})
	l := s.load(4)
	for i, n := range s.nodes {
		other := s.nodes[(i+1)%3]
		name := string(rune('a' + i))
		if out := s.sluice(other, "node", "drain", name, "--timeout", "30s"); !strings.Contains(out, name+" is drained") {
			t.Errorf("%s", out)
		}
		n.Stop()
		n.Launch()
		if out := s.sluice(other, "node", "uncordon", name); !strings.Contains(out, name+" is up") {
			t.Errorf("%s", out)
		}
		l.more(t, 10)
	}
	l.stop()
	for i := range l.failed {
		if n := l.failed[i].Load(); n > 0 {
			t.Errorf("client %d saw %d failed requests", i, n)
		}
	}
	if l.refused > 0 || l.last != nil {
		t.Errorf("%d changes were not taken; last: %v", l.refused, l.last)
	}
	t.Logf("%d reads, %d changes", l.reads.Load(), len(l.changed))
}

// Without the database the gateway serves on and changes are refused; with it all goes on.
func TestTheDatabaseRestarts(t *testing.T) {
	server := dbtest.Postgres(t)
	s := newSite(t, server)
	s.upstream()
	if err := s.change(s.admin, "/first"); err != nil {
		t.Fatal(err)
	}
	plat.Until(t, "the route serves", func() error {
		for _, n := range s.nodes {
			if code, err := s.get(n.Endpoints.Proxy + "/first"); err != nil || code != 200 {
				return fmt.Errorf("%d, %w", code, err)
			}
		}
		return nil
	})
	l := s.load(2)
	l.more(t, 5)
	server.Stop(t)
	plat.Until(t, "changes are refused", func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.refused == 0 {
			return errors.New("none was")
		}
		return nil
	})
	server.Start(t)
	l.more(t, 5)
	l.stop()
	for i := range l.failed {
		if n := l.failed[i].Load(); n > 0 {
			t.Errorf("client %d saw %d failed requests; last: %v", i, n, l.last)
		}
	}
	for _, n := range s.nodes {
		s.holds(l, n)
	}
}

// Nodes that cannot reach each other, but reach the database, serve on and see each other's
// changes.
func TestThePartitionedNodesServeOn(t *testing.T) {
	s := newSite(t, dbtest.Postgres(t))
	s.upstream()
	peers := func(n *plat.Node, want int) error {
		var st struct{ Peers []string }
		name := string(rune('a' + indexOf(s.nodes, n)))
		if err := n.Call("GET", "/api/v1/cluster/nodes/"+name, nil, &st); err != nil {
			return err
		}
		if len(st.Peers) != want {
			return fmt.Errorf("%s is connected with %v", name, st.Peers)
		}
		return nil
	}
	for _, n := range s.nodes {
		plat.Until(t, "all nodes are connected", func() error { return peers(n, 2) })
	}
	s.lan.Split(s.lan.Hosts[:1], s.lan.Hosts[1:])
	plat.Until(t, "the first is cut off", func() error { return peers(s.nodes[0], 0) })
	for i, n := range s.nodes {
		path := fmt.Sprintf("/parted%d", i)
		if err := s.change(n.Endpoints.KongAdmin, path); err != nil {
			t.Fatal(err)
		}
		made := time.Now()
		for _, other := range s.nodes {
			plat.Until(t, "the change comes through", func() error {
				if code, err := s.get(other.Endpoints.Proxy + path); err != nil || code != 200 {
					return fmt.Errorf("%d, %w", code, err)
				}
				return nil
			})
		}
		if took := time.Since(made); took > 2*time.Second {
			t.Errorf("a change took %s across the partition", took)
		}
	}
	s.lan.Heal()
	for _, n := range s.nodes {
		plat.Until(t, "all nodes are connected again", func() error { return peers(n, 2) })
	}
}

func indexOf(nodes []*plat.Node, n *plat.Node) int {
	for i := range nodes {
		if nodes[i] == n {
			return i
		}
	}
	return -1
}

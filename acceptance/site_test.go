package acceptance_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// newSite starts a site whose database is reached at a relay, with a load balancer, HAProxy
// unless another is given. Its nodes run program, or the one under test if that is empty.
func newSite(t *testing.T, server *dbtest.Server, program string, balance func(*site)) *site {
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
		s.nodes[i] = plat.Start(t, plat.Options{Host: h, Program: program, Env: []string{
			"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_NODE=" + string(rune('a'+i)), "SLUICE_CLUSTER_DISCOVERY=tcp-fixed",
			"SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","), "SLUICE_STORE_URL=" + u.String(), "SLUICE_ROOT_PASSPHRASE=cluster secret",
			"SLUICE_KONG_ADMIN_TOKEN=" + clusterToken}})
	}
	if balance == nil {
		balance = (*site).haproxy
	}
	balance(s)
	plat.Until(t, "the load balancer knows its nodes", func() error { return s.get(s.admin + "/status") })
	return s
}

// gate has a node that is none of the cluster's balance the load, by Kong's means: it connects
// to the nodes to see whether they are there, and tries another where one fails.
func (s *site) gate() {
	s.t.Helper()
	front := plat.Start(s.t, plat.Options{})
	for name, port := range map[string]int{"proxy": 8000, "admin": 8001} {
		failed := map[string]any{"interval": 0.3, "tcp_failures": 1, "timeouts": 2}
		front.Admin("POST", "/upstreams", map[string]any{"name": name, "healthchecks": map[string]any{
			"active":  map[string]any{"type": "tcp", "timeout": 2, "healthy": map[string]any{"interval": 0.3, "successes": 1}, "unhealthy": failed},
			"passive": map[string]any{"unhealthy": map[string]any{"tcp_failures": 1, "timeouts": 2}}}})
		for _, h := range s.lan.Hosts {
			front.Admin("POST", "/upstreams/"+name+"/targets", map[string]any{"target": fmt.Sprintf("%s:%d", h.Address, port)})
		}
		front.Admin("POST", "/services", map[string]any{"name": name, "host": name, "retries": 5, "connect_timeout": 2000})
		front.Admin("POST", "/services/"+name+"/routes", map[string]any{"name": name, "paths": []string{"/" + name}})
	}
	s.proxy, s.admin = front.Endpoints.Proxy+"/proxy", front.Endpoints.Proxy+"/admin"
}

// haproxy starts HAProxy as docs/cluster.md describes it: it asks the nodes whether they are
// ready, and sends a request that a node did not take to another. Without "timeout check" a
// node that takes longer than "inter" to say so would count as failed, the last one too.
// Without "observe" two failed nodes use up a request's retries before a check finds them. A
// node's ports share one check: what one backend sees of a node is what the other sees.
func (s *site) haproxy() {
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
	b.WriteString("global\n  maxconn 4000\n  log stdout format raw local0 notice\ndefaults\n  log global\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  timeout server 30s\n  timeout check 5s\n  retries 3\n  option redispatch 1\n" +
		"  retry-on conn-failure empty-response response-timeout\n  option httpchk GET /status/ready\n")
	for i, name := range []string{"proxy", "admin"} {
		fmt.Fprintf(&b, "frontend %s\n  bind %s\n  default_backend %s\nbackend %s\n  balance roundrobin\n", name, ports[i], name, name)
		for j, h := range s.lan.Hosts {
			fmt.Fprintf(&b, "  server %c %s:%d %s\n", 'a'+j, h.Address, []int{8000, 8001}[i],
				[]string{"check port 8007 inter 1s fastinter 300ms fall 2 rise 1 observe layer4 error-limit 1 on-error mark-down", fmt.Sprintf("track proxy/%c", 'a'+j)}[i])
		}
	}
	config := filepath.Join(s.t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(config, []byte(b.String()), 0o600); err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("haproxy", "-db", "-f", config)
	var log plat.Log // says which node was taken out, when and why
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has nothing to end
		_ = cmd.Wait()
		if s.t.Failed() {
			s.t.Logf("HAProxy:\n%s", log.String())
		}
	})
	s.proxy, s.admin = "http://"+ports[0], "http://"+ports[1]
}

var clusterClient = &http.Client{Timeout: 10 * time.Second}

// call sends a form, or nothing when there is none, and returns the body of an answer with
// status want.
func (s *site) call(method, url string, form url.Values, want int) ([]byte, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("Kong-Admin-Token", clusterToken)
	resp, err := clusterClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != want {
		err = fmt.Errorf("%s: %.200s", resp.Status, body)
	}
	return body, err
}

func (s *site) get(url string) error {
	_, err := s.call("GET", url, nil, http.StatusOK)
	return err
}

// change makes a route through the load balancer, or beside it.
func (s *site) change(admin, path string) error {
	_, err := s.call("POST", admin+"/services/up/routes", url.Values{"paths[]": {path}, "name": {strings.TrimPrefix(path, "/")}}, http.StatusCreated)
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
	if _, err := s.call("PUT", s.admin+"/services/up", url.Values{"url": {"http://" + ln.Addr().String()}}, http.StatusOK); err != nil {
		s.t.Fatal(err)
	}
}

// serve waits until all nodes forward /first to the upstream.
func (s *site) serve() {
	s.t.Helper()
	s.upstream()
	if err := s.change(s.admin, "/first"); err != nil {
		s.t.Fatal(err)
	}
	for _, n := range s.nodes {
		plat.Until(s.t, "all nodes serve", func() error { return s.get(n.Endpoints.Proxy + "/first") })
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
				if err := s.get(s.proxy + "/first"); err != nil {
					l.failed[i].Add(1)
					l.mu.Lock()
					l.last = err
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
	changed := slices.Clone(l.changed)
	l.mu.Unlock()
	plat.Until(s.t, "the node has all that was acknowledged", func() error {
		for _, path := range changed {
			if err := s.get(n.Endpoints.KongAdmin + "/routes" + path); err != nil {
				return fmt.Errorf("%s: %w", path, err)
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
		body, err := s.call("GET", s.admin+"/", nil, http.StatusOK)
		if err != nil {
			return err
		}
		var node struct {
			ID string `json:"node_id"`
		}
		if err := json.Unmarshal(body, &node); err != nil {
			return err
		}
		if seen[node.ID] = true; len(seen) < nodes {
			return fmt.Errorf("%d of %d nodes", len(seen), nodes)
		}
		return nil
	})
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

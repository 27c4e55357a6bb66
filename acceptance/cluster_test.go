package acceptance_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// clusterOf starts nodes over one database, which find each other by a fixed list. more is
// environment that all have.
func clusterOf(t *testing.T, n int, database string, more ...string) []*plat.Node {
	t.Helper()
	return clusterIn(t, make([]string, n), database, more...)
}

// clusterIn is clusterOf with data directories; new ones where they are empty.
func clusterIn(t *testing.T, dirs []string, database string, more ...string) []*plat.Node {
	t.Helper()
	bases := make([]int, max(len(dirs), 3))
	var hosts []string
	for i := range bases {
		bases[i] = plat.FreePorts(t)
		hosts = append(hosts, fmt.Sprintf("127.0.0.1[%d]", bases[i]+8))
	}
	var nodes []*plat.Node
	for i, dir := range dirs {
		nodes = append(nodes, plat.Start(t, plat.Options{Dir: dir, Base: bases[i], Env: append([]string{
			"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_NODE=" + string(rune('a'+i)), "SLUICE_CLUSTER_DISCOVERY=tcp-fixed",
			"SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","), "SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret"}, more...)}))
	}
	return nodes
}

// admin sends a request to a node's Kong Admin API.
func admin(t *testing.T, n *plat.Node, method, path string, form url.Values) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, n.Endpoints.KongAdmin+path, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
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

func TestAChangeOnOneNodeHoldsOnAll(t *testing.T) {
	nodes := clusterOf(t, 3, dbtest.MariaDB(t).URL)
	if code, body := admin(t, nodes[0], "PUT", "/services/up", url.Values{"url": {nodes[0].Endpoints.Status}}); code != 200 {
		t.Fatal(code, body)
	}
	var slowest time.Duration
	for i := range 10 {
		path := fmt.Sprintf("/r%d", i)
		if code, body := admin(t, nodes[i%3], "POST", "/services/up/routes", url.Values{"paths[]": {path}}); code != 201 {
			t.Fatal(code, body)
		}
		made := time.Now()
		for _, n := range nodes {
			plat.Until(t, "the route serves on every node", func() error {
				resp, err := http.Get(n.Endpoints.Proxy + path + "/status/live")
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if resp.StatusCode != 200 {
					return fmt.Errorf("status %d", resp.StatusCode)
				}
				return nil
			})
		}
		slowest = max(slowest, time.Since(made))
	}
	t.Logf("a route was served by all nodes %s after its answer, at the slowest", slowest)
	if slowest > time.Second {
		t.Errorf("a change took %s to all nodes", slowest)
	}
}

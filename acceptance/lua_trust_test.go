package acceptance_test

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// told has a Lua plugin answer with what it is told of the client.
const told = `
local r, c = kong.request, kong.client
return kong.response.exit(200, {
  ip = c.get_ip(), port = c.get_port(), forwarded_ip = c.get_forwarded_ip(), forwarded_port_is_nil = c.get_forwarded_port() == nil,
  scheme = r.get_scheme(), host = r.get_host(),
  forwarded_scheme = r.get_forwarded_scheme(), forwarded_host = r.get_forwarded_host(), forwarded_port = r.get_forwarded_port(),
  forwarded_path = r.get_forwarded_path(), forwarded_prefix = r.get_forwarded_prefix(),
  trusts_peer = kong.ip.is_trusted("127.0.0.1"), trusts_client = kong.ip.is_trusted("1.2.3.4"),
})`

// Lua sees the peer and, where that is trusted, the client behind it, as Kong's PDK tells them apart.
func TestLuaBehindATrustedProxy(t *testing.T) {
	for name, tc := range map[string]struct {
		trusted string
		want    map[string]any
	}{
		"trusted": {"127.0.0.1", map[string]any{"ip": "127.0.0.1", "forwarded_ip": "1.2.3.4", "forwarded_port_is_nil": true, "scheme": "http", "host": "svc.test",
			"forwarded_scheme": "https", "forwarded_host": "www.example.com", "forwarded_port": 8443.0, "forwarded_path": "/outer", "forwarded_prefix": "/pre",
			"trusts_peer": true, "trusts_client": false}},
		"another peer": {"10.0.0.1", map[string]any{"ip": "127.0.0.1", "forwarded_ip": "127.0.0.1", "forwarded_port_is_nil": false, "scheme": "http", "host": "svc.test",
			"forwarded_scheme": "http", "forwarded_host": "svc.test", "forwarded_path": "/told",
			"trusts_peer": false, "trusts_client": false}},
	} {
		t.Run(name, func(t *testing.T) {
			n := plat.Start(t, plat.Options{Env: []string{"SLUICE_GATE_TRUSTED_IPS=" + tc.trusted, "SLUICE_GATE_REAL_IP_HEADER=X-Forwarded-For"}})
			n.Admin("POST", "/services", map[string]any{"name": "s", "url": "http://127.0.0.1:9"})
			n.Admin("POST", "/services/s/routes", map[string]any{"name": "r", "paths": []string{"/told"}})
			n.Admin("POST", "/routes/r/plugins", map[string]any{"name": "pre-function", "config": map[string]any{"access": []string{told}}})
			req, err := http.NewRequest("GET", n.Endpoints.Proxy+"/told", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = "svc.test"
			for k, v := range map[string]string{"For": "1.2.3.4", "Proto": "https", "Host": "WWW.example.com", "Port": "8443", "Path": "/outer", "Prefix": "/pre"} {
				req.Header.Set("X-Forwarded-"+k, v)
			}
			var local string
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, Dial: func(network, address string) (net.Conn, error) {
				c, err := net.Dial(network, address)
				if err == nil {
					local = c.LocalAddr().String()
				}
				return c, err
			}}}
			res, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = res.Body.Close() }() // read to its end
			var got map[string]any
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			for k, want := range tc.want {
				if got[k] != want {
					t.Errorf("%s is %v, want %v", k, got[k], want)
				}
			}
			u, err := url.Parse("tcp://" + local)
			if err != nil {
				t.Fatal(err)
			}
			if port, _ := json.Marshal(got["port"]); string(port) != u.Port() {
				t.Errorf("the peer's port is %s, want %s", port, u.Port())
			}
		})
	}
}

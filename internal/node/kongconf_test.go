package node_test

import (
	"slices"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/node"
)

func TestKongConf(t *testing.T) {
	keys, err := node.ParseKongConf("my.conf", strings.NewReader(`# a comment
proxy_listen = 0.0.0.0:9000 reuseport backlog=16384, 0.0.0.0:9443 http2 ssl, [::]:9001
admin_listen = 127.0.0.1:9444 http2 ssl, 127.0.0.1:9001
log_level = notice    # quiet
trusted_ips=10.0.0.0/8,127.0.0.1
real_ip_recursive = on
upstream_keepalive_idle_timeout = 30
pg_host = db.internal
pg_password = {vault://env/pg-pass}
pg_ssl = on
lua_package_path = ./?.lua
mem_cache_size = 256m
plugins = bundled, key-auth, mine
wasm = on
wasm_filters_path = /opt/filters
`))
	if err != nil {
		t.Fatal(err)
	}
	variables, ignored, err := node.FromKong(keys, func(name string) (string, bool) { return "p@ss", name == "PG_PASS" })
	if err != nil {
		t.Fatal(err)
	}
	c := node.Defaults()
	if err := config.Load(c, "", variables); err != nil {
		t.Fatal(err)
	}
	if c.Ports.Proxy != 9000 || c.Ports.ProxyTLS != 9443 || c.Kong.ProxyHost != "0.0.0.0" || c.Ports.KongAdmin != 9001 || c.Kong.AdminHost != "127.0.0.1" ||
		c.Log.Level != "info" || c.Gate.TrustedIPs != "10.0.0.0/8,127.0.0.1" || !c.Gate.RealIPRecursive || c.Gate.WasmFilters != "/opt/filters" || c.Gate.UpstreamIdleTimeout.Seconds() != 30 ||
		c.Store.URL != "postgres://kong:p%40ss@db.internal:5432/kong?sslmode=require" {
		t.Errorf("%+v", c)
	}
	for _, name := range []string{"lua_package_path", "plugins: mine", "proxy_listen: [::]:9001", "admin_listen: 127.0.0.1:9444"} {
		if !slices.ContainsFunc(ignored, func(s string) bool { return strings.HasPrefix(s, name+" ") }) {
			t.Errorf("nothing is said of %s: %q", name, ignored)
		}
	}
	if len(ignored) != 4 {
		t.Errorf("%q", ignored)
	}
}

func TestKongConfRefused(t *testing.T) {
	for _, c := range []struct{ key, value string }{
		{"database", "cassandra"}, {"role", "data_plane"}, {"proxy_listen", "8000"}, {"proxy_listen", "off"}, {"real_ip_recursive", "maybe"},
		{"log_level", "loud"}, {"pg_password", "{vault://env/absent}"}, {"dns_stale_ttl", "long"},
	} {
		_, _, err := node.FromKong(map[string]string{c.key: c.value}, func(string) (string, bool) { return "", false })
		if err == nil || !strings.Contains(err.Error(), c.key) {
			t.Errorf("%s = %s: %v", c.key, c.value, err)
		}
	}
	if _, err := node.ParseKongConf("my.conf", strings.NewReader("a = b\nwhat\n")); err == nil || !strings.Contains(err.Error(), "my.conf, line 2") {
		t.Errorf("%v", err)
	}
	got := node.KongVariables([]string{"KONG_LOG_LEVEL=debug", "KONG_ADMIN_TOKEN=x", "SLUICE_DATA=y"})
	if len(got) != 1 || got["log_level"] != "debug" {
		t.Errorf("%v", got)
	}
}

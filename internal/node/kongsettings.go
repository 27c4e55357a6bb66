package node

import (
	"net"
	"slices"
	"strconv"
	"strings"
)

// kongSettings is the configuration that GET / of the Admin API shows, by the keys of a
// kong.conf: those that mean something here with what is in force, and those that clients look
// at. It holds no secret.
func (c *Config) kongSettings() map[string]any {
	database := "postgres"
	if c.dbless() {
		database = "off"
	}
	proxies := []any{
		kongListener(c.address(c.Ports.Proxy), httpListener, c.proxyFlags()...),
		kongListener(c.address(c.Ports.ProxyTLS), httpListener, append([]string{"ssl", "http2"}, c.proxyFlags()...)...),
	}
	admin := c.address(c.Ports.KongAdmin)
	var adminFlags []string
	if c.TLS {
		adminFlags = []string{"ssl"}
	}
	streams := []any{}
	if all, err := c.streamListens(); err == nil { // it was checked at the start
		for _, a := range all {
			streams = append(streams, kongListener(net.JoinHostPort(a.host, a.port), streamListener, a.flags...))
		}
	}
	status := c.address(c.Ports.Status)
	of := func(listeners []any) []string {
		out := []string{}
		for _, l := range listeners {
			out = append(out, l.(map[string]any)["listener"].(string))
		}
		return out
	}
	return map[string]any{
		"database": database, "role": "traditional", "router_flavor": c.Gate.RouterFlavor, "log_level": c.Log.Level,
		"proxy_listen": of(proxies), "proxy_listeners": proxies, "proxy_ssl_enabled": true,
		"admin_listen": []string{admin}, "admin_listeners": []any{kongListener(admin, httpListener, adminFlags...)}, "admin_ssl_enabled": c.TLS,
		"status_listen": []string{status}, "status_listeners": []any{kongListener(status, httpListener, adminFlags...)}, "status_ssl_enabled": c.TLS,
		"stream_listen": slices.Collect(listed(c.Gate.StreamListen)), "stream_listeners": streams,
		"stream_proxy_ssl_enabled": slices.ContainsFunc(streams, func(l any) bool { return l.(map[string]any)["ssl"] == true }),
		"trusted_ips":              slices.AppendSeq([]string{}, listed(c.Gate.TrustedIPs)),
		"real_ip_header":           c.Gate.RealIPHeader, "real_ip_recursive": kongSwitch(c.Gate.RealIPRecursive),
		"allow_debug_header": c.Gate.DebugHeader, "plugins": append([]string{"bundled"}, slices.Collect(listed(c.Gate.Plugins))...),
		"wasm": c.Gate.WasmFilters != "", "declarative_config": c.Kong.Declarative, "anonymous_reports": false,
		"upstream_keepalive_pool_size": c.Gate.UpstreamIdle, "upstream_keepalive_max_requests": c.Gate.UpstreamRequests,
		"upstream_keepalive_idle_timeout": c.Gate.UpstreamIdleTimeout.Seconds(),
		"dns_resolver":                    slices.AppendSeq([]string{}, listed(c.Gate.DNSResolver)),
		"dns_stale_ttl":                   c.Gate.DNSStale.Seconds(), "dns_not_found_ttl": c.Gate.DNSNotFound.Seconds(),
		"worker_consistency": "strict", "error_default_type": "text/plain", "admin_gui_listen": []string{"off"}, "prefix": c.Data,
	}
}

// httpListener and streamListener are what a listener can be, as Kong lists it.
var (
	httpListener   = []string{"ssl", "http2", "proxy_protocol", "deferred", "bind", "reuseport", "backlog=%d+", "ipv6only=on", "ipv6only=off", "so_keepalive=on", "so_keepalive=off"}
	streamListener = []string{"ssl", "udp", "proxy_protocol", "bind", "reuseport", "backlog=%d+", "ipv6only=on", "ipv6only=off", "so_keepalive=on", "so_keepalive=off"}
)

func (c *Config) proxyFlags() []string {
	if c.Gate.ProxyProtocol {
		return []string{"proxy_protocol"}
	}
	return nil
}

// kongListener describes a listener as Kong does.
func kongListener(address string, known []string, flags ...string) map[string]any {
	host, port, _ := net.SplitHostPort(address) // it was joined
	n, _ := strconv.Atoi(port)
	out := map[string]any{"ip": host, "port": n, "listener": strings.Join(append([]string{address}, flags...), " ")}
	for _, f := range known {
		out[f] = slices.Contains(flags, f)
	}
	return out
}

func kongSwitch(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

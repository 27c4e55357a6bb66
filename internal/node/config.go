package node

import (
	"fmt"
	"iter"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/api/proxy"
	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/balancer"
)

// Config is the whole configuration of a node. Its doc tags are the documentation.
type Config struct {
	// Ignored are the keys of another program's configuration that have no meaning here, each
	// with why. They are logged at the start.
	Ignored []string `yaml:"-"`
	// AcceptDataLoss names the stores without which, or with a part of which, the node may
	// start once. It is a flag of one start alone, so that nothing implies it.
	AcceptDataLoss []string `yaml:"-"`

	Data     string `yaml:"data" scope:"node" doc:"directory of everything the node keeps"`
	Host     string `yaml:"host" scope:"node" doc:"address that all listeners bind"`
	PortBase int    `yaml:"port_base" scope:"node" doc:"if not 0, the ports are counted from here: proxy, proxy TLS, Kong Admin, AWS, SQL, console, status, Kafka, mesh"`
	Account  string `yaml:"account" doc:"the account's twelve digits"`
	Region   string `yaml:"region" doc:"the region of clients that name none"`
	TLS      bool   `yaml:"tls" doc:"serve every listener by TLS, with a certificate of the node's own authority (GET /ca.pem on the status port)"`

	Ports struct {
		Proxy     int `yaml:"proxy" scope:"node" doc:"gateway, HTTP"`
		ProxyTLS  int `yaml:"proxy_tls" scope:"node" doc:"gateway, HTTPS"`
		KongAdmin int `yaml:"kong_admin" scope:"node" doc:"Kong Admin API"`
		AWS       int `yaml:"aws" scope:"node" doc:"AWS APIs"`
		SQL       int `yaml:"sql" scope:"node" doc:"PostgreSQL protocol"`
		Console   int `yaml:"console" scope:"node" doc:"console, edge agents and the cluster's own API"`
		Cluster   int `yaml:"cluster" scope:"node" doc:"other nodes of the cluster"`
		Status    int `yaml:"status" scope:"node" doc:"status and metrics"`
	} `yaml:"ports"`

	Root struct {
		PassphraseFile string `yaml:"passphrase_file" scope:"node" doc:"file with the passphrase that seals the root key; without one, the root key file alone opens the data"`
		Passphrase     string `yaml:"passphrase" secret:"true" doc:"the same as text"`
	} `yaml:"root"`
	Store struct {
		URL         string `yaml:"url" secret:"true" doc:"control store: sqlite:///path, postgres://… or mysql://…; empty is a SQLite file in the data directory"`
		Connections int    `yaml:"connections" scope:"node" doc:"the most connections to an external database"`
	} `yaml:"store"`
	Cluster ClusterConfig `yaml:"cluster"`
	Console ConsoleConfig `yaml:"console"`
	Edge    EdgeConfig    `yaml:"edge"`
	Kong    struct {
		AdminToken string `yaml:"admin_token" secret:"true" doc:"token that opens the Kong Admin API"`
		ReadToken  string `yaml:"admin_read_token" secret:"true" doc:"token that opens the Kong Admin API for reading alone"`
		AdminAuth  bool   `yaml:"admin_auth" doc:"ask for credentials on the Kong Admin API also without a token: an access key, by signature or HTTP Basic; needed, as a token is, unless it is bound to loopback"`
		AdminHost  string `yaml:"admin_host" scope:"node" doc:"address that the Kong Admin API binds; that of host where it is empty"`
		ProxyHost  string `yaml:"proxy_host" scope:"node" doc:"address that the gateway binds for its clients; that of host where it is empty"`

		Database        string `yaml:"database" doc:"on: the gateway's entities are in the control store; off: they are what declarative_config or POST /config says, and can be changed by nothing else"`
		Declarative     string `yaml:"declarative_config" scope:"node" doc:"file in Kong's declarative format, read at the start and whenever it changes; with database: off"`
		DeclarativeText string `yaml:"declarative_config_string" doc:"the same as text"`
	} `yaml:"kong"`
	HTTP struct {
		Hosts       string `yaml:"allowed_hosts" doc:"names of the node, separated by commas, that clients of its APIs may use in URLs, beside addresses, localhost, names without a dot and names under .local, .internal and .test; *.example.com is every name below"`
		Origins     string `yaml:"allowed_origins" doc:"origins of web pages, separated by commas, that may use the Kong Admin API and the console from a browser, as https://console.example.com; no other page gets CORS headers or may change anything"`
		Connections int    `yaml:"max_connections" scope:"node" doc:"connections that each API's listener (Kong Admin, AWS, SQL, console, status) may have; 0: a sixteenth of the files that the process may open, for the console an eighth"`
	} `yaml:"http"`
	Gate struct {
		RouterFlavor    string `yaml:"router_flavor" doc:"how routes are written: traditional_compatible, expressions, or traditional, where path_handling v1 acts"`
		DebugHeader     bool   `yaml:"allow_debug_header" doc:"tell a request with Kong-Debug: 1 the route and the service it was taken for"`
		StreamListen    string `yaml:"stream_listen" scope:"node" doc:"listeners for TCP, TLS and UDP, separated by commas: address:port, and then ssl, udp, proxy_protocol"`
		TrustedIPs      string `yaml:"trusted_ips" doc:"addresses and networks, separated by commas, whose X-Forwarded-* headers and word on the client's address are believed"`
		RealIPHeader    string `yaml:"real_ip_header" doc:"header in which a trusted peer tells the client's address; proxy_protocol: the PROXY protocol tells it"`
		RealIPRecursive bool   `yaml:"real_ip_recursive" doc:"take the last address in gate.real_ip_header that is no trusted peer's, not the last of all"`
		ProxyProtocol   bool   `yaml:"proxy_protocol" doc:"every connection to the proxy's ports begins with a header of the PROXY protocol, version 1 or 2"`

		TLSCert string `yaml:"tls_cert" scope:"node" doc:"file with the certificate, in PEM, for server names that the gateway has none for; the node's own authority issues one where it is empty"`
		Staple  bool   `yaml:"ocsp_stapling" doc:"ask the OCSP responders of the certificates that the gateway shows, and give clients their answers"`
		TLSKey  string `yaml:"tls_key" scope:"node" doc:"file with the key of gate.tls_cert"`

		LuaPath string `yaml:"lua_path" scope:"node" doc:"directory with kong/plugins/NAME/{handler,schema}.lua of plugins written in Lua"`
		Plugins string `yaml:"plugins" doc:"names of the plugins in gate.lua_path, separated by commas"`

		WasmFilters string `yaml:"wasm_filters_path" scope:"node" doc:"directory with NAME.wasm, and perhaps NAME.meta.json, of filters that speak Proxy-Wasm; they are on where it is set"`

		UpstreamIdle        int           `yaml:"upstream_idle" doc:"idle connections kept to an upstream's address"`
		UpstreamRequests    int           `yaml:"upstream_requests" doc:"requests after which a connection to an upstream is not used again"`
		UpstreamIdleTimeout time.Duration `yaml:"upstream_idle_timeout" doc:"how long a connection to an upstream is kept idle"`

		DNSResolver string        `yaml:"dns_resolver" doc:"name servers, as addresses with or without a port, separated by commas; those of /etc/resolv.conf where it is empty"`
		DNSStale    time.Duration `yaml:"dns_stale_ttl" doc:"how long an answer of DNS serves beyond its time where no new one can be had"`
		DNSNotFound time.Duration `yaml:"dns_not_found_ttl" doc:"how long it is believed that a name does not exist"`
	} `yaml:"gate"`
	Log struct {
		Level  string `yaml:"level" scope:"node" doc:"debug, info, warn or error"`
		Access bool   `yaml:"access" scope:"node" doc:"log every request of the gateway and every call of an AWS API"`
	} `yaml:"log"`
	Disk struct {
		Reserve int64 `yaml:"reserve_mb" scope:"node" doc:"MiB that stay free: below it writes are refused and reads go on"`
	} `yaml:"disk"`
	Delivery struct {
		Interval time.Duration `yaml:"interval" doc:"how long a delivery stream gathers records that was created without BufferingHints"`
	} `yaml:"delivery"`
	Warehouse struct {
		Memory  int64         `yaml:"memory_mb" scope:"node" doc:"MiB that one SQL statement may hold"`
		Quota   int64         `yaml:"quota_mb" scope:"node" doc:"MiB of Parquet that one SQL statement may read, and of gzip text that it may hold to read it faster"`
		Timeout time.Duration `yaml:"statement_timeout" scope:"node" doc:"after which a SQL statement is canceled, unless its session sets statement_timeout; 0 is never"`
	} `yaml:"warehouse"`
}

// Defaults returns the configuration of a node that was told nothing.
func Defaults() *Config {
	c := &Config{Data: "sluice-data", Host: "127.0.0.1", Account: "123456789012", Region: "us-east-1"}
	c.Ports.Proxy, c.Ports.ProxyTLS, c.Ports.KongAdmin, c.Ports.AWS, c.Ports.SQL, c.Ports.Status = 8000, 8443, 8001, 4566, 5439, 8007
	c.Ports.Console, c.Ports.Cluster = 10090, 7800
	c.Store.Connections = 8
	c.Cluster = clusterDefaults()
	c.Console.ContextPath, c.Console.ClientAuth = "/efm", "none"
	c.Edge = edgeDefaults()
	c.Gate.StreamListen = "off"
	c.Gate.RouterFlavor = string(gateway.TraditionalCompatible)
	c.Gate.RealIPHeader = "X-Real-IP"
	c.Gate.UpstreamIdle, c.Gate.UpstreamRequests, c.Gate.UpstreamIdleTimeout = 512, 10_000, time.Minute
	c.Gate.DNSStale, c.Gate.DNSNotFound = time.Hour, 30*time.Second
	c.Kong.Database = "on"
	c.Log.Level = "info"
	c.Disk.Reserve = 256
	c.Delivery.Interval = 300 * time.Second
	c.Warehouse.Memory, c.Warehouse.Quota, c.Warehouse.Timeout = 1024, 1024, 30*time.Minute
	return c
}

// complete fills in what follows from other keys, and checks the whole.
func (c *Config) complete() error {
	if c.PortBase != 0 {
		if c.PortBase < 1 || c.PortBase > 65535-9 {
			return config.Invalid.Field("port_base", "port_base is 1 to %d, not %d", 65535-9, c.PortBase)
		}
		b := c.PortBase
		c.Ports.Proxy, c.Ports.ProxyTLS, c.Ports.KongAdmin, c.Ports.AWS, c.Ports.SQL, c.Ports.Status = b, b+1, b+2, b+3, b+4, b+6
		c.Ports.Console, c.Ports.Cluster = b+5, b+8
	}
	data, err := filepath.Abs(c.Data)
	if err != nil || c.Data == "" {
		return config.Invalid.Field("data", "data names no directory")
	}
	c.Data = data
	if !name.ValidAccount(c.Account) {
		return config.Invalid.Field("account", "account is twelve digits, not %q", c.Account)
	}
	if c.HTTP.Connections < 0 || c.HTTP.Connections > 0 && c.HTTP.Connections < reservedConnections*2 {
		return config.Invalid.Field("http.max_connections", "http.max_connections is 0 or at least %d, not %d", reservedConnections*2, c.HTTP.Connections)
	}
	for origin := range listed(c.HTTP.Origins) {
		if u, err := url.Parse(origin); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.TrimSuffix(u.Path, "/") != "" || u.RawQuery != "" {
			return config.Invalid.Field("http.allowed_origins", "http.allowed_origins: %q is no origin, as https://console.example.com is", origin)
		}
	}
	if c.Region == "" {
		return config.Invalid.Field("region", "region is empty")
	}
	if c.Disk.Reserve < 0 {
		return config.Invalid.Field("disk.reserve_mb", "disk.reserve_mb is not negative: %d", c.Disk.Reserve)
	}
	if c.Warehouse.Timeout < 0 {
		return config.Invalid.Field("warehouse.statement_timeout", "must not be negative")
	}
	if c.Warehouse.Memory < 64 || c.Warehouse.Quota < 1 {
		return config.Invalid.Field("warehouse.memory_mb", "sizes are positive, and a statement needs at least 64 MiB")
	}
	if c.Kong.AdminHost == "" {
		c.Kong.AdminHost = c.Host
	}
	if c.Kong.ProxyHost == "" {
		c.Kong.ProxyHost = c.Host
	}
	if !Loopback(c.Kong.AdminHost) && c.Kong.AdminToken == "" && !c.Kong.AdminAuth {
		return config.Invalid.Field("kong.admin_token", "the Kong Admin API would be open to others on %s: set kong.admin_token or kong.admin_auth, or bind it to loopback", c.Kong.AdminHost)
	}
	if (c.Gate.TLSCert == "") != (c.Gate.TLSKey == "") {
		return config.Invalid.Field("gate.tls_cert", "gate.tls_cert and gate.tls_key belong together")
	}
	if c.Gate.UpstreamIdle < 1 || c.Gate.UpstreamRequests < 1 || c.Gate.UpstreamIdleTimeout <= 0 {
		return config.Invalid.Field("gate.upstream_idle", "gate.upstream_idle, gate.upstream_requests and gate.upstream_idle_timeout are positive")
	}
	switch {
	case c.Kong.Database != "on" && c.Kong.Database != "off":
		return config.Invalid.Field("kong.database", "kong.database is on or off, not %q", c.Kong.Database)
	case c.Kong.Database == "on" && (c.Kong.Declarative != "" || c.Kong.DeclarativeText != ""):
		return config.Invalid.Field("kong.declarative_config", "kong.declarative_config needs kong.database: off; \"sluice gate import\" loads a file into the control store")
	case c.Kong.Declarative != "" && c.Kong.DeclarativeText != "":
		return config.Invalid.Field("kong.declarative_config_string", "kong.declarative_config and kong.declarative_config_string exclude each other")
	}
	if c.Kong.AdminToken != "" && c.Kong.AdminToken == c.Kong.ReadToken {
		return config.Invalid.Field("kong.admin_read_token", "kong.admin_read_token is the same as kong.admin_token, which may change things")
	}
	if !slices.Contains(gateway.Flavors(), gateway.Flavor(c.Gate.RouterFlavor)) {
		return config.Invalid.Field("gate.router_flavor", "gate.router_flavor is one of %v, not %q", gateway.Flavors(), c.Gate.RouterFlavor)
	}
	if _, err := c.streamListens(); err != nil {
		return err
	}
	if _, err := c.trust(); err != nil {
		return err
	}
	if c.Store.URL == "" {
		c.Store.URL = "sqlite://" + filepath.Join(c.Data, "control.db")
	}
	if c.Root.Passphrase != "" && c.Root.PassphraseFile != "" {
		return config.Invalid.Field("root.passphrase", "root.passphrase and root.passphrase_file exclude each other")
	}
	if c.Store.Connections < 2 {
		return config.Invalid.Field("store.connections", "store.connections is at least 2, not %d", c.Store.Connections)
	}
	if err := c.completeEdge(); err != nil {
		return err
	}
	return c.completeCluster()
}

// trust is whom the gateway believes.
func (c *Config) trust() (proxy.Trust, error) {
	t := proxy.Trust{Header: c.Gate.RealIPHeader, Recursive: c.Gate.RealIPRecursive}
	for entry := range listed(c.Gate.TrustedIPs) {
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			a, aerr := netip.ParseAddr(entry)
			if aerr != nil {
				return t, config.Invalid.Field("gate.trusted_ips", "gate.trusted_ips: %q is neither an IP address nor a network", entry)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		t.Peers = append(t.Peers, p.Masked())
	}
	return t, nil
}

// resolver resolves the names of upstreams.
func (c *Config) resolver() (*balancer.DNS, error) {
	d := balancer.DNSConfig{Stale: c.Gate.DNSStale, NotFound: c.Gate.DNSNotFound}
	for server := range listed(c.Gate.DNSResolver) {
		if a, err := netip.ParseAddr(server); err == nil {
			server = netip.AddrPortFrom(a, 53).String()
		}
		if _, err := netip.ParseAddrPort(server); err != nil {
			return nil, config.Invalid.Field("gate.dns_resolver", "gate.dns_resolver: %q is not an IP address, with or without a port", server)
		}
		d.Servers = append(d.Servers, server)
	}
	return balancer.NewDNS(d), nil
}

// listed walks a list separated by commas.
func listed(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.TrimSpace(e); e != "" && !yield(e) {
				return
			}
		}
	}
}

// dbless reports whether the gateway has no database.
func (c *Config) dbless() bool { return c.Kong.Database == "off" }

// Loopback reports whether a host is this machine under a name or an address of its own.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

func (c *Config) address(port int) string {
	host := c.Host
	switch port {
	case c.Ports.KongAdmin:
		host = c.Kong.AdminHost
	case c.Ports.Console:
		host = c.Console.Host
	case c.Ports.Proxy, c.Ports.ProxyTLS:
		host = c.Kong.ProxyHost
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func (c *Config) url(scheme string, port int) string {
	return fmt.Sprintf("%s://%s", scheme, c.address(port))
}

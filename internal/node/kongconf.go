package node

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/service/gateway"
)

// A kong.conf, and the KONG_* variables that stand for its keys, are translated into the
// variables of this program's own configuration, which then checks them. What has no
// meaning here is told by name and ignored; what would be dangerous to ignore is refused.

// ParseKongConf reads a file in the form of kong.conf: "key = value" lines, "#" begins a
// comment. Its name is for errors.
func ParseKongConf(file string, r io.Reader) (map[string]string, error) {
	out := map[string]string{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		line, _, _ := strings.Cut(lines.Text(), " #")
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, config.Invalid.New("%s, line %d: %q is not of the form key = value", file, n, line)
		}
		out[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return out, lines.Err()
}

// KongVariables returns the keys that KONG_* variables set.
func KongVariables(environ []string) map[string]string {
	out := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if key, ok := strings.CutPrefix(name, "KONG_"); ok && name != "KONG_ADMIN_TOKEN" { // which is a client's
			out[strings.ToLower(key)] = value
		}
	}
	return out
}

// FromKong translates keys of kong.conf into variables of this program, and tells what was
// ignored. getenv resolves references to the vault "env".
func FromKong(keys map[string]string, getenv func(string) (string, bool)) (variables, ignored []string, err error) {
	t := &translation{keys: map[string]string{}}
	names := make([]string, 0, len(keys))
	for name, value := range keys {
		if ref, ok := strings.CutPrefix(value, "{vault://env/"); ok && getenv != nil {
			variable := strings.ToUpper(strings.ReplaceAll(strings.TrimSuffix(ref, "}"), "-", "_"))
			if value, ok = getenv(variable); !ok {
				return nil, nil, config.Invalid.Field(name, "%s: the variable %s is not set", name, variable)
			}
		}
		t.keys[name] = value
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		translate, ok := kongKeys[name]
		if !ok {
			t.ignore(name, "has no meaning here")
			continue
		}
		if err := translate(t, t.keys[name]); err != nil {
			return nil, nil, config.Invalid.Field(name, "%s: %s", name, err)
		}
	}
	if err := t.database(); err != nil {
		return nil, nil, err
	}
	return t.variables, t.ignored, nil
}

// translation is what a kong.conf or an efm.properties becomes.
type translation struct {
	keys      map[string]string
	variables []string
	ignored   []string

	name       string   // of the key at work, as the file has it
	heartbeats []string // of classes that have their own
}

func (t *translation) set(key, value string) {
	t.variables = append(t.variables, config.Variable(key)+"="+value)
}

func (t *translation) ignore(name, why string) {
	t.ignored = append(t.ignored, fmt.Sprintf("%s %s and is ignored", name, why))
}

type kongKey func(t *translation, value string) error

// kongKeys are the keys that mean something here.
var kongKeys = map[string]kongKey{
	"proxy_listen":                    proxyListen,
	"admin_listen":                    adminListen,
	"status_listen":                   statusListen,
	"log_level":                       logLevelKey,
	"trusted_ips":                     same("gate.trusted_ips"),
	"stream_listen":                   same("gate.stream_listen"),
	"router_flavor":                   same("gate.router_flavor"),
	"allow_debug_header":              onOff("gate.allow_debug_header"),
	"real_ip_header":                  same("gate.real_ip_header"),
	"real_ip_recursive":               onOff("gate.real_ip_recursive"),
	"ssl_cert":                        same("gate.tls_cert"),
	"ssl_cert_key":                    same("gate.tls_key"),
	"declarative_config":              same("kong.declarative_config"),
	"declarative_config_string":       same("kong.declarative_config_string"),
	"upstream_keepalive_pool_size":    same("gate.upstream_idle"),
	"upstream_keepalive_max_requests": same("gate.upstream_requests"),
	"upstream_keepalive_idle_timeout": seconds("gate.upstream_idle_timeout"),
	"nginx_upstream_keepalive":        same("gate.upstream_idle"),
	"dns_resolver":                    same("gate.dns_resolver"),
	"dns_stale_ttl":                   seconds("gate.dns_stale_ttl"),
	"dns_not_found_ttl":               seconds("gate.dns_not_found_ttl"),
	"resolver_address":                same("gate.dns_resolver"),
	"resolver_stale_ttl":              seconds("gate.dns_stale_ttl"),
	"database":                        nothing,
	"role":                            role,
	"anonymous_reports":               nothing,
	"prefix":                          nothing,
	"worker_consistency":              nothing,
	"worker_state_update_frequency":   nothing,
	"db_update_frequency":             nothing,
	"db_update_propagation":           nothing,
	"db_cache_ttl":                    nothing,
	"mem_cache_size":                  nothing,
	"nginx_worker_processes":          nothing,
	"nginx_daemon":                    nothing,
	"plugins":                         pluginsKey,
	"wasm":                            nothing, // it says whether the next counts
	"wasm_filters_path":               wasmFilters,
	"pg_host":                         nothing,
	"pg_port":                         nothing,
	"pg_user":                         nothing,
	"pg_password":                     nothing,
	"pg_database":                     nothing,
	"pg_ssl":                          nothing,
	"pg_ssl_verify":                   nothing,
	"nginx_http_client_max_body_size": bodySize,
	"nginx_proxy_real_ip_header":      same("gate.real_ip_header"),
	"nginx_proxy_real_ip_recursive":   onOff("gate.real_ip_recursive"),
}

// wasmFilters: the path counts where wasm is on.
func wasmFilters(t *translation, value string) error {
	if t.keys["wasm"] == "on" {
		t.set("gate.wasm_filters_path", value)
	}
	return nil
}

func nothing(*translation, string) error { return nil }

// same is a key that only has another name.
func same(key string) kongKey {
	return func(t *translation, value string) error {
		t.set(key, value)
		return nil
	}
}

func onOff(key string) kongKey {
	return func(t *translation, value string) error {
		switch value {
		case "on", "true":
			t.set(key, "true")
		case "off", "false":
			t.set(key, "false")
		default:
			return fmt.Errorf("%q is neither on nor off", value)
		}
		return nil
	}
}

func seconds(key string) kongKey {
	return func(t *translation, value string) error {
		if _, err := strconv.ParseFloat(value, 64); err != nil {
			return fmt.Errorf("%q is not a number of seconds", value)
		}
		t.set(key, value+"s")
		return nil
	}
}

func logLevelKey(t *translation, value string) error {
	level, ok := map[string]string{"debug": "debug", "info": "info", "notice": "info", "warn": "warn", "error": "error",
		"crit": "error", "alert": "error", "emerg": "error"}[value]
	if !ok {
		return fmt.Errorf("%q is not a log level", value)
	}
	t.set("log.level", level)
	return nil
}

func role(_ *translation, value string) error {
	if value != "traditional" {
		return fmt.Errorf("%q is not served: nodes share one database, and need no control plane", value)
	}
	return nil
}

// pluginsKey: every plugin is there at no cost, so that a list says little. One that names
// a plugin of its owner's cannot be told from here.
func pluginsKey(t *translation, value string) error {
	known := newObservers(slog.New(slog.DiscardHandler)).with(kinds())
	for name := range listed(value) {
		if name != "bundled" && !slices.ContainsFunc(known, func(k gateway.Plugin) bool { return k.Name == name }) {
			t.ignore("plugins: "+name, "is no plugin of this program's (gate.lua_path brings your own)")
		}
	}
	return nil
}

func bodySize(t *translation, value string) error {
	if value != "0" {
		t.ignore("nginx_http_client_max_body_size", "is not nginx's to bound here (the plugin request-size-limiting does)")
	}
	return nil
}

// address is one entry of a *_listen key.
type address struct {
	host, port string
	flags      []string
}

func addresses(value string) ([]address, error) {
	if value == "off" {
		return nil, nil
	}
	var out []address
	for entry := range listed(value) {
		words := strings.Fields(entry)
		host, port, err := net.SplitHostPort(words[0])
		if err != nil {
			return nil, fmt.Errorf("%q is not an address and a port", words[0])
		}
		out = append(out, address{host, port, words[1:]})
	}
	return out, nil
}

func (a address) has(flag string) bool { return slices.Contains(a.flags, flag) }

func proxyListen(t *translation, value string) error {
	all, err := addresses(value)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return fmt.Errorf("a node without a proxy is not served")
	}
	seen := map[string]bool{}
	for _, a := range all {
		key := "ports.proxy"
		if a.has("ssl") {
			key = "ports.proxy_tls"
		}
		if seen[key] {
			t.ignore("proxy_listen: "+net.JoinHostPort(a.host, a.port), "is a further listener of its kind")
			continue
		}
		seen[key] = true
		t.set(key, a.port)
		if a.host != all[0].host {
			t.ignore("proxy_listen: the address "+a.host, "differs from the first, "+all[0].host+",")
		}
		if a.has("proxy_protocol") {
			t.set("gate.proxy_protocol", "true")
		}
	}
	t.set("kong.proxy_host", all[0].host)
	return nil
}

func adminListen(t *translation, value string) error {
	all, err := addresses(value)
	if err != nil {
		return err
	}
	set := false
	for _, a := range all {
		if a.has("ssl") || set {
			t.ignore("admin_listen: "+net.JoinHostPort(a.host, a.port), "is a further listener (the key tls serves every one by TLS)")
			continue
		}
		set = true
		t.set("kong.admin_host", a.host)
		t.set("ports.kong_admin", a.port)
	}
	if len(all) == 0 {
		t.ignore("admin_listen: off", "would leave the node without an Admin API")
	}
	return nil
}

func statusListen(t *translation, value string) error {
	all, err := addresses(value)
	if err != nil || len(all) == 0 {
		return err
	}
	t.set("ports.status", all[0].port)
	return nil
}

// database joins the keys of Kong's database to one URL.
func (t *translation) database() error {
	kind, given := t.keys["database"]
	get := func(name, otherwise string) string {
		if v, ok := t.keys[name]; ok {
			return v
		}
		return otherwise
	}
	switch {
	case kind == "off":
		t.set("kong.database", "off")
		return nil
	case given && kind != "postgres":
		return config.Invalid.Field("database", "database: %q is not served; postgres and off are", kind)
	case !given && t.keys["pg_host"] == "" && t.keys["pg_user"] == "" && t.keys["pg_database"] == "":
		return nil
	}
	mode := "disable"
	if get("pg_ssl", "off") == "on" {
		mode = "require"
		if get("pg_ssl_verify", "off") == "on" {
			mode = "verify-full"
		}
	}
	u := url.URL{Scheme: "postgres", Host: net.JoinHostPort(get("pg_host", "127.0.0.1"), get("pg_port", "5432")), Path: "/" + get("pg_database", "kong"),
		User: url.User(get("pg_user", "kong")), RawQuery: "sslmode=" + mode}
	if password := get("pg_password", ""); password != "" {
		u.User = url.UserPassword(u.User.Username(), password)
	}
	t.set("store.url", u.String())
	return nil
}

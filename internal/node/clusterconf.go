package node

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/config"
)

// ClusterConfig is how a node finds and trusts the others.
type ClusterConfig struct {
	Enabled    bool   `yaml:"enabled" doc:"be one of several nodes over one PostgreSQL, MySQL or MariaDB database"`
	Name       string `yaml:"name" doc:"the cluster's name"`
	Node       string `yaml:"node" scope:"node" doc:"the node's name, unlike any other's; that of the host where it is empty"`
	Address    string `yaml:"address" scope:"node" doc:"host name or address at which the other nodes reach this one; that of host where it is empty"`
	Generation int    `yaml:"generation" scope:"node" doc:"counts changes of keys that all nodes agree on: nodes of different generations need not agree while a change goes round"`
	Roles      string `yaml:"roles" scope:"node" doc:"what the node is for, in words of your own separated by commas; shown by sluice node list"`
	DataNode   string `yaml:"data_node" doc:"name of the node that runs what is kept on one node: objects, streams, deliveries, SQL, reference data; the others forward to it; where it is empty, a cluster runs without them"`

	Discovery  string `yaml:"discovery" doc:"how nodes find each other: tcp by multicast, tcp-fixed by cluster.hosts, kubernetes by its API"`
	Hosts      string `yaml:"hosts" doc:"for tcp-fixed: all nodes of the cluster, as host[port] or host:port separated by commas"`
	Multicast  string `yaml:"multicast" doc:"for tcp: the group, address:port, where nodes announce themselves"`
	Namespace  string `yaml:"kubernetes_namespace" doc:"for kubernetes: the namespace of the nodes' pods"`
	Labels     string `yaml:"kubernetes_labels" doc:"for kubernetes: the label selector of the nodes' pods, such as app=sluice"`
	Kubernetes string `yaml:"kubernetes_api" doc:"for kubernetes: URL of the API server; that of the pod's environment where it is empty"`
	Account    string `yaml:"kubernetes_account" scope:"node" doc:"for kubernetes: directory with the service account's token and ca.crt"`

	TLS      bool   `yaml:"tls" doc:"nodes speak TLS with each other, and each proves who it is by a certificate"`
	KeyStore string `yaml:"key_store" scope:"node" doc:"for cluster.tls: PKCS #12 or JKS key store with the node's key and certificate, and the authorities it trusts"`
	Password string `yaml:"key_store_password" secret:"true" scope:"node" doc:"password of cluster.key_store"`
	Cert     string `yaml:"cert" scope:"node" doc:"for cluster.tls without a key store: file with the node's certificate, in PEM"`
	Key      string `yaml:"key" scope:"node" doc:"file with the key of cluster.cert"`
	CA       string `yaml:"ca" scope:"node" doc:"file with the authorities that nodes' certificates come from, in PEM"`
}

// The ways in which nodes find each other.
const (
	byMulticast  = "tcp"
	byHosts      = "tcp-fixed"
	byKubernetes = "kubernetes"
)

// maxNodeName is what the databases keep of a node's name.
const maxNodeName = 190

func clusterDefaults() ClusterConfig {
	return ClusterConfig{Name: "sluice", Discovery: byMulticast, Multicast: "239.255.78.0:7800", Account: "/var/run/secrets/kubernetes.io/serviceaccount"}
}

func (c *Config) completeCluster() error {
	k := &c.Cluster
	if !k.Enabled {
		return nil
	}
	if strings.HasPrefix(c.Store.URL, "sqlite:") {
		return config.Invalid.Field("store.url", "a cluster needs a database that all nodes reach: set store.url to a PostgreSQL, MySQL or MariaDB; \"sluice export\" on a node alone and \"sluice import\" in the cluster carry everything over")
	}
	if k.Name == "" {
		return config.Invalid.Field("cluster.name", "cluster.name is empty")
	}
	if k.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return config.Invalid.Wrap(err, "cluster.node is empty, and the host has no name")
		}
		k.Node = host
	}
	if len(k.Node) > maxNodeName || strings.ContainsFunc(k.Node, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-:[]%", r)
	}) {
		return config.Invalid.Field("cluster.node", "cluster.node is at most %d letters, digits and ._-:[]%%, as names and addresses of hosts are, not %.200q", maxNodeName, k.Node)
	}
	if k.Generation < 0 {
		return config.Invalid.Field("cluster.generation", "cluster.generation is not negative")
	}
	if c.Ports.Cluster < 1 || c.Ports.Cluster > 65535 {
		return config.Invalid.Field("ports.cluster", "ports.cluster is 1 to 65535, not %d", c.Ports.Cluster)
	}
	if k.Address == "" {
		k.Address = c.Host
	}
	if ip := net.ParseIP(k.Address); ip != nil && ip.IsUnspecified() {
		return config.Invalid.Field("cluster.address", "cluster.address is where other nodes reach this one, and cannot be %s", k.Address)
	}
	switch k.Discovery {
	case byMulticast:
		if _, err := net.ResolveUDPAddr("udp", k.Multicast); err != nil {
			return config.Invalid.Field("cluster.multicast", "cluster.multicast is address:port of a multicast group, not %q", k.Multicast)
		}
	case byHosts:
		hosts, err := parseHosts(k.Hosts)
		if err != nil {
			return err
		}
		if len(hosts) == 2 {
			return config.Invalid.Field("cluster.hosts", "a cluster of two nodes is not supported: list three or more in cluster.hosts")
		}
		if len(hosts) == 0 {
			return config.Invalid.Field("cluster.hosts", "cluster.discovery is tcp-fixed, and cluster.hosts is empty")
		}
	case byKubernetes:
		if k.Namespace == "" || k.Labels == "" {
			return config.Invalid.Field("cluster.kubernetes_namespace", "cluster.discovery is kubernetes, and cluster.kubernetes_namespace or cluster.kubernetes_labels is empty")
		}
	default:
		return config.Invalid.Field("cluster.discovery", "cluster.discovery is %s, %s or %s, not %q", byMulticast, byHosts, byKubernetes, k.Discovery)
	}
	if !k.TLS {
		return nil
	}
	pem := k.Cert != "" || k.Key != "" || k.CA != ""
	switch {
	case k.KeyStore == "" && !pem:
		return config.Invalid.Field("cluster.key_store", "cluster.tls needs cluster.key_store, or cluster.cert, cluster.key and cluster.ca")
	case k.KeyStore != "" && pem:
		return config.Invalid.Field("cluster.key_store", "cluster.key_store and cluster.cert, cluster.key, cluster.ca exclude each other")
	case pem && (k.Cert == "" || k.Key == "" || k.CA == ""):
		return config.Invalid.Field("cluster.cert", "cluster.cert, cluster.key and cluster.ca belong together")
	}
	return nil
}

// parseHosts reads a list of nodes, each host[port] as JGroups writes it, or host:port.
func parseHosts(list string) ([]string, error) {
	var out []string
	for entry := range listed(list) {
		host, port, ok := strings.Cut(strings.TrimSuffix(entry, "]"), "[")
		if !ok || !strings.HasSuffix(entry, "]") {
			var err error
			if host, port, err = net.SplitHostPort(entry); err != nil {
				return nil, config.Invalid.Field("cluster.hosts", "cluster.hosts: %q is not of the form host[port]", entry)
			}
		}
		n, err := strconv.Atoi(port)
		if host == "" || err != nil || n < 1 || n > 65535 {
			return nil, config.Invalid.Field("cluster.hosts", "cluster.hosts: %q is not of the form host[port]", entry)
		}
		out = append(out, net.JoinHostPort(host, port))
	}
	return out, nil
}

// advertised is the address that other nodes dial.
func (c *Config) advertised() string {
	return net.JoinHostPort(c.Cluster.Address, strconv.Itoa(c.Ports.Cluster))
}

// digests are what nodes compare. Two URLs of a database are the same if they differ in the
// password alone: a wrong one does not get far enough to be compared.
func (c *Config) digests(key []byte) map[string]string {
	out := config.Digests(c, key)
	shown := *c
	shown.Store.URL = withoutPassword(c.Store.URL)
	shown.Cluster.Hosts = sortedHosts(c.Cluster.Hosts)
	agreed := config.Digests(&shown, nil)
	out["store.url"], out["cluster.hosts"] = agreed["store.url"], agreed["cluster.hosts"]
	// Where these files are is a node's own affair, what is in them is not.
	for name, path := range map[string]string{"kong.declarative_config": c.Kong.Declarative, "gate.lua_path": c.Gate.LuaPath, "gate.wasm_filters_path": c.Gate.WasmFilters} {
		out[name] = "none"
		if path != "" {
			out[name] = contentDigest(path)
		}
	}
	return out
}

// sortedHosts is a list of hosts in an order of its own: in which they were written says nothing.
func sortedHosts(list string) string {
	hosts := slices.Sorted(listed(list))
	return strings.Join(hosts, ",")
}

// contentDigest is a digest of a file, or of the files in a directory with their names.
func contentDigest(path string) string {
	sum := sha256.New()
	err := filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Type()&fs.ModeSymlink != 0 { // as Kubernetes mounts its files
			if info, err := os.Stat(name); err != nil || info.IsDir() {
				return err
			}
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }() // read only
		rel, err := filepath.Rel(path, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s\x00", rel)
		n, err := io.Copy(sum, f)
		fmt.Fprintf(sum, "\x00%d\x00", n)
		return err
	})
	if err != nil {
		return "unreadable" // whoever needs the file says so
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// placeKeys are the keys that are a node's own in every cluster: where it is, what it is called, and where its
// files are.
var placeKeys = []string{"data", "host", "port_base", "ports.proxy", "ports.proxy_tls", "ports.kong_admin", "ports.aws", "ports.sql", "ports.console", "ports.cluster",
	"ports.status", "cluster.node", "cluster.address", "cluster.generation", "cluster.roles", "cluster.key_store", "cluster.key_store_password", "cluster.cert", "cluster.key",
	"cluster.ca", "cluster.kubernetes_account", "root.passphrase_file", "kong.admin_host", "kong.proxy_host", "kong.declarative_config", "gate.stream_listen", "gate.tls_cert",
	"gate.tls_key", "gate.lua_path", "gate.wasm_filters_path", "console.host", "console.key_store", "console.key_store_password", "console.key_password",
	"console.trust_store", "console.trust_store_password"}

// ownDigests are of the keys that nodes may have their own values of, but seldom mean to: how many connections,
// how much memory, how much is logged. A node warns of those that differ.
func (c *Config) ownDigests() map[string]string {
	out := config.OwnDigests(c)
	for _, key := range placeKeys {
		delete(out, key)
	}
	return out
}

func withoutPassword(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Sprintf("unreadable, %d bytes", len(raw)) // complete has refused it
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	return u.String()
}

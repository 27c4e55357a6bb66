package node

import (
	"crypto/tls"
	"crypto/x509"
	"path"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/keystore"
)

// ConsoleConfig is how the console's port is served.
type ConsoleConfig struct {
	Host          string `yaml:"host" scope:"node" doc:"address that the console's port binds; that of host where it is empty"`
	ContextPath   string `yaml:"context_path" doc:"path below which edge agents and the API of Edge Flow Manager are served"`
	TLS           bool   `yaml:"tls" doc:"serve the console's port by TLS with the certificate of console.key_store, or with one of the platform's own authority where that is empty"`
	KeyStore      string `yaml:"key_store" scope:"node" doc:"PKCS #12 or JKS key store with the key and the certificate of the console's port, read again when it changes"`
	Password      string `yaml:"key_store_password" secret:"true" scope:"node" doc:"password of console.key_store"`
	KeyPassword   string `yaml:"key_password" secret:"true" scope:"node" doc:"password of the key in console.key_store, where it is another one"`
	TrustStore    string `yaml:"trust_store" scope:"node" doc:"key store with the authorities of clients' certificates; those in console.key_store count too"`
	TrustPassword string `yaml:"trust_store_password" secret:"true" scope:"node" doc:"password of console.trust_store"`
	ClientAuth    string `yaml:"client_auth" doc:"for console.key_store: none, want or need a certificate of the client, of an authority of the stores or of the platform's own, which issues those of agents; need holds for the paths of agents, so that browsers can use the port"`
}

// EdgeConfig is how agents at the edge are watched, and how changes go out to them.
type EdgeConfig struct {
	Manifest string `yaml:"manifest" doc:"which agent manifest a class has: first-in, last-in, or static for the one that is assigned to it"`

	RequireCertificate bool `yaml:"require_certificate" doc:"refuse agents that show no certificate of this platform's authority, which they get by enrolling"`

	MaxHeartbeat    time.Duration `yaml:"max_heartbeat_interval" doc:"an agent that is silent for longer is missing"`
	MaxHeartbeatFor string        `yaml:"max_heartbeat_interval_for" doc:"the same for classes of their own, CLASS=DURATION separated by commas; 0s watches none of the class"`

	Timeouts        bool          `yaml:"operation_timeouts" doc:"send operations again that an agent does not finish in time, and give them up after five attempts"`
	DeployedTimeout time.Duration `yaml:"deployed_timeout" doc:"how long an agent may work on an operation before it gets it again"`

	BatchEvery    time.Duration `yaml:"batch_every" doc:"the time that the edge.batch keys are about"`
	Batch         int           `yaml:"batch" doc:"the most operations that a node hands out to agents in edge.batch_every; 0 for no bound"`
	AssetBatch    int           `yaml:"batch_update_asset" doc:"the same for updates of assets"`
	ConfigBatch   int           `yaml:"batch_update_configuration" doc:"the same for updates of flows"`
	PropertyBatch int           `yaml:"batch_update_properties" doc:"the same for updates of properties"`
	ResourceBatch int           `yaml:"batch_sync_resource" doc:"the same for the synchronisation of resources"`

	Metrics       bool `yaml:"metrics" doc:"tell of agents in the node's metrics"`
	MetricClasses int  `yaml:"metrics_max_classes" doc:"the most classes that metrics tell apart"`
}

// Ways in which a class gets its manifest, and kinds of asking a client for a certificate.
var (
	manifestStrategies = []string{"first-in", "last-in", "static"}
	clientAuths        = map[string]tls.ClientAuthType{"none": tls.NoClientCert, "want": tls.RequestClientCert, "need": tls.RequestClientCert} // need is asked for on agents' paths: browsers use the port too
)

func edgeDefaults() EdgeConfig {
	return EdgeConfig{Manifest: "first-in", MaxHeartbeat: 5 * time.Minute, Timeouts: true, DeployedTimeout: 5 * time.Minute,
		BatchEvery: 10 * time.Second, Metrics: true, MetricClasses: 20}
}

func (c *Config) completeEdge() error {
	e := c.Edge
	if !slices.Contains(manifestStrategies, e.Manifest) {
		return config.Invalid.Field("edge.manifest", "edge.manifest is first-in, last-in or static, not %q", e.Manifest)
	}
	for key, d := range map[string]time.Duration{"edge.max_heartbeat_interval": e.MaxHeartbeat, "edge.deployed_timeout": e.DeployedTimeout,
		"edge.batch_every": e.BatchEvery} {
		if d <= 0 {
			return config.Invalid.Field(key, "%s is positive, not %s", key, d)
		}
	}
	for key, n := range map[string]int{"edge.batch": e.Batch, "edge.batch_update_asset": e.AssetBatch, "edge.batch_update_configuration": e.ConfigBatch,
		"edge.batch_update_properties": e.PropertyBatch, "edge.batch_sync_resource": e.ResourceBatch, "edge.metrics_max_classes": e.MetricClasses} {
		if n < 0 {
			return config.Invalid.Field(key, "%s is not negative: %d", key, n)
		}
	}
	if _, err := e.heartbeats(); err != nil {
		return err
	}
	return c.completeConsole()
}

// heartbeats are the longest intervals of classes that have their own.
func (e *EdgeConfig) heartbeats() (map[string]time.Duration, error) {
	out := map[string]time.Duration{}
	for entry := range listed(e.MaxHeartbeatFor) {
		class, text, _ := strings.Cut(entry, "=")
		d, err := time.ParseDuration(text)
		if class == "" || err != nil || d < 0 {
			return nil, config.Invalid.Field("edge.max_heartbeat_interval_for", "edge.max_heartbeat_interval_for: %q is not of the form CLASS=DURATION", entry)
		}
		out[class] = d
	}
	return out, nil
}

func (c *Config) completeConsole() error {
	k := &c.Console
	if k.Host == "" {
		k.Host = c.Host
	}
	if k.ContextPath == "/" {
		k.ContextPath = ""
	}
	if p := k.ContextPath; p != "" && (!strings.HasPrefix(p, "/") || path.Clean(p) != p || strings.ContainsAny(p, " {}?#%")) {
		return config.Invalid.Field("console.context_path", "console.context_path is a path such as /efm, not %q", p)
	}
	if first, _, _ := strings.Cut(strings.TrimPrefix(k.ContextPath, "/"), "/"); first == "api" || first == "rest" {
		return config.Invalid.Field("console.context_path", "console.context_path cannot begin with /%s, which is the console's own", first)
	}
	if _, ok := clientAuths[k.ClientAuth]; !ok {
		return config.Invalid.Field("console.client_auth", "console.client_auth is none, want or need, not %q", k.ClientAuth)
	}
	if k.TLS && k.KeyStore != "" && k.ClientAuth == "none" && c.Edge.RequireCertificate {
		return config.Invalid.Field("console.client_auth", "edge.require_certificate needs console.client_auth want or need, as agents are not asked for certificates otherwise")
	}
	return nil
}

// ownConsole tells whether the console's port has a certificate that is the owner's, not the
// platform's.
func (c *Config) ownConsole() bool { return c.Console.TLS && c.Console.KeyStore != "" }

// consoleTLS is how the console's port is served; nil for plain. The platform's authority
// issues the certificates of agents, so they are always asked for where they could be.
func (c *Config) consoleTLS(b *base, ca *authority, platform *tls.Config) (*tls.Config, error) {
	k := c.Console
	if !c.ownConsole() {
		if !k.TLS && !c.TLS {
			return nil, nil
		}
		own := platform.Clone()
		own.ClientAuth = tls.RequestClientCert // what it shows is verified when it counts
		return own, nil
	}
	id, err := keystore.Open(keystore.Config{KeyStore: k.KeyStore, Password: k.Password, KeyPassword: k.KeyPassword,
		TrustStore: k.TrustStore, TrustPassword: k.TrustPassword, Authorities: []*x509.Certificate{ca.cert}, Clock: b.clock, Log: b.log})
	if err != nil {
		return nil, config.Invalid.Wrap(err, "cannot use the certificate for console.tls")
	}
	b.jobs.Go("the console's certificate", id.Run)
	return id.Listener(clientAuths[k.ClientAuth]), nil
}

package node_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/node"
)

// seedProperties is the configuration that the documentation of Edge Flow Manager prints.
const seedProperties = `# Web Server Properties
# address: the hostname or ip address of the interface to bind to; to bind to all, use 0.0.0.0
efm.server.address=10.0.0.1
efm.server.port=10090
efm.server.servlet.contextPath=/efm
efm.cluster.enabled=true
# Database Properties
efm.db.url=jdbc:mysql://database.example.come:3306/efm
efm.db.driverClass=com.mysql.cj.jdbc.Driver
efm.db.username=efm
efm.db.password=efmPassword
efm.db.maxConnections=50
efm.db.sqlDebug=false
`

// efm loads an efm.properties as the program does.
func efm(t *testing.T, text string, environ ...string) (*node.Config, []string, error) {
	t.Helper()
	keys, err := node.ParseProperties("efm.properties", []byte(text))
	if err != nil {
		return nil, nil, err
	}
	variables, ignored, err := node.FromEFM(keys, environ)
	if err != nil {
		return nil, nil, err
	}
	c := node.Defaults()
	return c, ignored, config.Load(c, "", variables)
}

func TestEFMProperties(t *testing.T) {
	c, ignored, err := efm(t, seedProperties)
	if err != nil {
		t.Fatal(err)
	}
	if c.Console.Host != "10.0.0.1" || c.Ports.Console != 10090 || c.Console.ContextPath != "/efm" || !c.Cluster.Enabled || c.Cluster.Name != "efm" || c.Host != "127.0.0.1" ||
		c.Cluster.Address != "10.0.0.1" || c.Cluster.Node != "10.0.0.1" || c.Cluster.Discovery != "tcp" || c.Ports.Cluster != 7800 || c.Cluster.TLS ||
		c.Store.URL != "mysql://efm:efmPassword@database.example.come:3306/efm" || c.Store.Connections != 50 || len(ignored) != 0 {
		t.Errorf("%+v\n%q", c, ignored)
	}

	c, ignored, err = efm(t, `
efm.server.address = node1.example.com
efm.server.ssl.enabled: true
efm.server.ssl.keyStore=./conf/keystore.jks
efm.server.ssl.key-store-password = p\u0061ss\ word\t
efm.server.ssl.keyStoreType=jks
efm.server.ssl.keyPassword=another
efm.server.ssl.trustStore=/conf/trust.jks
efm.server.ssl.trustStoreType=jks
efm.server.ssl.trustStorePassword=trusted
efm.server.ssl.clientAuth=WANT
efm.cluster.enabled=true
efm.cluster.address=cluster1.example.com
! another kind of comment
efm.infinispan.environment=tcp-fixed
efm.infinispan.jgroups[tcpping.initial_hosts]=localhost[7801],\
    localhost[7802],\
    localhost[7803]
efm.infinispan.jgroups[bind.port.jgroups.tcp.port]=7801
efm.infinispan.ssl.enable=true
efm.infinispan.ssl.key-store=/conf/infini.keystore.jks
efm.infinispan.ssl.key-store-password=${STORE_PASS:none}
efm.encryption.password=master
efm.db.url=jdbc:postgresql://${DB_HOST}/efm?sslmode=require&ApplicationName=efm
efm.db.driverClass=org.postgresql.Driver
efm.db.username=e@f:m
efm.db.password=in the file
efm.db.l2CacheEnabled=false
efm.db.sqlDebug=true
efm.operation.monitoring.enabled=false
efm.operation.monitoring.rollingBatchOperationsSize=7
efm.operation.monitoring.rollingOperationsSize.update.asset=1
efm.operation.monitoring.rollingOperationsSize.update.configuration=2
efm.operation.monitoring.rollingOperationsSize.update.properties=3
efm.operation.monitoring.rollingOperationsSize.sync.resource=4
efm.operation.monitoring.rollingBatchOperationsFrequency=1500
efm.operation.monitoring.inQueuedStateTimeoutHeartbeatRate=2.5
efm.operation.monitoring.inDeployedStateTimeout=1d
efm.operation.monitoring.inDeployedStateCheckFrequency=30s
efm.monitor.maxHeartbeatInterval=6m
efm.monitor.maxHeartbeatIntervalForClass.[Class\ A]=1m
efm.monitor.maxHeartbeatIntervalForClass.[Class\ C]=0m
efm.manifest.strategy=LAST_IN
management.metrics.efm.enabled=false
management.metrics.efm.enableTag.agentClass=true
management.metrics.efm.enableTag.agentId=true
management.metrics.efm.enableTag.host=true
management.metrics.efm.maxTags.agentId=5
efm.security.user.auth.enabled=false
efm.security.user.saml.enabled=false
efm.security.user.saml.metadata=none
logging.level.com.cloudera.cem.efm=DEBUG
logging.level.root=WARN
spring.main.banner-mode=log
`, "EFM_DB_PASSWORD=s3cret", "EFM_HOME=/opt/efm", "DB_HOST=db.internal", "PATH=/bin")
	if err != nil {
		t.Fatal(err)
	}
	wantCluster := node.Defaults().Cluster
	wantCluster.Enabled, wantCluster.Name, wantCluster.Node, wantCluster.Address = true, "efm", "cluster1.example.com-7801", "cluster1.example.com"
	wantCluster.Discovery, wantCluster.Hosts, wantCluster.TLS = "tcp-fixed", "localhost[7801],localhost[7802],localhost[7803]", true
	wantCluster.KeyStore, wantCluster.Password = "/conf/infini.keystore.jks", "none"
	if c.Cluster != wantCluster || c.Ports.Cluster != 7801 {
		t.Errorf("%+v", c.Cluster)
	}
	if want := (node.ConsoleConfig{Host: "node1.example.com", ContextPath: "/efm", TLS: true, KeyStore: "./conf/keystore.jks", Password: "pass word\t", KeyPassword: "another",
		TrustStore: "/conf/trust.jks", TrustPassword: "trusted", ClientAuth: "want"}); c.Console != want {
		t.Errorf("%+v", c.Console)
	}
	if want := (node.EdgeConfig{Manifest: "last-in", MaxHeartbeat: 6 * time.Minute, MaxHeartbeatFor: "Class A=1m0s,Class C=0s", DeployedTimeout: 24 * time.Hour,
		BatchEvery: 1500 * time.Millisecond, Batch: 7, AssetBatch: 1, ConfigBatch: 2, PropertyBatch: 3, ResourceBatch: 4,
		MetricClasses: 20}); c.Edge != want {
		t.Errorf("%+v", c.Edge)
	}
	if c.Store.URL != "postgres://e%40f%3Am:s3cret@db.internal:5432/efm?sslmode=require" || c.Root.Passphrase != "master" || c.Log.Level != "debug" {
		t.Errorf("%s %s %s", c.Store.URL, c.Root.Passphrase, c.Log.Level)
	}
	for _, name := range []string{"efm.db.l2CacheEnabled", "efm.db.sqlDebug", "efm.security.user.auth.enabled", "efm.security.user.saml.metadata",
		"management.metrics.efm.enableTag.host", "spring.main.banner-mode", "efm.operation.monitoring.inQueuedStateTimeoutHeartbeatRate",
		"efm.operation.monitoring.inDeployedStateCheckFrequency", "management.metrics.efm.enableTag.agentId", "management.metrics.efm.maxTags.agentId"} {
		if !slices.ContainsFunc(ignored, func(s string) bool { return strings.HasPrefix(s, name+" ") }) {
			t.Errorf("nothing is said of %s: %q", name, ignored)
		}
	}
	if len(ignored) != 10 {
		t.Errorf("%q", ignored)
	}
}

func TestEFMDatabases(t *testing.T) {
	for url, want := range map[string]string{
		"jdbc:mariadb://db/efm": "mysql://u:p@db:3306/efm",
		"jdbc:mysql://db:3307/efm?useSSL=true&serverTimezone=UTC&requireSSL=true": "mysql://u:p@db:3307/efm?tls=skip-verify",
		"jdbc:mysql://[::1]/efm?sslMode=VERIFY_IDENTITY&useSSL=false":             "mysql://u:p@[::1]:3306/efm?tls=true",
		"jdbc:postgresql://db/efm?ssl=true":                                       "postgres://u:p@db:5432/efm?sslmode=verify-full",
		"jdbc:postgresql://db/efm?user=other&currentSchema=edge":                  "postgres://u:p@db:5432/efm?search_path=edge",
	} {
		if c, _, err := efm(t, "efm.db.url="+url+"\nefm.db.username=u\nefm.db.password=p\n"); err != nil || c.Store.URL != want {
			t.Errorf("%s: %v, %v", url, c, err)
		}
	}
	if c, _, err := efm(t, ""); err != nil || c.Store.URL != "" || c.Cluster.Enabled || c.Cluster.Name != "efm" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestEFMPropertiesRefused(t *testing.T) {
	const cluster = "efm.cluster.enabled=true\nefm.server.address=10.0.0.1\nefm.db.url=jdbc:mysql://db/efm\n"
	for text, want := range map[string]string{
		"efm.server.prot=1\nefm.db.ulr=x":                                                  "known here: efm.db.ulr, efm.server.prot",
		"efm.server.port=many":                                                             `efm.server.port: "many" is not a port`,
		"efm.server.port=70000":                                                            "efm.server.port: ",
		"efm.server.ssl.enabled=maybe":                                                     "efm.server.ssl.enabled: ",
		"efm.server.ssl.clientAuth=OFTEN":                                                  "efm.server.ssl.clientAuth: ",
		"efm.server.ssl.keyStoreType=BKS":                                                  "efm.server.ssl.keyStoreType: ",
		"efm.server.ssl.keyStore=a\nefm.server.ssl.key-store=b":                            "efm.server.ssl.key-store and efm.server.ssl.keyStore are the same key",
		"efm.cluster.enabled=2":                                                            "efm.cluster.enabled: ",
		"efm.cluster.enabled=true\nefm.server.address=10.0.0.1":                            "efm.db.url names no database",
		"efm.cluster.enabled=yes\nefm.server.address=10.0.0.1":                             "efm.db.url names no database",
		"efm.cluster.enabled=true\nefm.db.url=jdbc:mysql://db/efm":                         "efm.cluster.address is where",
		strings.Replace(cluster, "10.0.0.1", "0.0.0.0", 1):                                 "efm.cluster.address is where",
		cluster + "efm.infinispan.jgroups[bind.port.jgroups.tcp.port]=none":                "efm.infinispan.jgroups[bind.port.jgroups.tcp.port]: ",
		cluster + "efm.infinispan.jgroups[jgroups.mystery]=1":                              "known here: efm.infinispan.jgroups[jgroups.mystery]",
		"efm.db.url=jdbc:h2:./database/efm;AUTOCOMMIT=OFF":                                 "H2",
		"efm.db.url=jdbc:oracle:thin:@db":                                                  "efm.db.url begins with",
		"efm.db.url=mysql://db/efm":                                                        "efm.db.url begins with",
		"efm.db.url=jdbc:mysql://db1,db2/efm":                                              "efm.db.url is not of the form",
		"efm.db.url=jdbc:mysql://db":                                                       "efm.db.url is not of the form",
		"efm.db.url=jdbc:mysql://u:hush%zz@db/efm":                                         "efm.db.url is not of the form",
		"efm.db.url=jdbc:mysql://db/efm?allowLoadLocalInfile=true":                         `parameter "allowLoadLocalInfile"`,
		"efm.db.url=jdbc:mysql://db/efm?sslMode=sometimes":                                 "parameter sslMode",
		"efm.db.url=jdbc:postgresql://db/efm?sslmode=sometimes":                            "parameter sslmode",
		"efm.db.url=jdbc:postgresql://db/efm\nefm.db.driverClass=com.mysql.cj.jdbc.Driver": `efm.db.driverClass "com.mysql.cj.jdbc.Driver" does not fit`,
		"efm.db.username=efm":                                                              "efm.db.url is empty",
		"efm.db.maxConnections=lots":                                                       "efm.db.maxConnections: ",
		"efm.db.password=ENC(abc=)":                                                        "efm.db.password: an encrypted value",
		"efm.db.password=${HUSH}":                                                          "efm.db.password: HUSH is not set",
		"efm.encryption.password=":                                                         "efm.encryption.password: ",
		"efm.security.user.saml.enabled=true":                                              "efm.security.user.saml.enabled: ",
		"efm.security.user.oidc.enabled=true":                                              "efm.security.user.oidc.enabled: ",
		"efm.heartbeat.kafka.publishEnabled=true":                                          "efm.heartbeat.kafka.publishEnabled: ",
		"efm.operation.monitoring.inDeployedStateTimeout=5 parsecs":                        "efm.operation.monitoring.inDeployedStateTimeout: ",
		"efm.operation.monitoring.rollingBatchOperationsFrequency=0s":                      "efm.operation.monitoring.rollingBatchOperationsFrequency: ",
		"efm.operation.monitoring.rollingBatchOperationsSize=-1":                           "efm.operation.monitoring.rollingBatchOperationsSize: ",
		"efm.monitor.maxHeartbeatIntervalForClass.[A,B]=1m":                                "efm.monitor.maxHeartbeatIntervalForClass.[A,B]: ",
		"efm.manifest.strategy=best":                                                       "efm.manifest.strategy: ",
		"management.metrics.efm.enableTag.agentClass=perhaps":                              "management.metrics.efm.enableTag.agentClass: ",
		"efm.server.port=\\u12":                                                            "efm.properties: Line 1",
	} {
		_, _, err := efm(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || !config.Invalid.Is(err) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: a password is in %v", text, err)
		}
	}
}

// Whatever a file says, it is either refused or becomes a configuration that loads.
func FuzzEFMProperties(f *testing.F) {
	f.Add([]byte(seedProperties))
	f.Add([]byte("efm.infinispan.jgroups[tcpping.initial_hosts]=a[1],\\\n b[2]\nefm.monitor.maxHeartbeatIntervalForClass.[x]=9d\n"))
	f.Add([]byte("efm.db.url=jdbc:postgresql://db/efm?sslmode=prefer&user=${X:y}\nefm.manifest.strategy : Static\n!c\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := node.ParseProperties("efm.properties", raw)
		if err != nil {
			return
		}
		variables, _, err := node.FromEFM(keys, nil)
		if err != nil {
			if !config.Invalid.Is(err) {
				t.Errorf("%v", err)
			}
			return
		}
		if err := config.Load(node.Defaults(), "", variables); err != nil {
			t.Errorf("%q does not load: %v", variables, err)
		}
	})
}

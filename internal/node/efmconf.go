package node

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/magiconair/properties"

	"sluice.dev/sluice/internal/base/config"
)

// An efm.properties is translated into the variables of this program's own configuration, as a
// kong.conf is. Keys are compared as Spring Boot does, without regard to capitals and hyphens
// outside of brackets. A key that nobody knows is refused; one that Edge Flow Manager has
// and that has no meaning here is told of and ignored, unless it asks for something that
// would then silently not be.

// ParseProperties reads a file in the form of Java's properties, in ISO 8859-1 as Spring Boot
// does. Its name is for errors.
func ParseProperties(file string, raw []byte) (map[string]string, error) {
	p, err := (&properties.Loader{Encoding: properties.ISO_8859_1, DisableExpansion: true}).LoadBytes(raw)
	if err != nil {
		return nil, config.Invalid.New("%s: %s", file, strings.TrimPrefix(err.Error(), "properties: "))
	}
	return p.Map(), nil
}

// FromEFM translates keys of an efm.properties into variables of this program, and tells what
// was ignored. Variables of the environment such as EFM_DB_PASSWORD stand for their keys, and
// come before them.
func FromEFM(keys map[string]string, environ []string) (variables, ignored []string, err error) {
	t := &translation{keys: map[string]string{}}
	written := map[string]string{} // the names as the file has them
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		k := canonical(name)
		if other, twice := written[k]; twice {
			return nil, nil, config.Invalid.Field(name, "%s and %s are the same key", other, name)
		}
		written[k], t.keys[k] = name, keys[name]
	}
	env := efmVariables(environ)
	for k, v := range env {
		if _, ok := written[k]; !ok {
			written[k] = k
		}
		t.keys[k] = v
	}
	t.set("cluster.name", "efm")
	var unknown []string
	names := slices.Sorted(maps.Keys(t.keys))
	for _, k := range names {
		translate, ok := efmKey(k)
		if !ok {
			unknown = append(unknown, written[k])
			continue
		}
		if t.keys[k], err = resolve(t.keys, environ, t.keys[k]); err == nil {
			if strings.HasPrefix(t.keys[k], "ENC(") {
				err = errors.New("an encrypted value is not read: give the value by a variable of the environment, such as EFM_DB_PASSWORD")
			} else {
				t.name = written[k]
				err = translate(t, t.keys[k])
			}
		}
		if err != nil {
			return nil, nil, config.Invalid.Field(written[k], "%s: %s", written[k], err)
		}
	}
	if len(unknown) > 0 {
		return nil, nil, config.Invalid.Field(unknown[0], "these are no keys of Edge Flow Manager that are known here: %s", strings.Join(unknown, ", "))
	}
	if err := t.efmDatabase(); err != nil {
		return nil, nil, err
	}
	if err := t.efmCluster(); err != nil {
		return nil, nil, err
	}
	return t.variables, t.ignored, nil
}

// canonical is a key without what Spring Boot does not tell apart.
func canonical(name string) string {
	plain, bracketed, found := strings.Cut(name, "[")
	plain = strings.ReplaceAll(strings.ToLower(plain), "-", "")
	if !found {
		return plain
	}
	return strings.TrimSuffix(plain, ".") + "[" + bracketed
}

// efmVariables are the keys that variables of the environment stand for.
func efmVariables(environ []string) map[string]string {
	out := map[string]string{}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, "EFM_") {
			continue
		}
		if key := strings.ToLower(strings.ReplaceAll(name, "_", ".")); efmKeys[key] != nil {
			out[key] = value
		}
	}
	return out
}

var placeholder = regexp.MustCompile(`\$\{([^{}:]+)(:[^{}]*)?\}`)

// resolve puts values in the place of ${NAME} and ${NAME:default}, from the file and then from
// the environment.
func resolve(keys map[string]string, environ []string, value string) (string, error) {
	var missing string
	out := placeholder.ReplaceAllStringFunc(value, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		if v, ok := keys[canonical(m[1])]; ok && !strings.Contains(v, "${") {
			return v
		}
		for _, pair := range environ {
			if name, v, _ := strings.Cut(pair, "="); name == m[1] {
				return v
			}
		}
		if m[2] == "" {
			missing = m[1]
		}
		return strings.TrimPrefix(m[2], ":")
	})
	if missing != "" {
		return "", fmt.Errorf("%s is not set", missing)
	}
	return out, nil
}

// efmKeys are the keys that mean something here.
var efmKeys = map[string]kongKey{
	"efm.server.address":                efmAddress,
	"efm.web.host":                      efmAddress,
	"efm.server.port":                   port("ports.console"),
	"efm.server.servlet.contextpath":    same("console.context_path"),
	"efm.server.ssl.enabled":            boolean("console.tls"),
	"efm.server.ssl.keystore":           same("console.key_store"),
	"efm.server.ssl.keystorepassword":   same("console.key_store_password"),
	"efm.server.ssl.keystoretype":       storeType,
	"efm.server.ssl.keypassword":        same("console.key_password"),
	"efm.server.ssl.truststore":         same("console.trust_store"),
	"efm.server.ssl.truststorepassword": same("console.trust_store_password"),
	"efm.server.ssl.truststoretype":     storeType,
	"efm.server.ssl.clientauth":         clientAuth,

	"efm.cluster.enabled": boolean("cluster.enabled"),
	"efm.cluster.address": same("cluster.address"),

	"efm.db.url":            nothing, // see efmDatabase
	"efm.db.driverclass":    nothing,
	"efm.db.username":       nothing,
	"efm.db.password":       nothing,
	"efm.db.maxconnections": whole("store.connections"),
	"efm.db.sqldebug":       unless("false", "statements are not logged"),

	"efm.infinispan.environment":                         same("cluster.discovery"),
	"efm.infinispan.jgroups[tcpping.initial_hosts]":      same("cluster.hosts"),
	"efm.infinispan.jgroups[bind.port.jgroups.tcp.port]": port("ports.cluster"),
	"efm.infinispan.jgroups[kubeping.namespace]":         same("cluster.kubernetes_namespace"),
	"efm.infinispan.jgroups[kubeping.labels]":            same("cluster.kubernetes_labels"),
	"efm.infinispan.ssl.enable":                          boolean("cluster.tls"),
	"efm.infinispan.ssl.keystore":                        same("cluster.key_store"),
	"efm.infinispan.ssl.keystorepassword":                same("cluster.key_store_password"),

	"efm.encryption.password": passphrase,

	"efm.operation.monitoring.enabled":                                    boolean("edge.operation_timeouts"),
	"efm.operation.monitoring.rollingbatchoperationssize":                 whole("edge.batch"),
	"efm.operation.monitoring.rollingoperationssize.update.asset":         whole("edge.batch_update_asset"),
	"efm.operation.monitoring.rollingoperationssize.update.configuration": whole("edge.batch_update_configuration"),
	"efm.operation.monitoring.rollingoperationssize.update.properties":    whole("edge.batch_update_properties"),
	"efm.operation.monitoring.rollingoperationssize.sync.resource":        whole("edge.batch_sync_resource"),
	"efm.operation.monitoring.rollingbatchoperationsfrequency":            duration("edge.batch_every"),
	"efm.operation.monitoring.inqueuedstatetimeoutheartbeatrate":          unless("1.0", "an operation waits until its agent reports, or its day is over"),
	"efm.operation.monitoring.indeployedstatetimeout":                     duration("edge.deployed_timeout"),
	"efm.operation.monitoring.indeployedstatecheckfrequency":              ignored("is looked at with every heartbeat"),
	"efm.monitor.maxheartbeatinterval":                                    duration("edge.max_heartbeat_interval"),
	"efm.manifest.strategy":                                               manifestStrategy,

	"efm.security.user.auth.enabled":               unless("true", "the API asks for credentials always"),
	"efm.security.user.certificate.enabled":        refused("false", "users sign in with an access key; certificates are for agents"),
	"efm.security.user.oidc.enabled":               refused("false", "single sign-on by OpenID Connect is not served on the console's port"),
	"efm.security.user.saml.enabled":               refused("false", "SAML is not served"),
	"efm.security.user.knox.enabled":               refused("false", "Knox is not served"),
	"efm.security.user.ldap.enabled":               refused("false", "LDAP is not served"),
	"efm.security.user.proxy.enabled":              refused("false", "a proxy's word on who a user is is not taken"),
	"efm.heartbeat.kafka.publishenabled":           refused("false", "heartbeats are not forwarded to Kafka"),
	"efm.nifi.registry.enabled":                    refused("false", "versions of flows are kept by the nodes themselves"),
	"efm.agentdeployer.security.autoconfiguration": refused("false", "agents are enrolled otherwise"),
	"efm.property.encryptor.password":              refused("", "encrypted values are not read"),
	"efm.property.encryptor.passwordfile":          refused("", "encrypted values are not read"),

	"management.metrics.efm.enabled":                   boolean("edge.metrics"),
	"management.metrics.efm.enabletag.agentclass":      tag,
	"management.metrics.efm.enabletag.agentmanifestid": unless("false", "metrics tell classes apart, and nothing finer"),
	"management.metrics.efm.enabletag.agentid":         unless("false", "metrics tell classes apart, and nothing finer"),
	"management.metrics.efm.maxtags.agentclass":        whole("edge.metrics_max_classes"),
	"management.metrics.efm.maxtags.agentmanifestid":   ignored("is of a label that metrics have not"),
	"management.metrics.efm.maxtags.agentid":           ignored("is of a label that metrics have not"),

	"logging.level.root": springLevel,
	ownLevel:             springLevel,
}

// efmForeign are beginnings of keys that Edge Flow Manager has and that have no meaning here.
var efmForeign = map[string]string{
	"efm.security.user.": "belongs to a way of signing in that is not used", "efm.server.jetty.": "tunes another server",
	"efm.db.l2cacheenabled": "tunes another cache", "efm.heartbeat.": "is about heartbeats that are not kept", "efm.event.": "is not served yet",
	"efm.agentclassmonitor.": "has no counterpart", "efm.monitor.agentcertexpirywarninginterval": "is not served yet", "efm.bulletinregistry.": "is not served yet",
	"efm.actuator.": "has no counterpart: health is always current", "efm.el.": "has no counterpart", "efm.data.transfer.": "is not served yet",
	"efm.agentmanager.": "is about another user interface", "efm.asset.": "has no counterpart", "efm.diagnosticbundle.": "has no counterpart",
	"efm.agentdeployer.": "has no counterpart", "efm.nifi.registry.": "is of a registry that is not used",
	"management.": "is about metrics or health that are told of otherwise", "logging.": "is about another log", "spring.": "is about another framework",
}

// ownLevel is the log level of Edge Flow Manager's own classes.
const ownLevel = "logging.level.com.cloudera.cem.efm"

const ownHeartbeat = "efm.monitor.maxheartbeatintervalforclass["

// efmKey is how a canonical key is translated.
func efmKey(k string) (kongKey, bool) {
	if translate, ok := efmKeys[k]; ok {
		return translate, true
	}
	if class, ok := strings.CutPrefix(k, ownHeartbeat); ok && strings.HasSuffix(class, "]") {
		return heartbeatOf(strings.TrimSuffix(class, "]")), true
	}
	for prefix, why := range efmForeign {
		if strings.HasPrefix(k, prefix) {
			return func(t *translation, _ string) error {
				t.ignore(t.name, why)
				return nil
			}, true
		}
	}
	return nil, false
}

// truths are Spring Boot's words for true and false.
var truths = map[string]bool{"true": true, "on": true, "yes": true, "1": true, "false": false, "off": false, "no": false, "0": false}

func boolean(key string) kongKey {
	return func(t *translation, value string) error {
		b, ok := truths[strings.ToLower(strings.TrimSpace(value))]
		if !ok {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		t.set(key, strconv.FormatBool(b))
		return nil
	}
}

func whole(key string) kongKey {
	return func(t *translation, value string) error {
		n, err := strconv.Atoi(strings.TrimSpace(value))
		if err != nil || n < 1 {
			return fmt.Errorf("%q is not a positive number", value)
		}
		t.set(key, strconv.Itoa(n))
		return nil
	}
}

func port(key string) kongKey {
	return func(t *translation, value string) error {
		n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port", value)
		}
		t.set(key, strconv.FormatUint(n, 10))
		return nil
	}
}

var springDuration = regexp.MustCompile(`^([0-9]{1,9})(ns|us|ms|s|m|h|d)?$`)

// parseDuration reads a duration as Spring Boot does: milliseconds where no unit is said.
func parseDuration(value string) (time.Duration, error) {
	m := springDuration.FindStringSubmatch(strings.ToLower(strings.TrimSpace(value)))
	if m == nil {
		return 0, fmt.Errorf("%q is not a duration such as 5m", value)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, err
	}
	unit := map[string]time.Duration{"ns": 1, "us": time.Microsecond, "": time.Millisecond, "ms": time.Millisecond, "s": time.Second, "m": time.Minute,
		"h": time.Hour, "d": 24 * time.Hour}[m[2]]
	if n > int64(1<<63-1)/int64(unit) {
		return 0, fmt.Errorf("%q is too long", value)
	}
	return time.Duration(n) * unit, nil
}

func duration(key string) kongKey {
	return func(t *translation, value string) error {
		d, err := parseDuration(value)
		if err != nil {
			return err
		}
		if d == 0 {
			return fmt.Errorf("%q is not positive", value)
		}
		t.set(key, d.String())
		return nil
	}
}

// ignored tells of a key that has no meaning here.
func ignored(why string) kongKey {
	return func(t *translation, _ string) error {
		t.ignore(t.name, why)
		return nil
	}
}

// unless tells of a key that has another value than the one that is served.
func unless(served, why string) kongKey {
	return func(t *translation, value string) error {
		if !strings.EqualFold(strings.TrimSpace(value), served) {
			t.ignore(t.name, "has no effect ("+why+")")
		}
		return nil
	}
}

// refused is a key that may have one value alone.
func refused(served, why string) kongKey {
	return func(_ *translation, value string) error {
		if !strings.EqualFold(strings.TrimSpace(value), served) {
			return fmt.Errorf("%q cannot be: %s", value, why)
		}
		return nil
	}
}

func efmAddress(t *translation, value string) error {
	if value = strings.TrimSpace(value); value == "" {
		return errors.New("it names no address")
	}
	t.set("console.host", value)
	return nil
}

func storeType(_ *translation, value string) error {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "", "jks", "pkcs12", "p12":
		return nil // the file says what it is
	}
	return fmt.Errorf("%q is neither JKS nor PKCS12", value)
}

func clientAuth(t *translation, value string) error {
	auth := strings.ToLower(strings.TrimSpace(value))
	if _, ok := clientAuths[auth]; !ok {
		return fmt.Errorf("%q is not NONE, WANT or NEED", value)
	}
	t.set("console.client_auth", auth)
	return nil
}

func passphrase(t *translation, value string) error {
	if value == "" {
		return errors.New("it is empty")
	}
	t.set("root.passphrase", value)
	return nil
}

func manifestStrategy(t *translation, value string) error {
	word := strings.NewReplacer("_", "-", " ", "-").Replace(strings.ToLower(strings.TrimSpace(value)))
	if !slices.Contains(manifestStrategies, word) {
		return fmt.Errorf("%q is not one of %s", value, strings.Join(manifestStrategies, ", "))
	}
	t.set("edge.manifest", word)
	return nil
}

func springLevel(t *translation, value string) error {
	level, ok := map[string]string{"TRACE": "debug", "DEBUG": "debug", "INFO": "info", "WARN": "warn", "ERROR": "error", "FATAL": "error", "OFF": "error"}[strings.ToUpper(strings.TrimSpace(value))]
	if !ok {
		return fmt.Errorf("%q is not a log level", value)
	}
	if canonical(t.name) == ownLevel || t.keys[ownLevel] == "" { // the program's own comes before root
		t.set("log.level", level)
	}
	return nil
}

func heartbeatOf(class string) kongKey {
	return func(t *translation, value string) error {
		if class == "" || strings.ContainsAny(class, ",=[]") {
			return fmt.Errorf("%q cannot be the name of a class here", class)
		}
		d, err := parseDuration(value)
		if err != nil {
			return err
		}
		t.heartbeats = append(t.heartbeats, class+"="+d.String())
		t.set("edge.max_heartbeat_interval_for", strings.Join(t.heartbeats, ","))
		return nil
	}
}

func (t *translation) truth(key string) bool {
	return truths[strings.ToLower(strings.TrimSpace(t.keys[key]))]
}

// tag is one of the keys that efmCluster gathers.
func tag(_ *translation, value string) error {
	if _, ok := truths[strings.ToLower(strings.TrimSpace(value))]; !ok {
		return fmt.Errorf("%q is neither true nor false", value)
	}
	return nil
}

// efmCluster completes what follows from several keys.
func (t *translation) efmCluster() error {
	if !t.truth("efm.cluster.enabled") {
		return nil
	}
	if t.keys["efm.db.url"] == "" {
		return config.Invalid.Field("efm.db.url", "efm.cluster.enabled is true, and efm.db.url names no database that all nodes share")
	}
	address := t.keys["efm.cluster.address"]
	if address == "" {
		if address = t.keys["efm.server.address"]; address == "" {
			address = t.keys["efm.web.host"]
		}
		t.set("cluster.address", address)
	}
	if ip := net.ParseIP(address); address == "" || ip != nil && ip.IsUnspecified() {
		return config.Invalid.Field("efm.cluster.address", "efm.cluster.address is where the other nodes reach this one: set it, or efm.server.address to an address that is not %q", address)
	}
	// Nodes are told apart by where they are, as nothing else in the file may differ.
	name := address
	if p := t.keys["efm.infinispan.jgroups[bind.port.jgroups.tcp.port]"]; p != "" && p != "7800" {
		name += "-" + p
	}
	t.set("cluster.node", strings.ReplaceAll(name, ":", "-"))
	return nil
}

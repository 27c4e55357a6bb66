package node

import (
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/config"
)

// jdbc is a kind of database as Java names it.
type jdbc struct {
	scheme  string // of our URLs
	port    string
	drivers []string
	// query are the parameters of the URL that mean something here.
	query map[string]func(q url.Values, value string) bool
	// ignored are those that may be there and mean nothing.
	ignored []string
}

var (
	mysqlParameters = map[string]func(url.Values, string) bool{
		"usessl":     mysqlTLS(map[string]string{"true": "preferred", "false": "false"}),
		"requiressl": mysqlTLS(map[string]string{"true": "skip-verify", "false": ""}),
		"sslmode": mysqlTLS(map[string]string{"disabled": "false", "disable": "false", "preferred": "preferred", "required": "skip-verify", "trust": "skip-verify",
			"verify_ca": "true", "verify-ca": "true", "verify_identity": "true", "verify-full": "true"}),
		"verifyservercertificate": mysqlTLS(map[string]string{"true": "true", "false": ""}),
	}
	mysqlIgnored = []string{"servertimezone", "connectiontimezone", "useunicode", "characterencoding", "connectioncollation", "allowpublickeyretrieval", "autoreconnect",
		"rewritebatchedstatements", "cacheprepstmts", "useserverprepstmts", "uselegacydatetimecode", "createdatabaseifnotexist", "connecttimeout", "sockettimeout",
		"tcpkeepalive", "zerodatetimebehavior", "nullcatalogmeanscurrent", "usejdbccomplianttimezoneshift", "sessionvariables", "maxallowedpacket"}
	jdbcs = map[string]jdbc{
		"mysql":   {"mysql", "3306", []string{"com.mysql.cj.jdbc.Driver", "com.mysql.jdbc.Driver", "org.mariadb.jdbc.Driver"}, mysqlParameters, mysqlIgnored},
		"mariadb": {"mysql", "3306", []string{"org.mariadb.jdbc.Driver"}, mysqlParameters, mysqlIgnored},
		"postgresql": {"postgres", "5432", []string{"org.postgresql.Driver"}, map[string]func(url.Values, string) bool{
			"sslmode": postgresMode,
			"ssl": func(q url.Values, v string) bool {
				return v == "false" || v == "true" && postgresMode(q, "verify-full")
			},
			"sslrootcert":   passed("sslrootcert"),
			"sslcert":       passed("sslcert"),
			"currentschema": passed("search_path"),
		}, []string{"applicationname", "connecttimeout", "sockettimeout", "logintimeout", "tcpkeepalive", "preparethreshold", "rewritebatchedinserts", "targetservertype", "stringtype"}},
	}
)

func mysqlTLS(words map[string]string) func(url.Values, string) bool {
	return func(q url.Values, value string) bool {
		mode, ok := words[strings.ToLower(value)]
		strength := []string{"", "false", "preferred", "skip-verify", "true"}
		if ok && slices.Index(strength, mode) > slices.Index(strength, q.Get("tls")) { // the strictest of several counts
			q.Set("tls", mode)
		}
		return ok
	}
}

func postgresMode(q url.Values, value string) bool {
	q.Set("sslmode", value)
	return slices.Contains([]string{"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}, value)
}

func passed(name string) func(url.Values, string) bool {
	return func(q url.Values, value string) bool {
		q.Set(name, value)
		return true
	}
}

// efmDatabase joins the keys of the database to one URL.
func (t *translation) efmDatabase() error {
	const key, driverKey = "efm.db.url", "efm.db.driverClass"
	raw, driver := strings.TrimSpace(t.keys[key]), strings.TrimSpace(t.keys["efm.db.driverclass"])
	if raw == "" {
		if driver != "" || t.keys["efm.db.username"] != "" {
			return config.Invalid.Field(key, "%s is empty, and other keys of the database are not", key)
		}
		return nil // SQLite in the data directory
	}
	rest, ok := strings.CutPrefix(raw, "jdbc:")
	kind, rest, _ := strings.Cut(rest, ":")
	if kind == "h2" {
		return config.Invalid.Field(key, "%s is an H2 database, which is not read and cannot be shared by nodes: name a MySQL, MariaDB or PostgreSQL; export the flows of the old installation by its REST API before it stops, and import them here; a node alone that names none has SQLite in its data directory", key)
	}
	j, known := jdbcs[kind]
	if !ok || !known {
		return config.Invalid.Field(key, "%s begins with jdbc:mysql:, jdbc:mariadb: or jdbc:postgresql:", key)
	}
	if driver != "" && !slices.Contains(j.drivers, driver) {
		return config.Invalid.Field(driverKey, "%s %q does not fit %s, which begins with jdbc:%s:", driverKey, driver, key, kind)
	}
	u, err := url.Parse(rest)
	if err != nil || u.Scheme != "" || u.Opaque != "" || strings.Contains(u.Host, ",") || u.Hostname() == "" || len(u.Path) < 2 || u.Fragment != "" { // err would repeat a password
		return config.Invalid.Field(key, "%s is not of the form jdbc:%s://host:port/database", key, kind)
	}
	port := u.Port()
	if port == "" {
		port = j.port
	}
	user, password := t.keys["efm.db.username"], t.keys["efm.db.password"]
	given := u.Query()
	query := url.Values{}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		value := given[name][len(given[name])-1]
		switch low := strings.ToLower(name); {
		case low == "user" && user == "":
			user = value
		case low == "password" && password == "":
			password = value
		case low == "user" || low == "password" || slices.Contains(j.ignored, low):
		case j.query[low] == nil:
			return config.Invalid.Field(key, "%s: the parameter %q is not known here", key, name)
		case !j.query[low](query, value):
			return config.Invalid.Field(key, "%s: the parameter %s cannot be %q", key, name, value)
		}
	}
	ours := url.URL{Scheme: j.scheme, Host: net.JoinHostPort(u.Hostname(), port), Path: u.Path, RawQuery: query.Encode()}
	switch {
	case user != "" && password != "":
		ours.User = url.UserPassword(user, password)
	case user != "":
		ours.User = url.User(user)
	}
	t.set("store.url", ours.String())
	return nil
}

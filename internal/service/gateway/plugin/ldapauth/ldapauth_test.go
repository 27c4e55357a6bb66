package ldapauth_test

import (
	"encoding/base64"
	"fmt"
	"log"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/ldapauth"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// trusted names the file that the process takes for the system's authorities.
var trusted string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ldapauth")
	if err != nil {
		log.Fatal(err)
	}
	trusted = filepath.Join(dir, "ca.pem")
	os.Setenv("SSL_CERT_FILE", trusted)
	os.Setenv("SSL_CERT_DIR", dir)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func ldapHeader(s string) string { return "ldap " + base64.StdEncoding.EncodeToString([]byte(s)) }

func setup(t *testing.T, port int, config schema.Record) (g *gateway.Gateway, clock *gatewaytest.Clock, ask func(header ...string) gatewaytest.Result) {
	t.Helper()
	clock = gatewaytest.NewClock(time.Unix(1_800_000_000, 0))
	g = gatewaytest.New(t, []gateway.Plugin{ldapauth.New()}, func(d *gateway.Deps) { d.Clock = clock })
	gatewaytest.Route(t, g)
	gatewaytest.Consumer(t, g, "nobody")
	c := schema.Record{"ldap_host": "127.0.0.1", "ldap_port": float64(port), "base_dn": base, "attribute": "uid", "timeout": 5000.0}
	maps.Copy(c, config)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "ldap-auth", "config": c})
	return g, clock, func(header ...string) gatewaytest.Result {
		return gatewaytest.Do(g, gatewaytest.Request{Header: header})
	}
}

func TestAgainstOpenLDAP(t *testing.T) {
	ca := gatewaytest.NewAuthority(t, "directory authority")
	if err := os.WriteFile(trusted, []byte(ca.Cert), 0o600); err != nil {
		t.Fatal(err)
	}
	server := startSlapd(t, ca)

	t.Run("who gets in", func(t *testing.T) {
		_, _, ask := setup(t, server.port, schema.Record{"hide_credentials": true, "cache_ttl": 0.0, "realm": "r"})
		for name, c := range map[string]struct {
			header []string
			user   string // empty: refused
		}{
			"right":               {[]string{"Authorization", ldapHeader("alice:pass:word")}, "alice"},
			"any case of scheme":  {[]string{"Authorization", "LDAP " + ldapHeader("alice:pass:word")[5:]}, "alice"},
			"proxy":               {[]string{"Proxy-Authorization", ldapHeader("alice:pass:word")}, "alice"},
			"proxy is wrong":      {[]string{"Proxy-Authorization", ldapHeader("alice:no"), "Authorization", ldapHeader("alice:pass:word")}, "alice"},
			"special characters":  {[]string{"Authorization", ldapHeader(`o'neil, "pat" + #1:secret`)}, `o'neil, "pat" + #1`},
			"wrong":               {[]string{"Authorization", ldapHeader("alice:pass")}, ""},
			"unknown":             {[]string{"Authorization", ldapHeader("bob:pass:word")}, ""},
			"empty password":      {[]string{"Authorization", ldapHeader("alice:")}, ""},
			"empty user":          {[]string{"Authorization", ldapHeader(":x")}, ""},
			"NUL in the password": {[]string{"Authorization", ldapHeader("alice:\x00")}, ""},
			"name of another":     {[]string{"Authorization", ldapHeader("root,ou=staff:toor")}, ""},
			"escaped already":     {[]string{"Authorization", ldapHeader(`root\2cou=staff:toor`)}, ""},
			"second value":        {[]string{"Authorization", ldapHeader("alice+cn=Alice:pass:word")}, ""},
			"wildcard":            {[]string{"Authorization", ldapHeader("*:pass:word")}, ""},
			"none":                {nil, ""},
			"another scheme":      {[]string{"Authorization", "Basic " + ldapHeader("alice:pass:word")[5:]}, ""},
			"not base64":          {[]string{"Authorization", "ldap ???"}, ""},
		} {
			got := ask(append(c.header, "X-Credential-Identifier", "forged", "X-Consumer-Id", "forged")...)
			if c.user == "" {
				if got.Status != 401 || !gatewaytest.Says(got, "Unauthorized") || got.Header.Get("WWW-Authenticate") != `LDAP realm="r"` {
					t.Errorf("%s: %+v %v", name, got, got.Header.Fields())
				}
				continue
			}
			if got.Status != 0 || got.Upstream.Get("X-Credential-Identifier") != c.user || got.Upstream.Get("X-Consumer-Id") != "" {
				t.Errorf("%s: %+v %v", name, got, got.Upstream.Fields())
			}
			if got.Upstream.Get("Authorization")+got.Upstream.Get("Proxy-Authorization") != "" {
				t.Errorf("%s: the credentials are passed on", name)
			}
		}
	})

	t.Run("TLS", func(t *testing.T) {
		other := gatewaytest.NewAuthority(t, "another")
		stranger := startSlapd(t, other)
		for _, c := range []struct {
			name   string
			port   int
			config schema.Record
			status int
		}{
			{"ldaps verified", server.tlsPort, schema.Record{"ldaps": true, "verify_ldap_host": true}, 0},
			{"StartTLS verified", server.port, schema.Record{"start_tls": true, "verify_ldap_host": true}, 0},
			{"ldaps, unknown authority", stranger.tlsPort, schema.Record{"ldaps": true, "verify_ldap_host": true}, 500},
			{"StartTLS, unknown authority", stranger.port, schema.Record{"start_tls": true, "verify_ldap_host": true}, 500},
			{"ldaps unverified", stranger.tlsPort, schema.Record{"ldaps": true}, 0},
			{"StartTLS unverified", stranger.port, schema.Record{"start_tls": true}, 0},
			{"ldaps to the clear port", server.port, schema.Record{"ldaps": true, "timeout": 500.0}, 500},
		} {
			_, _, ask := setup(t, c.port, c.config)
			if got := ask("Authorization", ldapHeader("alice:pass:word")); got.Status != c.status {
				t.Errorf("%s: %+v", c.name, got)
			}
			if c.status == 0 && ask("Authorization", ldapHeader("alice:no")).Status != 401 {
				t.Errorf("%s: a wrong password", c.name)
			}
		}
	})

	t.Run("anonymous", func(t *testing.T) {
		_, _, ask := setup(t, server.port, schema.Record{"anonymous": "nobody", "header_type": "Basic"})
		if got := ask("Authorization", ldapHeader("alice:pass:word")); got.Status != 0 || got.Consumer != "nobody" || got.Upstream.Get("X-Anonymous-Consumer") != "true" {
			t.Errorf("%+v", got)
		}
		if got := ask("Authorization", "Basic "+ldapHeader("alice:pass:word")[5:]); got.Consumer != "" || got.Upstream.Get("X-Credential-Identifier") != "alice" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("many at once", func(t *testing.T) {
		_, _, ask := setup(t, server.port, schema.Record{"cache_ttl": 0.0})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if got := ask("Authorization", ldapHeader("alice:pass:word")); got.Status != 0 {
					t.Errorf("right: %d %s", got.Status, got.Body)
				}
				if got := ask("Authorization", ldapHeader(fmt.Sprintf("alice:%d", i))); got.Status != 401 {
					t.Errorf("wrong: %d %s", got.Status, got.Body)
				}
			})
		}
		wg.Wait()
	})

	t.Run("what is remembered", func(t *testing.T) {
		_, clock, ask := setup(t, server.port, schema.Record{"cache_ttl": 60.0, "keepalive": 0.0})
		right, wrong := ldapHeader("alice:pass:word"), ldapHeader("alice:no")
		if ask("Authorization", right).Status != 0 || ask("Authorization", wrong).Status != 401 {
			t.Fatal("before the directory ends")
		}
		server.stop()
		clock.Pass(59 * time.Second)
		if got := ask("Authorization", right); got.Status != 0 {
			t.Errorf("a right password is forgotten: %+v", got)
		}
		if got := ask("Authorization", wrong); got.Status != 500 {
			t.Errorf("a wrong password is remembered: %+v", got)
		}
		clock.Pass(time.Second)
		if got := ask("Authorization", right); got.Status != 500 || !gatewaytest.Says(got, "An unexpected error occurred") {
			t.Errorf("a right password is remembered for too long: %+v", got)
		}
	})
}

// TestSilentDirectory holds the time-out against a server that accepts and says nothing.
func TestSilentDirectory(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, _, ask := setup(t, l.Addr().(*net.TCPAddr).Port, schema.Record{"timeout": 100.0})
	start := time.Now()
	if got := ask("Authorization", ldapHeader("alice:pass:word")); got.Status != 500 || time.Since(start) > 5*time.Second {
		t.Errorf("%+v after %s", got, time.Since(start))
	}
}

func TestConfig(t *testing.T) {
	g := gatewaytest.New(t, []gateway.Plugin{ldapauth.New()})
	plugins, _ := g.Entity("plugins")
	good := schema.Record{"ldap_host": "ldap.example.org", "base_dn": base, "attribute": "uid"}
	if err := g.Validate(plugins, schema.Record{"name": "ldap-auth", "config": good}); err != nil {
		t.Fatal(err)
	}
	for field, v := range map[string]any{"attribute": "uid=x,cn", "ldap_host": "h:389", "ldap_port": 70000.0, "base_dn": nil, "ldaps": true} {
		bad := maps.Clone(good)
		bad["start_tls"] = true
		bad[field] = v
		if err := g.Validate(plugins, schema.Record{"name": "ldap-auth", "config": bad}); err == nil {
			t.Errorf("%s: %v is accepted", field, v)
		}
	}
}

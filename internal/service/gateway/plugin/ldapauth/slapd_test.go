package ldapauth_test

import (
	"bytes"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
)

const base = "ou=people,dc=example,dc=org"

// ldif are the users. The one under ou=staff is there to be reached by a user name that is
// not escaped.
const ldif = `dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: ou=staff,ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: staff

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: A
userPassword: pass:word

dn: uid=o'neil\2C \22pat\22 \2B #1,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: o'neil, "pat" + #1
cn: Pat
sn: P
userPassword: secret

dn: uid=root,ou=staff,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: root
cn: Root
sn: R
userPassword: toor
`

// slapd is a running OpenLDAP server.
type slapd struct {
	port, tlsPort int
	stop          func() // ends it as kill -9 does
}

// startSlapd starts OpenLDAP with the users. A bind with an empty password succeeds there
// without being one, as it does in directories that allow it.
func startSlapd(t *testing.T, ca *gatewaytest.Authority) *slapd {
	t.Helper()
	if _, err := exec.LookPath("/usr/sbin/slapd"); err != nil {
		t.Skip("slapd is not installed")
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pair := ca.Issue(t, "127.0.0.1", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	conf := write("slapd.conf", fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
allow bind_anon_cred
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile %s
TLSCertificateKeyFile %s
database mdb
maxsize 10485760
suffix "dc=example,dc=org"
directory %s
`, write("cert.pem", pair.Cert), write("key.pem", pair.Key), dir))
	if out, err := exec.Command("/usr/sbin/slapadd", "-f", conf, "-l", write("users.ldif", ldif)).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	for range 5 { // another process may take a port first
		s := &slapd{port: freePort(t), tlsPort: freePort(t)}
		cmd := exec.Command("/usr/sbin/slapd", "-d", "0", "-f", conf,
			"-h", fmt.Sprintf("ldap://127.0.0.1:%d ldaps://127.0.0.1:%d", s.port, s.tlsPort))
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		var log bytes.Buffer
		cmd.Stdout, cmd.Stderr = &log, &log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() {
			_ = cmd.Wait() // it was killed, or could not listen
			close(ended)
		}()
		s.stop = func() {
			_ = cmd.Process.Kill() // it may have ended
			<-ended
		}
		if s.up(ended) {
			t.Cleanup(s.stop)
			return s
		}
		s.stop()
		t.Logf("slapd did not come up: %s", strings.TrimSpace(log.String()))
	}
	t.Fatal("slapd does not start")
	return nil
}

// up waits for the server to listen; false where it ends first.
func (s *slapd) up(ended <-chan struct{}) bool {
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.tlsPort)); err == nil {
			c.Close()
			return true
		}
		select {
		case <-ended:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return false
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

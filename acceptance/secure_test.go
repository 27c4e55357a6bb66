package acceptance_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// sluice runs a command of the program that must succeed.
func sluice(t *testing.T, args ...string) {
	t.Helper()
	if out, err := plat.Command(nil, args...).CombinedOutput(); err != nil {
		t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// connected reports whether a node has met both others since its log had so many bytes.
func connected(n *plat.Node, after int) error {
	if met := strings.Count(n.LogText()[after:], "a node is connected"); met < 2 {
		return fmt.Errorf("it has met %d others", met)
	}
	return nil
}

// The recipe of "sluice cluster ca": every node is restarted in the middle of it, and finds
// the others each time, whichever certificates they have by then.
func TestTheClustersAuthorityIsReplacedWhileItRuns(t *testing.T) {
	database := dbtest.MariaDB(t).URL
	desk := filepath.Join(t.TempDir(), "authority")
	sluice(t, "cluster", "ca", "init", "--dir", desk)
	machines := t.TempDir()
	names := []string{"a", "b", "c"}
	carry := func(node string, files ...string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(machines, node), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(filepath.Join(desk, node, f))
			if err == nil {
				err = os.WriteFile(filepath.Join(machines, node, f), raw, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	issue := func(node string) {
		t.Helper()
		sluice(t, "cluster", "ca", "issue", "--dir", desk, "--node", node, "--address", "127.0.0.1", "--address", node+".example.com")
	}
	var bases []int
	var hosts []string
	for range names {
		bases = append(bases, plat.FreePorts(t))
		hosts = append(hosts, fmt.Sprintf("127.0.0.1[%d]", bases[len(bases)-1]+8))
	}
	common := []string{"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_DISCOVERY=tcp-fixed", "SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","),
		"SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret"}
	var nodes []*plat.Node
	for i, name := range names {
		issue(name)
		carry(name, "cert.pem", "key.pem", "ca.pem")
		at := filepath.Join(machines, name)
		nodes = append(nodes, plat.Start(t, plat.Options{Base: bases[i], Env: append([]string{"SLUICE_CLUSTER_NODE=" + name, "SLUICE_CLUSTER_TLS=true",
			"SLUICE_CLUSTER_CERT=" + at + "/cert.pem", "SLUICE_CLUSTER_KEY=" + at + "/key.pem", "SLUICE_CLUSTER_CA=" + at + "/ca.pem"}, common...)}))
	}
	for _, n := range nodes {
		plat.Until(t, "it is connected", func() error { return connected(n, 0) })
		if !strings.Contains(n.LogText(), "with stack `tcp-ssl`") {
			t.Error("the log does not tell of tcp-ssl")
		}
	}
	restart := func(i int) {
		t.Helper()
		nodes[i].Stop()
		after := len(nodes[i].LogText())
		nodes[i].Launch()
		plat.Until(t, "node "+names[i]+" is connected again", func() error { return connected(nodes[i], after) })
	}
	sluice(t, "cluster", "ca", "rotate", "--dir", desk)
	for _, name := range names {
		carry(name, "ca.pem")
	}
	if out, err := plat.Command(nil, "cluster", "ca", "rotate", "--dir", desk, "--finish").CombinedOutput(); err == nil || !strings.Contains(string(out), "a, b, c") {
		t.Errorf("the rotation is finished before certificates are issued: %v %s", err, out)
	}
	for i, name := range names {
		issue(name)
		carry(name, "key.pem", "cert.pem")
		restart(i)
	}
	sluice(t, "cluster", "ca", "rotate", "--dir", desk, "--finish")
	for _, name := range names {
		carry(name, "ca.pem")
	}
	restart(0)

	// Who does not speak TLS is none of them.
	nodes[2].Stop()
	plain := plat.Command(append([]string{"SLUICE_CLUSTER_NODE=c"}, common...), "serve", "--data", t.TempDir(), "--port-base", fmt.Sprint(bases[2]))
	if out, err := plain.CombinedOutput(); err == nil || !strings.Contains(string(out), "cluster.tls") {
		t.Errorf("a plain member: %v\n%s", err, out)
	}
}

// The key store that the documentation of Edge Flow Manager makes, between nodes and on the
// console's port.
func TestAKeyStoreOfJavaSecuresACluster(t *testing.T) {
	plat.Need(t, "keytool")
	dir := t.TempDir()
	run := func(line string, answers ...string) {
		t.Helper()
		words := strings.Fields(line)
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(answers, "\n")+"\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	run("openssl genrsa -out root.key")
	run("openssl req -new -x509 -key root.key -out root.crt", "", "", "", "", "", "The root", "")
	run("keytool -keystore infini.keystore.jks -alias localhost -validity 365 -genkey -keyalg RSA -ext SAN=DNS:localhost -storetype PKCS12",
		"secret", "secret", "localhost", "", "", "", "", "", "yes")
	run("keytool -keystore infini.keystore.jks -alias localhost -certreq -file infini.unsigned.crt", "secret")
	// The name of the key is to be that of the server: openssl leaves it out unless it is told.
	run("openssl x509 -req -CA root.crt -CAkey root.key -in infini.unsigned.crt -out infini.signed.crt -days 365 -CAcreateserial -copy_extensions copy")
	run("keytool -keystore infini.keystore.jks -alias CARoot -import -file root.crt", "secret", "yes")
	run("keytool -keystore infini.keystore.jks -alias localhost -import -file infini.signed.crt", "secret")
	store := filepath.Join(dir, "infini.keystore.jks")

	lan := plat.Hosts(t, 3)
	database := forward(t, lan, dbtest.MariaDB(t).URL)
	secure := []string{"efm.infinispan.ssl.enable=true", "efm.infinispan.ssl.key-store=" + store, "efm.infinispan.ssl.key-store-password=secret",
		"efm.server.ssl.enabled=true", "efm.server.ssl.keyStore=" + store, "efm.server.ssl.keyStoreType=jks", "efm.server.ssl.keyStorePassword=secret", "efm.server.ssl.clientAuth=WANT"}
	var nodes []*plat.Node
	for _, h := range lan.Hosts {
		nodes = append(nodes, plat.Start(t, plat.Options{Host: h, Config: efmFile(t, h.Address, database, secure...)}))
	}
	for i, n := range nodes {
		plat.Until(t, "it is connected", func() error { return connected(n, 0) })
		if !strings.Contains(n.LogText(), "starting the cluster's channel `efm` with stack `tcp-ssl`") {
			t.Error("the log does not tell of tcp-ssl")
		}
		at := lan.Hosts[i].Address
		out, err := exec.Command("curl", "-sS", "--cacert", filepath.Join(dir, "root.crt"), "--resolve", "localhost:10090:"+at, "https://localhost:10090/efm/actuator/health").CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), `{"status":"UP"`) {
			t.Errorf("health by TLS: %v %s", err, out)
		}
	}
	nodes[0].Kill()
	secure[2] = "efm.infinispan.ssl.key-store-password=wrong"
	out, err := lan.Hosts[0].Run(plat.Command(nil, "serve", "--data", t.TempDir(), "--config", efmFile(t, lan.Hosts[0].Address, database, secure...))).CombinedOutput()
	if ee := new(exec.ExitError); !errors.As(err, &ee) || ee.ExitCode() != 1 || !strings.Contains(string(out), "the password does not open it") {
		t.Errorf("%v\n%s", err, out)
	}
}

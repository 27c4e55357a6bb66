package keystore_test

import (
	"log/slog"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/keystore"
)

// desk is a directory in which the real openssl and keytool work.
type desk struct {
	t   *testing.T
	dir string
}

func newDesk(t *testing.T) desk {
	for _, tool := range []string{"openssl", "keytool"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s here", tool)
		}
	}
	return desk{t, t.TempDir()}
}

func (d desk) path(name string) string { return filepath.Join(d.dir, name) }

// run runs a command line, and answers what it asks.
func (d desk) run(line string, answers ...string) {
	d.t.Helper()
	words := strings.Fields(line)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = d.dir
	cmd.Stdin = strings.NewReader(strings.Join(answers, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		d.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// recipe makes a key store as the documentation of Edge Flow Manager has it. A line is as it
// is printed there; what follows it are the answers to the tools' questions.
func (d desk) recipe(storetype string) {
	d.t.Helper()
	d.run("openssl genrsa -out root.key")
	d.run("openssl req -new -x509 -key root.key -out root.crt", "", "", "", "", "", "The root", "")
	d.run("chmod 600 root.key")
	d.run("chmod 644 root.crt")
	d.run("keytool -keystore infini.keystore.jks -alias localhost -validity 365 -genkey -keyalg RSA -ext SAN=DNS:localhost -storetype "+storetype,
		"secret", "secret", "localhost", "", "", "", "", "", "yes", "", "")
	d.run("keytool -keystore infini.keystore.jks -alias localhost -certreq -file infini.unsigned.crt", "secret")
	d.run("openssl x509 -req -CA root.crt -CAkey root.key -in infini.unsigned.crt -out infini.signed.crt -days 365 -CAcreateserial")
	d.run("keytool -keystore infini.keystore.jks -alias CARoot -import -file root.crt", "secret", "yes")
	d.run("keytool -keystore infini.keystore.jks -alias localhost -import -file infini.signed.crt", "secret")
}

func TestTheRecipeOfJava(t *testing.T) {
	for _, storetype := range []string{"PKCS12", "JKS"} {
		t.Run(storetype, func(t *testing.T) {
			d := newDesk(t)
			d.recipe(storetype)
			s := open(t, keystore.Config{KeyStore: d.path("infini.keystore.jks"), Password: "secret"})
			cert, err := s.Server().GetCertificate(nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(cert.Certificate) != 2 || cert.Leaf.Subject.CommonName != "localhost" || cert.Leaf.Issuer.CommonName != "The root" {
				t.Errorf("%d certificates, of %s by %s", len(cert.Certificate), cert.Leaf.Subject, cert.Leaf.Issuer)
			}
			if s, c := shake(t, s.Server(), s.Client()); s != nil || c != nil {
				t.Errorf("two nodes with the store: %v, %v", s, c)
			}
			d.run("keytool -genkeypair -keyalg EC -alias stranger -dname CN=stranger -keystore stranger -storepass secret")
			d.run("keytool -exportcert -alias stranger -file stranger.crt -keystore stranger -storepass secret")
			d.run("keytool -importcert -noprompt -alias itself -file stranger.crt -keystore stranger -storepass secret")
			stranger := open(t, keystore.Config{KeyStore: d.path("stranger"), Password: "secret"})
			if s, _ := shake(t, s.Server(), trusting(stranger.Client())); s == nil {
				t.Error("a stranger is let in")
			}
		})
	}
}

func TestKeyStoresOfOthers(t *testing.T) {
	d := newDesk(t)
	d.recipe("PKCS12")
	const in = " -storepass secret -keystore "
	for _, test := range []struct {
		name string
		make []string
		conf keystore.Config // its file names are in the desk's directory
		want string
	}{
		{"a wrong password", nil, keystore.Config{KeyStore: "infini.keystore.jks", Password: "wrong"}, "the password does not open it"},
		{"no password", nil, keystore.Config{KeyStore: "infini.keystore.jks"}, "the password does not open it"},
		{"a wrong password of a JKS", []string{"keytool -genkeypair -keyalg RSA -storetype JKS -alias a -dname CN=a -keypass secret" + in + "wrong.jks"},
			keystore.Config{KeyStore: "wrong.jks", Password: "other"}, "the password does not open it"},
		{"a password of the key alone", []string{"keytool -genkeypair -keyalg RSA -storetype JKS -alias a -dname CN=a -keypass another" + in + "own.jks",
			"keytool -importcert -noprompt -alias root -file root.crt" + in + "own.jks"},
			keystore.Config{KeyStore: "own.jks", Password: "secret"}, "its own password is another one"},
		{"and that password", nil, keystore.Config{KeyStore: "own.jks", Password: "secret", KeyPassword: "another"}, ""},
		{"no key", []string{"keytool -importcert -noprompt -alias root -file root.crt" + in + "trust.p12"},
			keystore.Config{KeyStore: "trust.p12", Password: "secret"}, "no key entry"},
		{"no key in a JKS", []string{"keytool -importcert -noprompt -storetype JKS -alias root -file root.crt" + in + "trust.jks"},
			keystore.Config{KeyStore: "trust.jks", Password: "secret"}, "no key entry"},
		{"two keys", []string{"keytool -genkeypair -keyalg EC -alias a -dname CN=a" + in + "two.p12", "keytool -genkeypair -keyalg EC -alias b -dname CN=b" + in + "two.p12"},
			keystore.Config{KeyStore: "two.p12", Password: "secret"}, "several key entries"},
		{"two keys in a JKS", []string{"keytool -genkeypair -keyalg RSA -storetype JKS -alias a -dname CN=a -keypass secret" + in + "two.jks",
			"keytool -genkeypair -keyalg RSA -storetype JKS -alias b -dname CN=b -keypass secret" + in + "two.jks"},
			keystore.Config{KeyStore: "two.jks", Password: "secret"}, "several key entries"},
		{"no authority", []string{"openssl pkcs12 -export -inkey root.key -in root.crt -passout pass:secret -out alone.p12"},
			keystore.Config{KeyStore: "alone.p12", Password: "secret"}, "no authority"},
		{"no authority in a JKS", []string{"keytool -genkeypair -keyalg RSA -storetype JKS -alias a -dname CN=a -keypass secret" + in + "alone.jks"},
			keystore.Config{KeyStore: "alone.jks", Password: "secret"}, "no authority"},
		{"authorities of a file of their own", []string{"keytool -genkeypair -keyalg RSA -storetype JKS -alias a -dname CN=a -keypass secret" + in + "key.jks",
			"keytool -importcert -noprompt -storetype JKS -alias root -file root.crt" + in + "roots.jks"},
			keystore.Config{KeyStore: "key.jks", Password: "secret", TrustStore: "roots.jks", TrustPassword: "secret"}, ""},
		{"a trust store in PKCS #12", []string{"keytool -importcert -noprompt -alias root -file root.crt" + in + "roots.p12"},
			keystore.Config{KeyStore: "key.jks", Password: "secret", TrustStore: "roots.p12", TrustPassword: "secret"}, ""},
		{"of an old Java", []string{"keytool -J-Dkeystore.pkcs12.legacy -importkeystore -srcstorepass secret -deststorepass secret -srckeystore infini.keystore.jks -destkeystore old.p12 -deststoretype PKCS12"},
			keystore.Config{KeyStore: "old.p12", Password: "secret"}, ""},
		{"of OpenSSL", []string{"openssl req -new -newkey rsa:2048 -nodes -keyout n.key -subj /CN=n -out n.csr", "openssl x509 -req -CA root.crt -CAkey root.key -in n.csr -out n.crt",
			"openssl pkcs12 -export -inkey n.key -in n.crt -certfile root.crt -passout pass:secret -out openssl.p12"},
			keystore.Config{KeyStore: "openssl.p12", Password: "secret"}, ""},
		{"JCEKS", []string{"keytool -genkeypair -keyalg RSA -storetype JCEKS -alias a -dname CN=a -keypass secret" + in + "a.jceks"},
			keystore.Config{KeyStore: "a.jceks", Password: "secret"}, "JCEKS"},
		{"PEM", nil, keystore.Config{KeyStore: "root.crt", Password: "secret"}, "it is PEM"},
		{"anything", []string{"cp /bin/true true.jks"}, keystore.Config{KeyStore: "true.jks", Password: "secret"}, "neither a PKCS #12 nor a JKS"},
		{"expired", []string{"openssl req -new -newkey rsa:2048 -nodes -keyout e.key -subj /CN=e -out e.csr", "openssl x509 -req -CA root.crt -CAkey root.key -days -1 -in e.csr -out e.crt",
			"openssl pkcs12 -export -inkey e.key -in e.crt -certfile root.crt -passout pass:secret -out expired.p12"},
			keystore.Config{KeyStore: "expired.p12", Password: "secret"}, "the certificate CN=e expired at"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, line := range test.make {
				d.run(line)
			}
			c := test.conf
			c.Log = slog.New(slog.DiscardHandler)
			for _, name := range []*string{&c.KeyStore, &c.TrustStore} {
				if *name != "" {
					*name = d.path(*name)
				}
			}
			_, err := keystore.Open(c)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.HasPrefix(err.Error(), c.KeyStore+":")) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

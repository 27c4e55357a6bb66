package acceptance_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
)

// The command that a node gives enrols an agent over a network that nobody trusts: with the
// fingerprint in it the agent knows the node, and by another it does not. Afterwards the agent
// knows the node without being told.
func TestAnAgentIsEnrolledByTheCommandOfANode(t *testing.T) {
	dir := t.TempDir()
	openssl := func(args ...string) { t.Helper(); must(t, nil, "openssl", args...) }
	in := func(name string) string { return filepath.Join(dir, name) }
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", in("ca.key"), "-out", in("ca.pem"), "-days", "2", "-subj", "/CN=the owner's", "-addext", "basicConstraints=critical,CA:TRUE")
	openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", in("node.key"), "-out", in("node.pem"), "-days", "2", "-subj", "/CN=node",
		"-CA", in("ca.pem"), "-CAkey", in("ca.key"), "-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth")
	store := func(name string, more ...string) string {
		openssl(append([]string{"pkcs12", "-export", "-in", in("node.pem"), "-inkey", in("node.key"), "-passout", "pass:secret", "-out", in(name)}, more...)...)
		return in(name)
	}
	for name, env := range map[string][]string{
		"the platform's certificate":             {"SLUICE_CONSOLE_TLS=true"},
		"a key store with the authority":         {"SLUICE_CONSOLE_TLS=true", "SLUICE_CONSOLE_KEY_STORE_PASSWORD=secret", "SLUICE_CONSOLE_KEY_STORE=" + store("chain.p12", "-certfile", in("ca.pem"))},
		"a key store with the certificate alone": {"SLUICE_CONSOLE_TLS=true", "SLUICE_CONSOLE_KEY_STORE_PASSWORD=secret", "SLUICE_CONSOLE_KEY_STORE=" + store("leaf.p12")},
	} {
		t.Run(name, func(t *testing.T) {
			n := plat.Start(t, plat.Options{Env: append(env, "SLUICE_EDGE_REQUIRE_CERTIFICATE=true", "SLUICE_CONSOLE_CLIENT_AUTH=want")})
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 30 * time.Second}
			call := func(method, path, body string, out any) error {
				req, err := http.NewRequest(method, n.Endpoints.Console+path, strings.NewReader(body))
				if err != nil {
					return err
				}
				req.SetBasicAuth(n.Root.ID, n.Root.Secret)
				req.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(req)
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if resp.StatusCode != 200 {
					return fmt.Errorf("%s %s: %s", method, path, resp.Status)
				}
				return json.NewDecoder(resp.Body).Decode(out)
			}
			var c struct{ Command, CAFingerprint, AgentID string }
			if err := call("POST", "/efm/api/agent-deployer/generateCommand", `{"agentClass":"pumps"}`, &c); err != nil {
				t.Fatal(err)
			}
			words := strings.Fields(strings.ReplaceAll(c.Command, "'", ""))
			if len(words) != 9 || strings.Join(words[:3], " ") != "sluice agent enroll" || words[7] != "--ca-fingerprint" || words[8] != c.CAFingerprint {
				t.Fatal(c.Command)
			}
			data := t.TempDir()
			enrol := func(fingerprint string) (string, error) {
				out, err := plat.Command(nil, append(append([]string{}, words[1:8]...), fingerprint, "--data", data)...).CombinedOutput()
				return string(out), err
			}
			wrong := sha256.Sum256([]byte("another's"))
			if out, err := enrol(hex.EncodeToString(wrong[:])); err == nil || !strings.Contains(out, "fingerprint") || strings.Contains(out, words[6]) {
				t.Fatalf("by another fingerprint: %v %s", err, out)
			}
			if out, err := plat.Command(nil, append(append([]string{}, words[1:7]...), "--data", data)...).CombinedOutput(); err == nil {
				t.Fatalf("without the fingerprint: %s", out)
			}
			if out, err := enrol(words[8]); err != nil || !strings.Contains(out, c.AgentID) { // the token is not used up
				t.Fatalf("%v %s", err, out)
			}
			plat.StartAgent(t, data, "--heartbeat", "100ms")
			plat.Until(t, "the agent reports", func() error {
				var agents struct {
					Agents []struct{ ID string }
				}
				if err := call("GET", "/efm/api/agents?agentClass=pumps", "", &agents); err != nil {
					return err // there is no such class yet
				}
				if len(agents.Agents) != 1 || agents.Agents[0].ID != c.AgentID {
					return fmt.Errorf("%+v", agents)
				}
				return nil
			})
		})
	}
}

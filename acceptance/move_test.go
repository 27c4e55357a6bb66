package acceptance_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/iam"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// estate is something of every service's, to look for after a move.
type estate struct {
	user   plat.Key
	sealed []byte
}

func settle(t *testing.T, n *plat.Node) estate {
	t.Helper()
	n.Admin("PUT", "/services/up", map[string]any{"url": n.Endpoints.Status})
	n.Admin("PUT", "/services/up/routes/r", map[string]any{"paths": []string{"/r"}})
	n.Admin("POST", "/routes/r/plugins", map[string]any{"name": "key-auth"})
	n.Admin("PUT", "/consumers/ann", map[string]any{"username": "ann"})
	n.Admin("POST", "/consumers/ann/key-auth", map[string]any{"key": "anns-key"})
	n.Admin("PUT", "/references/programs/p1", map[string]any{"reward": 5})

	var e estate
	c, ctx := n.AWS(n.Root), t.Context()
	if _, err := c.IAM.CreateUser(ctx, &iam.CreateUserInput{UserName: new("bob")}); err != nil {
		t.Fatal(err)
	}
	key, err := c.IAM.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: new("bob")})
	if err != nil {
		t.Fatal(err)
	}
	e.user = plat.Key{ID: *key.AccessKey.AccessKeyId, Secret: *key.AccessKey.SecretAccessKey}
	k, err := c.KMS.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := c.KMS.Encrypt(ctx, &kms.EncryptInput{KeyId: k.KeyMetadata.KeyId, Plaintext: []byte("a secret")})
	if err != nil {
		t.Fatal(err)
	}
	e.sealed = sealed.CiphertextBlob
	if err := beat(n); err != nil {
		t.Fatal(err)
	}
	return e
}

// beat is an agent's heartbeat.
func beat(n *plat.Node) error {
	resp, err := http.Post(n.Endpoints.Console+"/efm/api/c2-protocol/heartbeat", "application/json",
		strings.NewReader(`{"operation":"heartbeat","agentInfo":{"identifier":"agent-1","agentClass":"lorries"}}`))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("a heartbeat: %s", resp.Status)
	}
	return nil
}

// settled checks that all of the estate is on a node. up is where the gateway's service is
// now: the port of the node that was moved is gone.
func (e estate) settled(t *testing.T, n *plat.Node) {
	t.Helper()
	if code, body := admin(t, n, "PATCH", "/services/up", url.Values{"url": {n.Endpoints.Status}}); code != 200 {
		t.Fatalf("the service: %d %s", code, body)
	}
	for key, want := range map[string]int{"anns-key": 200, "": 401} {
		plat.Until(t, "the route asks for keys", func() error {
			req, err := http.NewRequest("GET", n.Endpoints.Proxy+"/r/status/live", nil)
			if err != nil {
				return err
			}
			if key != "" {
				req.Header.Set("apikey", key)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			if resp.StatusCode != want {
				return fmt.Errorf("with key %q: %s, want %d", key, resp.Status, want)
			}
			return nil
		})
	}
	plat.Until(t, "the reference data is there", func() error {
		code, body := admin(t, n, "GET", "/references/programs/p1", nil)
		if code != 200 || !strings.Contains(body, `"reward":5`) {
			return fmt.Errorf("%d %s", code, body)
		}
		return nil
	})
	out, err := n.AWS(n.Root).KMS.Decrypt(t.Context(), &kms.DecryptInput{CiphertextBlob: e.sealed})
	if err != nil || string(out.Plaintext) != "a secret" {
		t.Errorf("the KMS key: %v", err)
	}
	if _, err := n.AWS(e.user).IAM.GetUser(t.Context(), &iam.GetUserInput{UserName: new("bob")}); code(err) != "AccessDenied" {
		t.Errorf("bob signs a request: %v, want AccessDenied, as he may do nothing", err)
	}
	if _, err := n.AWS(plat.Key{ID: e.user.ID, Secret: "another"}).IAM.GetUser(t.Context(), &iam.GetUserInput{UserName: new("bob")}); code(err) != "SignatureDoesNotMatch" {
		t.Errorf("somebody signs as bob: %v", err)
	}
	if err := beat(n); err != nil {
		t.Error(err)
	}
}

// mover runs export and import with a file, and returns what they tell.
type mover struct {
	t          *testing.T
	passphrase string
}

func newMover(t *testing.T) mover {
	path := filepath.Join(t.TempDir(), "passphrase")
	if err := os.WriteFile(path, []byte("of the export\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return mover{t, path}
}

func (m mover) run(env []string, args ...string) (string, error) {
	out, err := plat.Command(env, append(args, "--passphrase-file", m.passphrase)...).CombinedOutput()
	return string(out), err
}

func (m mover) must(env []string, args ...string) string {
	m.t.Helper()
	out, err := m.run(env, args...)
	if err != nil {
		m.t.Fatalf("sluice %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refused checks that a command fails and says why in one line.
func (m mover) refused(want string, env []string, args ...string) {
	m.t.Helper()
	out, err := m.run(env, args...)
	if err == nil || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 {
		m.t.Errorf("sluice %s: %v, want an error with %q:\n%s", strings.Join(args, " "), err, want, out)
	}
}

// carried are the counts of what was moved.
func carried(t *testing.T, told string) (documents, rows, references int) {
	t.Helper()
	for line := range strings.Lines(told) {
		_, counts, _ := strings.Cut(line, "orted ")
		if n, _ := fmt.Sscanf(counts, "%d documents, %d rows and %d reference documents", &documents, &rows, &references); n == 3 {
			return documents, rows, references
		}
	}
	t.Fatalf("no counts in %q", told)
	return 0, 0, 0
}

// A node alone becomes a cluster over another database, and a cluster a node alone: every
// service finds what it had, and keys open what they sealed.
func TestANodeMovesIntoAClusterAndBack(t *testing.T) {
	m, files := newMover(t), t.TempDir()
	alone := plat.Start(t, plat.Options{})
	e := settle(t, alone)
	file := filepath.Join(files, "alone")
	m.refused("stop it first", nil, "export", "--data", alone.Dir, "-o", file)
	alone.Stop()
	told := m.must(nil, "export", "--data", alone.Dir, "-o", file)
	documents, rows, references := carried(t, told)
	if documents < 10 || rows < 1 || references != 1 {
		t.Errorf("exported %d documents, %d rows, %d references", documents, rows, references)
	}
	m.refused("is there already", nil, "export", "--data", alone.Dir, "-o", file)
	m.refused("control.db holds a control store already", nil, "import", file, "--data", alone.Dir)

	database := dbtest.MariaDB(t).URL
	env := []string{"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_NODE=a", "SLUICE_CLUSTER_DATA_NODE=a", "SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret"}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(files, "cut")
	if err := os.WriteFile(cut, raw[:len(raw)-100], 0o600); err != nil {
		t.Fatal(err)
	}
	m.refused("it is cut off", env, "import", cut, "--data", alone.Dir)
	m.refused("set account", append(env, "SLUICE_ACCOUNT=999999999999"), "import", file, "--data", alone.Dir)
	told = m.must(env, "import", file, "--data", alone.Dir)
	if d, r, x := carried(t, told); d != documents || r != rows || x != references {
		t.Errorf("%d documents, %d rows, %d references were exported: %s", documents, rows, references, told)
	}
	m.refused("the database holds a control store already", env, "import", file, "--data", alone.Dir)

	nodes := clusterIn(t, []string{alone.Dir, "", ""}, database, "SLUICE_CLUSTER_DATA_NODE=a")
	for _, n := range nodes {
		e.settled(t, n)
	}

	of := append(env, "SLUICE_CLUSTER_NODE=b")
	told = m.must(of, "export", "--data", nodes[1].Dir, "-o", filepath.Join(files, "running"))
	if !strings.Contains(told, "node a has it") {
		t.Errorf("an export beside the data node does not tell where the reference data is: %s", told)
	}
	nodes[0].Stop()
	file = filepath.Join(files, "cluster")
	told = m.must(env, "export", "--data", nodes[0].Dir, "-o", file) // while the others run
	if d, r, x := carried(t, told); d < documents || r < rows || x != references {
		t.Errorf("%d documents, %d rows, %d references were imported: %s", documents, rows, references, told)
	}
	dir := t.TempDir()
	m.must(nil, "import", file, "--data", dir)
	e.settled(t, plat.Start(t, plat.Options{Dir: dir}))
}

// A database server that a node alone has used is adopted as it is, but only by that node.
func TestAClusterAdoptsANodesDatabase(t *testing.T) {
	database := dbtest.Postgres(t).URL
	alone := plat.Start(t, plat.Options{Env: []string{"SLUICE_STORE_URL=" + database}})
	e := settle(t, alone)
	alone.Stop()
	out, err := plat.Command([]string{"SLUICE_CLUSTER_ENABLED=true", "SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret"},
		"serve", "--data", t.TempDir(), "--port-base", fmt.Sprint(plat.FreePorts(t))).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "start that node first, with cluster.enabled, on its own data directory") {
		t.Fatalf("a new node alone: %v\n%s", err, out)
	}
	for _, n := range clusterIn(t, []string{alone.Dir, "", ""}, database, "SLUICE_CLUSTER_DATA_NODE=a") {
		e.settled(t, n)
	}
}

// An import that is killed, wherever it is, leaves a directory that no node starts on, or
// one where nothing was begun; the same import then goes on to its end.
func TestAnImportThatIsKilledIsBegunAgain(t *testing.T) {
	m, file, dir := newMover(t), filepath.Join(t.TempDir(), "alone"), t.TempDir()
	alone := plat.Start(t, plat.Options{})
	e := settle(t, alone)
	for i := range 1500 { // so that it takes a while
		alone.Admin("PUT", fmt.Sprintf("/references/programs/more-%d", i), map[string]any{"reward": i})
	}
	alone.Stop()
	m.must(nil, "export", "--data", alone.Dir, "-o", file)
	half := filepath.Join(dir, "half")
	refusesToServe := func() {
		t.Helper()
		out, err := plat.Command(nil, "serve", "--data", half, "--port-base", fmt.Sprint(plat.FreePorts(t))).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "was cut off: run \"sluice import\" again") {
			t.Errorf("a node on half an import: %v\n%s", err, out)
		}
	}
	marker := filepath.Join(half, "importing")
	written := func() (at time.Time) {
		if info, err := os.Stat(marker); err == nil {
			at = info.ModTime()
		}
		return at
	}
	seen := 0
	for i, ended := 0, false; i < 6 && !ended; i++ {
		cmd := plat.Command(nil, "import", file, "--data", half, "--passphrase-file", m.passphrase)
		before := written()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		for running := true; running; {
			select {
			case err := <-done:
				ended, running = err == nil, false
			case <-time.After(time.Millisecond):
				if at := written(); !at.Equal(before) { // now it writes
					time.Sleep(time.Duration(i) * 4 * time.Millisecond) // each is killed at another place
					_ = cmd.Process.Kill()                              // it may have ended
				}
			}
		}
		if !ended && !written().IsZero() {
			seen++
			refusesToServe()
		}
	}
	if t.Logf("%d imports were killed in the middle", seen); seen == 0 {
		t.Error("no import was killed in the middle")
	}
	if !written().IsZero() {
		m.must(nil, "import", file, "--data", half)
	}

	// The end that is the last to come: all is in its place, and only nobody said so.
	if err := os.WriteFile(marker, []byte("control store"), 0o600); err != nil {
		t.Fatal(err)
	}
	refusesToServe()
	m.refused("was cut off", nil, "export", "--data", half, "-o", filepath.Join(dir, "x"))
	m.refused("without --references-only", nil, "import", file, "--data", half, "--references-only")
	m.must(nil, "import", file, "--data", half)
	e.settled(t, plat.Start(t, plat.Options{Dir: half}))
}

package plat

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/firehose"
	"sluice.dev/sluice/internal/api/aws/iam"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// Region is where tests work.
const Region = "us-east-1"

// Clients are the generated clients of one identity. Tests that need many calls use them;
// compatibility is for the clients that people use.
type Clients struct {
	Wire     *awswire.Client
	S3       s3.Client
	Kinesis  kinesis.Client
	Firehose firehose.Client
	KMS      kms.Client
	IAM      iam.Client
}

// AWS returns clients of the owner of a key.
func (n *Node) AWS(k Key) Clients {
	w := &awswire.Client{Endpoint: n.Endpoints.AWS, Region: Region, AccessKeyID: k.ID, Secret: k.Secret,
		HTTP: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 32}}}
	return Clients{w, s3.Client{Client: w}, kinesis.Client{Client: w}, firehose.Client{Client: w}, kms.Client{Client: w}, iam.Client{Client: w}}
}

// SQL connects as the owner of a key.
func (n *Node) SQL(ctx context.Context, k Key) (*pgx.Conn, error) {
	u, err := url.Parse(n.Endpoints.SQL)
	if err != nil {
		return nil, err
	}
	u.User = url.UserPassword(k.ID, k.Secret)
	return pgx.Connect(ctx, u.String())
}

// MustSQL is SQL for a test that cannot go on without; it is closed with the test.
func (n *Node) MustSQL(k Key) *pgx.Conn {
	n.t.Helper()
	c, err := n.SQL(n.t.Context(), k)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = c.Close(context.Background()) }) // the node may be gone
	return c
}

// Admin calls the Kong Admin API and expects success.
func (n *Node) Admin(method, path string, body any) {
	n.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		n.t.Fatal(err)
	}
	req, err := http.NewRequest(method, n.Endpoints.KongAdmin+path, bytes.NewReader(raw))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	answer, _ := io.ReadAll(res.Body) // it is shown only
	_ = res.Body.Close()              // read already
	if res.StatusCode/100 != 2 {
		n.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, answer)
	}
}

// User makes a user with an inline policy, none if it is empty, and a key.
func (n *Node) User(name, policy string) Key {
	n.t.Helper()
	ctx := n.t.Context()
	root := n.AWS(n.Root).IAM
	if _, err := root.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		n.t.Fatal(err)
	}
	if policy != "" {
		p := "policy"
		if _, err := root.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: &p, PolicyDocument: &policy}); err != nil {
			n.t.Fatal(err)
		}
	}
	k, err := root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		n.t.Fatal(err)
	}
	return Key{*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey}
}

// Env is the environment of AWS and PostgreSQL clients.
func (n *Node) Env(k Key) []string {
	u, err := url.Parse(n.Endpoints.SQL)
	if err != nil {
		n.t.Fatal(err)
	}
	return []string{"AWS_ACCESS_KEY_ID=" + k.ID, "AWS_SECRET_ACCESS_KEY=" + k.Secret, "AWS_DEFAULT_REGION=" + Region, "AWS_ENDPOINT_URL=" + n.Endpoints.AWS,
		"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=3",
		"PGHOST=" + u.Hostname(), "PGPORT=" + u.Port(), "PGDATABASE=dev", "PGUSER=" + k.ID, "PGPASSWORD=" + k.Secret}
}

// Need returns the path of a client, and skips the test by its name where it is missing.
func Need(t testing.TB, client string) string {
	t.Helper()
	path, err := exec.LookPath(client)
	if err != nil {
		t.Skipf("no %s here", client)
	}
	return path
}

// Until asks again and again until ok.
func Until(t testing.TB, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come true: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond) // between two questions
	}
}

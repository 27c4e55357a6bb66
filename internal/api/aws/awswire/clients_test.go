package awswire_test

import (
	"bytes"
	"crypto/rand"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Real clients against a server of fake operations.

func TestBoto3(t *testing.T) {
	for _, python := range executables("python3") {
		if exec.Command(python, "-c", "import boto3").Run() != nil {
			continue
		}
		for _, tls := range []bool{false, true} {
			name := python + " http"
			if tls {
				name = python + " https" // where boto3 sends checksums as trailers
			}
			t.Run(name, func(t *testing.T) {
				p := serve(t, tls)
				args := []string{filepath.Join("testdata", "boto.py"), p.URL}
				if tls {
					args = append(args, certificate(t, p))
				}
				run(t, []string{"KEY=" + tempID, "SECRET=" + secret, "TOKEN=" + token}, python, args...)
				run(t, []string{"KEY=" + keyID, "SECRET=" + secret}, python, args...)
				if strings.Contains(p.logged(), "ERROR") {
					t.Logf("%s", p.logged())
				}
			})
		}
		return
	}
	t.Skip("no python3 with boto3 on this machine")
}

func TestAWSCLI(t *testing.T) {
	found := executables("aws")
	if len(found) == 0 {
		t.Skip("no aws CLI on this machine")
	}
	for _, aws := range found {
		t.Run(aws, func(t *testing.T) {
			p := serve(t, false)
			call := func(args ...string) string {
				t.Helper()
				env := []string{"AWS_ACCESS_KEY_ID=" + keyID, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_DEFAULT_REGION=eu-central-1", "AWS_PAGER="}
				return run(t, env, aws, append([]string{"--endpoint-url", p.URL, "--output", "text"}, args...)...)
			}
			if got := call("sts", "get-caller-identity", "--query", "Account"); got != "123456789012" {
				t.Errorf("account %q", got)
			}
			call("kinesis", "create-stream", "--stream-name", "s", "--shard-count", "2")
			call("iam", "create-user", "--user-name", "alice")
			call("s3", "mb", "s3://lake")
			data := make([]byte, 9<<20) // above the threshold of multipart
			_, _ = rand.Read(data)
			from, to := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
			must(t, os.WriteFile(from, data, 0o600))
			call("s3", "cp", from, "s3://lake/a b/c")
			call("s3", "cp", "s3://lake/a b/c", to)
			back, err := os.ReadFile(to)
			must(t, err)
			if !bytes.Equal(data, back) {
				t.Error("the object came back changed")
			}
			if got := call("s3", "ls", "--recursive", "s3://lake"); !strings.HasSuffix(got, "9437184 a b/c") {
				t.Errorf("s3 ls: %q", got)
			}
			call("s3", "rm", "s3://lake/a b/c")
		})
	}
}

// executables returns every program of that name in the path, each once.
func executables(name string) []string {
	var out []string
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		out = append(out, filepath.Join(dir, name))
	}
	return out
}

func certificate(t *testing.T, p *platform) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw}), 0o600))
	return file
}

func run(t *testing.T, env []string, program string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append([]string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/dev/null"}, env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

package acceptance_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// session runs a Python program of testdata, which prints "done" when all was as it should be.
func session(t *testing.T, n *plat.Node, file string) {
	t.Helper()
	script, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if out := python(t, n, n.Root, string(script), n.Endpoints.AWS); strings.TrimSpace(out) != "done" {
		t.Fatal(out)
	}
}

func TestS3Answers(t *testing.T) { session(t, plat.Start(t, plat.Options{}), "s3_answers.py") }

// A key, a stream, a bucket of one region is out of reach of a call that is signed for another.
func TestRegionsAreApart(t *testing.T) { session(t, plat.Start(t, plat.Options{}), "regions.py") }

const syncFiles = 2000

// syncSession moves a tree up and down. An empty file once stalled the connection after it for a minute.
const syncSession = `
set -eu
s3() { "$AWS" --endpoint-url "$AWS_ENDPOINT_URL" s3 "$@" --only-show-errors; }
"$AWS" --endpoint-url "$AWS_ENDPOINT_URL" s3 mb s3://tree >/dev/null
s3 sync "$WORK/up" s3://tree
s3 sync s3://tree "$WORK/down"
diff -r "$WORK/up" "$WORK/down"
again=$("$AWS" --endpoint-url "$AWS_ENDPOINT_URL" s3 sync "$WORK/up" s3://tree)
[ -z "$again" ] || { echo "a second sync copied: $again" | head -3; exit 1; }
rm -r "$WORK/up/1"
s3 sync "$WORK/up" s3://tree --delete
s3 sync s3://tree "$WORK/down" --delete
find "$WORK/down" -type d -empty -delete
diff -r "$WORK/up" "$WORK/down"
`

func TestSyncOfATreeWithEmptyFiles(t *testing.T) {
	for _, cli := range awsCLIs(t) {
		t.Run(strings.ReplaceAll(strings.Trim(cli, "/"), "/", "-"), func(t *testing.T) {
			t.Parallel()
			n, work := plat.Start(t, plat.Options{}), t.TempDir()
			for i := range syncFiles {
				path := filepath.Join(work, "up", fmt.Sprint(i%10), fmt.Sprintf("f%04d", i))
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				var content []byte
				if i%5 != 0 {
					content = fmt.Appendf(nil, "content of %d", i)
				}
				if err := os.WriteFile(path, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", syncSession)
			sh.Env = append(append(plat.Command(nil).Env, n.Env(n.Root)...), "AWS="+cli, "WORK="+work, "LC_ALL=C.UTF-8", "AWS_MAX_ATTEMPTS=1")
			if out, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
		})
	}
}

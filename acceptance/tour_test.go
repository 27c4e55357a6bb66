package acceptance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

// shellBlock is what the README shows to be pasted.
var shellBlock = regexp.MustCompile("(?s)```sh\n(.*?)```")

// tour returns the commands of the README's tour, for a directory of the test's own.
func tour(t *testing.T, work string) string {
	t.Helper()
	raw, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(raw), "## A tour")
	text, _, end := strings.Cut(text, "\n## ")
	if !ok || !end {
		t.Fatal("README.md has no tour")
	}
	var b strings.Builder
	for _, block := range shellBlock.FindAllStringSubmatch(text, -1) {
		b.WriteString(block[1])
	}
	b.WriteString("\nkill %2 %1\nwait\n") // as the text says
	commands := strings.ReplaceAll(b.String(), "make build\n", "")
	serve := "bin/sluice serve --data /tmp/sluice"
	if strings.Count(commands, serve) != 1 {
		t.Fatalf("the tour does not start one node by %q", serve)
	}
	commands = strings.ReplaceAll(commands, serve, serve+" --port-base "+strconv.Itoa(plat.FreePorts(t)))
	return strings.ReplaceAll(commands, "/tmp/", work+"/")
}

// The README's tour works as it is pasted, with both generations of the AWS CLI.
func TestTourOfTheReadme(t *testing.T) {
	bash := plat.Need(t, "bash")
	plat.Need(t, "psql")
	plat.Need(t, "curl")
	for _, cli := range awsCLIs(t) {
		t.Run(strings.ReplaceAll(strings.Trim(cli, "/"), "/", "-"), func(t *testing.T) {
			t.Parallel()
			work := t.TempDir()
			for link, to := range map[string]string{"bin/sluice": plat.Program(), "path/aws": cli, "examples": repository(t, "examples")} {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(work, link)), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, filepath.Join(work, link)); err != nil {
					t.Fatal(err)
				}
			}
			sh := exec.CommandContext(t.Context(), bash, "-mc", tour(t, work))
			sh.Dir = work
			sh.Env = append(plat.Command(nil).Env, "PATH="+filepath.Join(work, "path")+":"+os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "HOME="+work, "LC_ALL=C.UTF-8")
			sh.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
			raw, err := sh.CombinedOutput()
			out := string(raw)
			if err != nil && !strings.Contains(err.Error(), "exit status") {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{
				`"Account": "123456789012"`, `{"events":[`, `No API key found in request`, ` / `, ` /buy `, ` /till `, `is disabled`, `_format_version`,
			} {
				if !strings.Contains(out, want) {
					t.Errorf("the tour's output lacks %q", want)
				}
			}
			for _, bad := range []string{"usage:", "Unable to locate", "Parameter validation failed", "(0 rows)", "curl: (", "command not found", "An error occurred", "could not connect", "sluice: "} {
				if strings.Contains(out, bad) {
					t.Errorf("the tour's output has %q", bad)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

// repository is the path of something in the repository.
func repository(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

package plat

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// program is the built program. Main sets it before any test runs.
var program string

// Main builds the program, runs the tests and cleans up. SLUICE_PROGRAM names a program
// to test instead of building one.
func Main(m *testing.M) int {
	if program = os.Getenv("SLUICE_PROGRAM"); program != "" {
		if err := os.Unsetenv("SLUICE_PROGRAM"); err != nil { // a node would take it for a key of its configuration
			panic(err)
		}
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "sluice-acceptance-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // it is a temporary directory anyway
	program = filepath.Join(dir, "sluice")
	build := exec.Command("go", "build", "-o", program, "./cmd/sluice")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the program: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// Build builds another program with the flags of "go build", and returns its path.
func Build(t testing.TB, flags ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "sluice")
	build := exec.Command("go", append(append([]string{"build", "-o", out}, flags...), "./cmd/sluice")...)
	build.Dir = ".."
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, text)
	}
	return out
}

// Program is the path of the program under test.
func Program() string { return program }

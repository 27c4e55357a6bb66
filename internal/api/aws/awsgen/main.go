package main

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/api/aws/awsgen/model"
)

//go:embed BOTOCORE
var pinned string

func main() {
	service := flag.String("service", "", "the service's directory among the models, such as kinesis")
	models := flag.String("models", "", "botocore's data directory; default: that of the installed botocore")
	dir := flag.String("dir", ".", "the front's directory: ops.txt is read there and shapes_gen.go written")
	flag.Parse()
	if err := run(*service, *models, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "awsgen:", err)
		os.Exit(1)
	}
}

func run(service, models, dir string) error {
	if service == "" {
		return errors.New("-service is missing")
	}
	m, err := load(service, models)
	if err != nil {
		return err
	}
	list, err := os.ReadFile(filepath.Join(dir, "ops.txt"))
	if err != nil {
		return err
	}
	pkg, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	src, err := generate(m, filepath.Base(pkg), service, operations(list))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "shapes_gen.go"), src, 0o644)
}

// operations reads ops.txt: one name a line, # begins a comment.
func operations(list []byte) []string {
	var ops []string
	for line := range strings.Lines(string(list)) {
		line, _, _ = strings.Cut(line, "#")
		ops = append(ops, strings.Fields(line)...)
	}
	slices.Sort(ops)
	return slices.Compact(ops)
}

// load reads the newest API version of the service's model.
func load(service, models string) (*model.Model, error) {
	if models == "" {
		var err error
		if models, err = installed(); err != nil {
			return nil, err
		}
	}
	files, err := filepath.Glob(filepath.Join(models, service, "*", "service-2.json*"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no model of %q in %s", service, models)
	}
	slices.Sort(files) // API versions are dates
	return read(files[len(files)-1])
}

func read(file string) (*model.Model, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return model.Parse(b)
}

// installed finds the data directory of the installed botocore and refuses any but the
// pinned version.
func installed() (string, error) {
	const ask = "import botocore; print(botocore.__version__); print(botocore.__path__[0])"
	out, err := exec.Command("python3", "-c", ask).Output()
	if err != nil {
		return "", fmt.Errorf("python3 cannot import botocore (pip install botocore==%s): %w", strings.TrimSpace(pinned), err)
	}
	version, path, _ := bytes.Cut(bytes.TrimSpace(out), []byte("\n"))
	if want := strings.TrimSpace(pinned); string(version) != want {
		return "", fmt.Errorf("botocore %s is installed, %s is pinned", version, want)
	}
	return filepath.Join(string(path), "data"), nil
}

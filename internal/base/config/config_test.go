package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/config"
)

type settings struct {
	Data  string `yaml:"data" doc:"directory"`
	Store struct {
		URL  string        `yaml:"url" doc:"where"`
		Wait time.Duration `yaml:"wait" doc:"how long"`
	} `yaml:"store"`
	Port int `yaml:"port" doc:"number"`
}

func TestLaterSourcesWin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(file, []byte("data: /file\nport: 1\nstore:\n  url: file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := settings{Data: "/default", Port: 9}
	err := config.Load(&s, file, []string{"SLUICE_STORE_URL=env", "SLUICE_STORE_WAIT=3s", "PATH=/bin", "SLUICE_CONFIG=" + file}, "SLUICE_CONFIG")
	if err != nil {
		t.Fatal(err)
	}
	if s.Data != "/file" || s.Port != 1 || s.Store.URL != "env" || s.Store.Wait != 3*time.Second {
		t.Fatalf("got %+v", s)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		name, yaml, env, want string
	}{
		{"unknown key", "dta: /x\n", "", `unknown field "dta"`},
		{"wrong type", "port: many\n", "", "[1:7]"},
		{"unknown variable", "", "SLUICE_STORE_URI=x", "SLUICE_STORE_URI"},
		{"wrong variable", "", "SLUICE_PORT=many", `SLUICE_PORT: "many" is not a number`},
		{"wrong duration", "", "SLUICE_STORE_WAIT=soon", `"soon" is not a duration`},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "c.yaml")
			if err := os.WriteFile(file, []byte(c.yaml), 0o600); err != nil {
				t.Fatal(err)
			}
			err := config.Load(&settings{}, file, []string{c.env})
			if !config.Invalid.Is(err) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want one that says %q", err, c.want)
			}
		})
	}
	if err := config.Load(&settings{}, "/does/not/exist.yaml", nil); !config.Invalid.Is(err) {
		t.Errorf("a missing file: %v", err)
	}
}

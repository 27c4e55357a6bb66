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
		{"unknown key", "dta: /x\n", "", `line 1: unknown key "dta"; did you mean "data"?`},
		{"unknown key of a section", "store:\n  ulr: x\n", "", `line 2: unknown key "store.ulr"; did you mean "store.url"?`},
		{"a key without its section", "url: x\n", "", `did you mean "store.url"?`},
		{"nothing near", "colour: x\n", "", `unknown key "colour"`},
		{"wrong type", "\nport: many\n", "", `line 2: port: "many" is not a number`},
		{"a duration without a unit", "store:\n  wait: 5\n", "", `store.wait: "5" is not a duration: give a number with a unit`},
		{"a list", "port: [1, 2]\n", "", "port is one value, not several"},
		{"a section with a value", "store: x\n", "", "store holds keys and their values, not a"},
		{"no mapping", "- a\n", "", "the configuration holds keys and their values"},
		{"a key twice", "port: 1\nport: 2\n", "", "port"},
		{"two documents", "port: 1\n---\nport: 2\n", "", "2 documents"},
		{"bad syntax", "store: {\n", "", "c.yaml"},
		{"a near variable", "", "SLUICE_PROT=1", `did you mean "SLUICE_PORT"?`},
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

package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/config"
)

type engine struct {
	Speed int `yaml:"speed" was:"pace" doc:"how fast"`
}

type renamed struct {
	Gateway struct {
		engine `yaml:",inline"`
		Color  string `yaml:"color" doc:"which"`
		Extra  struct {
			Depth int `yaml:"depth"`
		} `yaml:",inline"`
	} `yaml:"gateway" was:"gate"`
}

// What a key was called before still works, and is the same key.
func TestFormerNames(t *testing.T) {
	load := func(text string, environ ...string) (r renamed, err error) {
		file := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return r, config.Load(&r, file, environ)
	}
	for _, text := range []string{"gateway: {speed: 3, color: red, depth: 2}", "gate: {pace: 3, color: red, depth: 2}"} {
		if r, err := load(text); err != nil || r.Gateway.Speed != 3 || r.Gateway.Color != "red" || r.Gateway.Extra.Depth != 2 {
			t.Errorf("%s: %+v, %v", text, r, err)
		}
	}
	if r, err := load("", "SLUICE_GATE_PACE=4", "SLUICE_GATEWAY_COLOR=blue", "SLUICE_GATE_DEPTH=5"); err != nil || r.Gateway.Speed != 4 || r.Gateway.Color != "blue" || r.Gateway.Extra.Depth != 5 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := load("gate: {color: red}\ngateway: {color: blue}"); err == nil || !strings.Contains(err.Error(), "line 2: gateway.color stands in line 1 already") {
		t.Errorf("both names: %v", err)
	}
	if _, err := load("gate: {colour: red}"); err == nil || !strings.Contains(err.Error(), `unknown key "gate.colour"`) {
		t.Errorf("an unknown name: %v", err)
	}
	var b bytes.Buffer
	if err := config.Reference(&b, &renamed{}); err != nil || strings.Contains(b.String(), "gate.") || !strings.Contains(b.String(), "gateway.depth") {
		t.Errorf("%s, %v", b.String(), err)
	}
}

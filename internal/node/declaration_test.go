package node_test

import (
	"errors"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/node"
)

// TestCheckSays: one problem on a line, with file, line, record and field.
func TestCheckSays(t *testing.T) {
	const id = "4e0f5cd4-90f1-4ad8-b0e3-4a62ba1fba2b"
	for _, c := range []struct {
		text string
		want []string // beginnings of lines
	}{
		{"_format_version: '3.0'\nservices:\n- name: good\n  host: h\n- name: web\n  path: x\n  routes:\n  - name: r\n    paths: [/a]\n    service: other\n", []string{
			`f.yml:10: routes "r": service: value must be null`}},
		{"_format_version: '3.0'\nservices:\n- name: good\n  host: h\n- name: web\n  path: x\n  port: 99999\n", []string{
			`f.yml:5: services "web": host: required field missing`, `f.yml:6: services "web": path: should start with: /`,
			`f.yml:7: services "web": port: value should be between 0 and 65535`}},
		{"_format_version: '3.0'\nplugins:\n- id: " + id + "\n  name: nope\n- name: rate-limiting\n  config:\n    minute: x\n    redis:\n      port: -1\n", []string{
			`f.yml:4: plugins "nope" (id ` + id + `): name: plugin 'nope' not enabled; add it to the 'plugins' configuration property; there are acl, acme, `,
			`f.yml:7: plugins "rate-limiting": config.minute: expected a number`,
			`f.yml:9: plugins "rate-limiting": config.redis.port: value should be between 0 and 65535`}},
		{"_format_version: '3.0'\nroutes:\n- paths:\n  - /ok\n  - bad\n  hosts: [h]\n", []string{`f.yml:5: routes: paths.2: should start with: /`}},
		{"_format_version: '3.0'\nconsumers:\n- username: a\n- username: a\n", []string{`f.yml:4: consumers "a": uniqueness violation`}},
		{"_format_version: '9'\nservcies: []\n", []string{`f.yml:1: _format_version: expected one of: 1.1, 2.1, 3.0`, `f.yml:2: servcies: unknown field`}},
		{"services: []\n", []string{`f.yml: _format_version: required field missing`}},
		{"a: b\n  c: d\n", []string{`f.yml:1: failed parsing declarative configuration`}},
	} {
		_, err := node.Check(t.Context(), "f.yml", strings.NewReader(c.text))
		bad, ok := errors.AsType[*node.InvalidFile](err)
		if !ok {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for i, line := range bad.Lines {
			if len(bad.Lines) != len(c.want) || !strings.HasPrefix(line, c.want[i]) || strings.Contains(line, "null,") || strings.Contains(line, "\n") {
				t.Errorf("%s\n%s", c.text, bad)
				break
			}
		}
	}
	// A child may name the parent it is nested in.
	text := "_format_version: '3.0'\nservices:\n- name: s\n  host: h\n  routes:\n  - name: r\n    paths: [/a]\n    service: s\n  plugins:\n  - name: cors\n    service: {name: s}\n"
	if n, err := node.Check(t.Context(), "f.yml", strings.NewReader(text)); n != 3 || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

package component_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/agent/component"
)

const (
	page  = "../../../docs/agent.md"
	first = "<!-- components: written by the test of internal/agent/component with UPDATE_DOCS=1 -->\n"
	last  = "<!-- end of components -->\n"
)

// reference prints the catalogue as Markdown.
func reference() string {
	var out strings.Builder
	for _, d := range component.Catalogue() {
		fmt.Fprintf(&out, "\n### %s\n\n%s. `%s`\n\n| property | default | |\n|---|---|---|\n", d.Name(), d.Description, d.Type)
		for _, p := range d.Properties {
			var notes []string
			if p.Required && p.Default == "" {
				notes = append(notes, "required")
			}
			if p.Expression {
				notes = append(notes, "EL")
			}
			if p.Sensitive {
				notes = append(notes, "sensitive")
			}
			if len(p.Allowed) > 0 {
				notes = append(notes, strings.Join(p.Allowed, " / "))
			}
			text := strings.Join(notes, "; ")
			if p.Description != "" {
				text = strings.TrimSuffix(p.Description+". "+text, " ")
			}
			fmt.Fprintf(&out, "| %s | %s | %s |\n", p.Name, quoted(p.Default), strings.ReplaceAll(text, "|", "\\|"))
		}
		if d.Dynamic != nil {
			fmt.Fprintf(&out, "\nDynamic properties: %s = %s. %s.\n", strings.ToLower(d.Dynamic.Name), strings.ToLower(d.Dynamic.Value), d.Dynamic.Description)
		}
		var rels []string
		for _, r := range d.Relationships {
			rels = append(rels, r.Name)
		}
		if len(rels) > 0 {
			fmt.Fprintf(&out, "\nRelationships: %s\n", strings.Join(rels, ", "))
		}
	}
	return out.String() + "\n"
}

func quoted(s string) string {
	if s == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(s, "|", "\\|") + "`"
}

func TestThePageListsTheComponents(t *testing.T) {
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), first)
	old, after, closed := strings.Cut(rest, last)
	if !ok || !closed {
		t.Fatal("docs/agent.md has no place for the components")
	}
	if os.Getenv("UPDATE_DOCS") != "" {
		if err := os.WriteFile(page, []byte(before+first+reference()+last+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != reference() {
		t.Error("docs/agent.md is not what the catalogue is: run this test with UPDATE_DOCS=1")
	}
}

package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/node"
)

// The table of keys in the documentation is the program's own.
func TestOperationsListsEveryKey(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	var table bytes.Buffer
	if err := config.Reference(&table, node.Defaults()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(doc), strings.TrimSpace(table.String())) {
		t.Errorf("docs/operations.md does not hold what `sluice config` prints:\n%s", table.String())
	}
}

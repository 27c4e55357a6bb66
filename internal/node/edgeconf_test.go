package node_test

import (
	"io"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/node"
)

// A node with a key that cannot be ends before it begins, and names the key.
func TestConsoleAndEdgeKeysRefused(t *testing.T) {
	for pair, key := range map[string]string{
		"CONSOLE_CONTEXT_PATH=efm":              "console.context_path",
		"CONSOLE_CONTEXT_PATH=/efm/":            "console.context_path",
		"CONSOLE_CONTEXT_PATH=/a//b":            "console.context_path",
		"CONSOLE_CONTEXT_PATH=/{x}":             "console.context_path",
		"CONSOLE_CONTEXT_PATH=/api/v1":          "console.context_path",
		"CONSOLE_CLIENT_AUTH=often":             "console.client_auth",
		"EDGE_MANIFEST=best":                    "edge.manifest",
		"EDGE_BATCH=-1":                         "edge.batch",
		"EDGE_BATCH_EVERY=-1s":                  "edge.batch_every",
		"EDGE_MAX_HEARTBEAT_INTERVAL=0s":        "edge.max_heartbeat_interval",
		"EDGE_MAX_HEARTBEAT_INTERVAL_FOR=A=one": "edge.max_heartbeat_interval_for",
	} {
		c := node.Defaults()
		c.Data = t.TempDir()
		if err := config.Load(c, "", []string{"SLUICE_" + pair}); err != nil {
			t.Fatal(err)
		}
		err := node.Run(t.Context(), c, io.Discard, nil)
		if !config.Invalid.Is(err) || fault.FieldOf(err) != key || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v, want %s", pair, err, key)
		}
	}
	c := node.Defaults()
	if err := config.Load(c, "", []string{"SLUICE_EDGE_BATCH=often"}); fault.FieldOf(err) != "SLUICE_EDGE_BATCH" {
		t.Errorf("a number that is none: %v", err)
	}
}

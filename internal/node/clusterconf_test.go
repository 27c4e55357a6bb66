package node_test

import (
	"io"
	"strings"
	"testing"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/node"
)

// A key of the cluster's that cannot be is named before the database is asked for anything.
func TestClusterKeysRefused(t *testing.T) {
	for pair, key := range map[string]string{
		"STORE_URL=sqlite:///tmp/x":                "store.url",
		"CLUSTER_NAME=":                            "cluster.name",
		"CLUSTER_NODE=a b":                         "cluster.node",
		"CLUSTER_NODE=a\nb":                        "cluster.node",
		"CLUSTER_NODE=a/../b":                      "cluster.node",
		"CLUSTER_NODE=" + strings.Repeat("x", 191): "cluster.node",
		"CLUSTER_GENERATION=-1":                    "cluster.generation",
		"PORTS_CLUSTER=0":                          "ports.cluster",
		"PORTS_CLUSTER=70000":                      "ports.cluster",
		"CLUSTER_ADDRESS=0.0.0.0":                  "cluster.address",
		"CLUSTER_DISCOVERY=udp":                    "cluster.discovery",
		"CLUSTER_HOSTS=a,b,c":                      "cluster.hosts",
		"CLUSTER_HOSTS=a[1],b[1]":                  "cluster.hosts",
		"CLUSTER_TLS=true":                         "cluster.key_store",
	} {
		c := node.Defaults()
		c.Data = t.TempDir()
		if err := config.Load(c, "", []string{"SLUICE_CLUSTER_ENABLED=true", "SLUICE_STORE_URL=postgres://127.0.0.1:1/none", "SLUICE_CLUSTER_NODE=a",
			"SLUICE_CLUSTER_DISCOVERY=tcp-fixed", "SLUICE_CLUSTER_HOSTS=127.0.0.1[7800]", "SLUICE_" + pair}); err != nil {
			t.Fatal(err)
		}
		err := node.Run(t.Context(), c, io.Discard, nil)
		if !config.Invalid.Is(err) || fault.FieldOf(err) != key || !strings.Contains(err.Error(), key) {
			t.Errorf("%.60s: %v, want %s", pair, err, key)
		}
	}
}

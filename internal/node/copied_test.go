package node_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/clock"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// A copy of a node's data directory that is started beside it under the same name does not
// pass for the node, and takes nothing from it.
func TestACopiedDataDirectoryIsNotTheNode(t *testing.T) {
	database := dbtest.Postgres(t).URL
	first, second := freePorts(t, nil), 0
	second = freePorts(t, []int{first})
	run := func(data string, base int) (end func(), err error) {
		_, stop, err := begin(t, data, clock.System{}, []string{"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_DISCOVERY=tcp-fixed", "SLUICE_CLUSTER_NODE=a",
			fmt.Sprintf("SLUICE_CLUSTER_HOSTS=127.0.0.1[%d]", base+8), fmt.Sprint("SLUICE_PORT_BASE=", base),
			"SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret"})
		return func() { _ = stop() }, err // how it ends is not the matter here
	}
	data, copied := t.TempDir(), t.TempDir()
	end, err := run(data, first)
	if err != nil {
		t.Fatal(err)
	}
	end()
	if err := os.CopyFS(copied, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	if end, err = run(data, first); err != nil {
		t.Fatal(err)
	}
	defer end()
	began := time.Now()
	if end, err := run(copied, second); err == nil {
		end()
		t.Error("the copy runs beside the node")
	} else if !strings.Contains(err.Error(), `another node is called "a"`) {
		t.Error(err)
	}
	t.Logf("refused after %s", time.Since(began))
}

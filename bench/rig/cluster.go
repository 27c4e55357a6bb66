package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/internal/base/store/dbtest"
)

// Cluster is nodes over one PostgreSQL server, which runs on the same machine.
type Cluster struct {
	Nodes    []*Node
	Database string // its URL

	db *harness
}

// StartCluster starts a database and nodes that find each other by a fixed list. Data lies in
// dir; more is environment that all nodes have.
func StartCluster(ctx context.Context, program, dir string, size int, more ...string) (*Cluster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	c := &Cluster{db: new(harness)}
	err := c.db.try(func() { c.Database = dbtest.Postgres(c.db).URL })
	var bases []int
	if err == nil {
		bases, err = FreePorts(size)
	}
	var hosts []string
	for _, base := range bases {
		hosts = append(hosts, fmt.Sprintf("127.0.0.1[%d]", base+8))
	}
	for i, base := range bases {
		if err != nil {
			break
		}
		name := string(rune('a' + i))
		var n *Node
		n, err = Start(ctx, Config{Program: program, Data: filepath.Join(dir, name), Base: base, Env: append([]string{
			"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_NODE=" + name, "SLUICE_CLUSTER_DISCOVERY=tcp-fixed",
			"SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","), "SLUICE_STORE_URL=" + c.Database, "SLUICE_ROOT_PASSPHRASE=of the benchmark"}, more...)})
		if err == nil {
			c.Nodes = append(c.Nodes, n)
		}
	}
	if err == nil {
		err = c.Whole()
	}
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// Whole waits until every node sees all of them up.
func (c *Cluster) Whole() error {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		whole := 0
		for _, n := range c.Nodes {
			var seen struct{ Nodes map[string]int }
			if err := n.Call("GET", "/api/v1/cluster", nil, &seen); err != nil {
				return err
			}
			if seen.Nodes["up"] == len(c.Nodes) {
				whole++
			}
		}
		if whole == len(c.Nodes) {
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("the nodes do not all see each other")
		}
	}
}

// Agents are the addresses that agents report to.
func (c *Cluster) Agents() []string {
	var out []string
	for _, n := range c.Nodes {
		out = append(out, n.Agents())
	}
	return out
}

// Agents is the address that agents report to.
func (n *Node) Agents() string { return n.URLs.Console + "/efm/api" }

// Stop ends the nodes and the database. What they hold is of no use any more.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes {
		_ = n.Stop(syscall.SIGKILL) // it may have been killed
	}
	c.db.end()
}

// harness stands in for a test, so that what starts servers for tests starts them here. What
// would fail a test, or skip it, ends try with an error.
type harness struct {
	testing.TB
	atEnd []func()
}

type failure struct{ error }

func (h *harness) try(fn func()) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case failure:
			err = r
		default:
			panic(r)
		}
	}()
	fn()
	return nil
}

func (h *harness) end() {
	for len(h.atEnd) > 0 {
		last := h.atEnd[len(h.atEnd)-1]
		h.atEnd = h.atEnd[:len(h.atEnd)-1]
		last()
	}
}

func (h *harness) Helper()                           {}
func (h *harness) Cleanup(fn func())                 { h.atEnd = append(h.atEnd, fn) }
func (h *harness) Fatal(args ...any)                 { panic(failure{errors.New(fmt.Sprint(args...))}) }
func (h *harness) Fatalf(format string, args ...any) { panic(failure{fmt.Errorf(format, args...)}) }
func (h *harness) Skip(args ...any)                  { h.Fatal(args...) }
func (h *harness) Skipf(format string, args ...any)  { h.Fatalf(format, args...) }

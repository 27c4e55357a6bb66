package acceptance_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
	"sluice.dev/sluice/internal/base/store/dbtest"
)

// putMany puts n small objects, one after the other.
func putMany(t *testing.T, n *plat.Node, from, to int) {
	t.Helper()
	c, ctx := n.AWS(n.Root), t.Context()
	if from == 0 {
		if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("bucket")}); err != nil {
			t.Fatal(err)
		}
	}
	for i := from; i < to; i++ {
		data := fmt.Appendf(nil, "object %d", i)
		if _, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: new("bucket"), Key: new(fmt.Sprintf("o/%03d", i)), Body: awswire.NewBody(bytes.NewReader(data), int64(len(data)))}); err != nil {
			t.Fatal(err)
		}
	}
}

// countObjects is how many of n objects can be read.
func countObjects(t *testing.T, n *plat.Node, count int) (there int, first error) {
	t.Helper()
	c := n.AWS(n.Root)
	for i := range count {
		o, err := c.S3.GetObject(t.Context(), &s3.GetObjectInput{Bucket: new("bucket"), Key: new(fmt.Sprintf("o/%03d", i))})
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		_ = o.Body.Close() // it is there
		there++
	}
	return there, first
}

// A store that is gone, cut, or damaged stops the start, changes nothing, and says what to
// do. When it is put back, all is there.
func TestLostStoresStopTheStart(t *testing.T) {
	const objects = 100
	n := plat.Start(t, plat.Options{})
	putMany(t, n, 0, objects)
	c, ctx := n.AWS(n.Root), t.Context()
	key, err := c.KMS.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("s"), ShardCount: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kinesis.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: new("s"), PartitionKey: new("k"), Data: []byte("r")}); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		n.User(fmt.Sprintf("user-%d", i), "")
	}
	n.Kill()
	whole := filepath.Join(t.TempDir(), "whole")
	if err := os.CopyFS(whole, os.DirFS(n.Dir)); err != nil {
		t.Fatal(err)
	}
	middle := func(t *testing.T, pattern string) {
		path := files(t, pattern)[len(files(t, pattern))-1]
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		flip(t, path, st.Size()/2)
	}
	rm := func(t *testing.T, pattern string) {
		for _, path := range files(t, pattern) {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name  string
		harm  func(t *testing.T, dir string)
		store string
		file  string
	}{
		{"manifest cut", func(t *testing.T, dir string) {
			manifests := files(t, dir+"/index/MANIFEST-*")
			path := manifests[len(manifests)-1]
			if err := os.Truncate(path, 40); err != nil {
				t.Fatal(err)
			}
		}, "index", "MANIFEST-"},
		{"marker of the manifest gone", func(t *testing.T, dir string) { rm(t, dir+"/index/marker.manifest.*") }, "index", "marker.manifest"},
		{"index gone", func(t *testing.T, dir string) { rm(t, dir+"/index") }, "index", "index"},
		{"log of the index gone", func(t *testing.T, dir string) { rm(t, dir+"/index/*.log") }, "index", ".log"},
		{"log of the index damaged", func(t *testing.T, dir string) { middle(t, dir+"/index/*.log") }, "index", ".log"},
		{"control store gone", func(t *testing.T, dir string) { rm(t, dir+"/control.db*") }, "control", "control.db"},
		{"log of the control store damaged", func(t *testing.T, dir string) { middle(t, dir+"/control.db-wal") }, "control", "control.db-wal"},
		{"objects gone", func(t *testing.T, dir string) { rm(t, dir+"/objects") }, "objects", "objects"},
		{"streams gone", func(t *testing.T, dir string) { rm(t, dir+"/streams") }, "streams", "streams"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			c.harm(t, dir)
			credentials, err := os.ReadFile(filepath.Join(dir, "credentials"))
			if err != nil {
				t.Fatal(err)
			}
			tables, _ := filepath.Glob(dir + "/index/*") // the pattern is good
			refuse(t, nil, serve(t, dir), c.file, "backup", "--accept-data-loss="+c.store)
			if now, _ := filepath.Glob(dir + "/index/*"); len(now) < len(tables) {
				t.Errorf("a refused start removed files of the index: %d are left of %d", len(now), len(tables))
			}
			if now, err := os.ReadFile(filepath.Join(dir, "credentials")); err != nil || !bytes.Equal(now, credentials) {
				t.Error("a refused start changed the credentials")
			}
			again := plat.Start(t, plat.Options{Dir: dir, Args: []string{"--accept-data-loss=" + c.store}})
			again.Stop()
			again.Launch() // and the loss is accepted for good
			again.Stop()
		})
	}
	t.Run("put back", func(t *testing.T) {
		n.Launch()
		if there, err := countObjects(t, n, objects); there != objects {
			t.Errorf("%d objects of %d: %v", there, objects, err)
		}
		if _, err := n.AWS(n.Root).KMS.DescribeKey(t.Context(), &kms.DescribeKeyInput{KeyId: key.KeyMetadata.KeyId}); err != nil {
			t.Error(err)
		}
	})
}

// A damaged log of the index costs what is at the damage and behind it, and no more.
func TestAcceptedDamageKeepsTheRest(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	putMany(t, n, 0, 100)
	n.Kill()
	path := files(t, n.Dir+"/index/*.log")
	log := path[len(path)-1]
	st, err := os.Stat(log)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, log, st.Size()*3/4)
	refuse(t, nil, serve(t, n.Dir), filepath.Base(log), "byte", "--accept-data-loss=index")
	again := plat.Start(t, plat.Options{Dir: n.Dir, Args: []string{"--accept-data-loss=index"}})
	if there, _ := countObjects(t, again, 100); there < 50 || there > 90 {
		t.Errorf("%d objects are left of 100; the damage is at three quarters", there)
	}
	if kept := files(t, n.Dir+"/index.lost-*/*.log"); len(kept) != 1 {
		t.Errorf("the damaged log is not kept: %v", kept)
	}
}

// A damaged table of the index does not stop the node, and costs what is in it.
func TestDamagedTable(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	putMany(t, n, 0, 100)
	n.Stop()
	n.Launch() // writes the table
	putMany(t, n, 100, 120)
	n.Stop()
	tables := files(t, n.Dir+"/index/*.sst")
	for _, table := range tables {
		if st, err := os.Stat(table); err != nil || st.Size() < 5000 {
			continue
		}
		flip(t, table, 2000)
	}
	n.Launch()
	there, err := countObjects(t, n, 120)
	if there < 20 || there > 119 || !strings.Contains(fmt.Sprint(err), ".sst") {
		t.Errorf("%d objects are served, and the others fail with %v; want a name of a table", there, err)
	}
	if status, body := n.Status("/status/live"); status != 200 {
		t.Errorf("status/live: %d %s", status, body)
	}
	if text := n.LogText(); strings.Contains(text, "goroutine ") || strings.Count(text, `"msg":"the index is damaged`) > 1 || strings.Contains(text, `"msg":"kv"`) {
		t.Errorf("the log:\n%s", text)
	}
}

// The catalogue of a cluster knows whose disk it was written over: another node does not
// serve it from an empty one.
func TestDataNodeIsMoved(t *testing.T) {
	database := dbtest.Postgres(t).URL
	bases, hosts := make([]int, 3), make([]string, 3)
	for i := range bases {
		bases[i] = plat.FreePorts(t)
		hosts[i] = fmt.Sprintf("127.0.0.1[%d]", bases[i]+8)
	}
	env := func(node, dataNode string) []string {
		return []string{"SLUICE_CLUSTER_ENABLED=true", "SLUICE_CLUSTER_NODE=" + node, "SLUICE_CLUSTER_DATA_NODE=" + dataNode, "SLUICE_CLUSTER_DISCOVERY=tcp-fixed",
			"SLUICE_CLUSTER_HOSTS=" + strings.Join(hosts, ","), "SLUICE_STORE_URL=" + database, "SLUICE_ROOT_PASSPHRASE=cluster secret"}
	}
	a := plat.Start(t, plat.Options{Base: bases[0], Env: env("a", "a")})
	b := plat.Start(t, plat.Options{Base: bases[1], Env: env("b", "a")})
	putMany(t, b, 0, 3)
	a.Stop()
	b.Stop()
	const all = "--accept-data-loss=index,streams,objects"
	onB := []string{"serve", "--data", b.Dir, "--port-base", strconv.Itoa(bases[1])}
	refuse(t, env("b", "b"), onB, "catalogue", b.Dir, "cluster.data_node", all)
	refuse(t, env("b", "b"), append(onB, "--accept-data-loss=objects"), "catalogue")
	a.Launch() // the key is set back
	if there, err := countObjects(t, a, 3); there != 3 {
		t.Errorf("%d objects of 3: %v", there, err)
	}
	a.Stop()
	moved := plat.Start(t, plat.Options{Dir: b.Dir, Base: bases[1], Env: env("b", "b"), Args: []string{all}})
	if _, err := countObjects(t, moved, 1); code(err) != "NoSuchKey" {
		t.Errorf("an object that was left behind: %v", err)
	}
	moved.Stop()
	refuse(t, env("a", "a"), []string{"serve", "--data", a.Dir, "--port-base", strconv.Itoa(bases[0])}, "catalogue", a.Dir)
}

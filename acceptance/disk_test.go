package acceptance_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// small mounts a file system of its own that is soon full.
func small(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount a small disk")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+size); err != nil {
		t.Skipf("no small disk here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func code(err error) string {
	if e, ok := errors.AsType[*awswire.Error](err); ok {
		return e.Code
	}
	return fmt.Sprint(err)
}

// The lines of the log about the disk.
const (
	diskIsFull  = `"level":"WARN","msg":"the disk is full: writes are refused`
	diskHasRoom = `"level":"INFO","msg":"the disk has room again`
)

// diskMetrics reads the metrics of a node's disk.
func diskMetrics(t *testing.T, n *plat.Node) map[string]float64 {
	t.Helper()
	status, body := n.Status("/metrics")
	if status != http.StatusOK {
		t.Fatalf("/metrics: %d %s", status, body)
	}
	out := map[string]float64{}
	for line := range strings.Lines(body) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(name, "sluice_disk_") || strings.HasPrefix(name, "sluice_component_up") {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Error(err)
			}
			out[name] = v
		}
	}
	return out
}

func TestFullDisk(t *testing.T) {
	n := plat.Start(t, plat.Options{Dir: small(t, "96m"), Env: []string{"SLUICE_DISK_RESERVE_MB=16"}})
	c, ctx := n.AWS(n.Root), t.Context()
	bucket := "bucket"
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("s"), ShardCount: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	db := n.MustSQL(n.Root)
	if _, err := db.Exec(ctx, "CREATE TABLE t (a bigint)"); err != nil {
		t.Fatal(err)
	}
	put := func(key string, size int) error {
		_, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key,
			Body: awswire.NewBody(bytes.NewReader(bytes.Repeat([]byte(key[:1]), size)), int64(size))})
		return err
	}
	record := func() error {
		_, err := c.Kinesis.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: new("s"), PartitionKey: new("k"), Data: bytes.Repeat([]byte("r"), 100_000)})
		return err
	}
	if err := errors.Join(put("small", 1000), record()); err != nil {
		t.Fatal(err)
	}
	for round := range 3 { // filled, and freed, again and again
		large, full := 0, error(nil)
		for ; large < 100 && full == nil; large++ {
			full = put(fmt.Sprintf("large/%d", large), 6<<20)
		}
		if code(full) != "ServiceUnavailable" || !strings.Contains(full.Error(), "disk is full") {
			t.Fatalf("a put into a full disk: %v", full)
		}
		if _, err := c.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: new(fmt.Sprintf("large/%d", large-1))}); code(err) != "NotFound" && code(err) != "NoSuchKey" {
			t.Errorf("the object that was refused: %v", err)
		}
		records := 0
		for ; records < 1000 && full != nil; records++ { // the rest of what may be written
			if err := record(); err != nil {
				if code(err) != "ProvisionedThroughputExceededException" || !strings.Contains(err.Error(), "disk is full") {
					t.Fatalf("a record onto a full disk: %v", err)
				}
				break
			}
		}
		for i := 0; ; i++ {
			if err := put(fmt.Sprintf("medium/%d", i), 500_000); err != nil {
				break
			}
		}
		if _, err := db.Exec(ctx, "INSERT INTO t VALUES (1)"); err == nil || !strings.Contains(err.Error(), "disk is full") {
			t.Errorf("a row onto a full disk: %v", err)
		}
		plat.Until(t, "status/ready tells it", func() error {
			if status, body := n.Status("/status/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "disk is full") {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		// Reads go on.
		o, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: new("large/0")})
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(o.Body)
		_ = o.Body.Close() // read already
		if err != nil || len(data) != 6<<20 {
			t.Errorf("reading %d bytes: %v", len(data), err)
		}
		n1 := 0
		eachRecord(t, n, "s", func(string, kinesis.Record) { n1++ })
		if n1 < 1 {
			t.Error("the records cannot be read")
		}
		if err := db.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n1); err != nil || n1 != 0 {
			t.Errorf("%d rows, %v", n1, err)
		}
		// Deleting makes room, without a restart.
		for i := range large {
			if _, err := c.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: new(fmt.Sprintf("large/%d", i))}); err != nil {
				t.Fatalf("deleting from a full disk: %v", err)
			}
		}
		plat.Until(t, "puts are taken again", func() error { return put("after", 1<<20) })
		if err := record(); err != nil {
			t.Errorf("round %d: a record when there is room again: %v", round, err)
		}
		plat.Until(t, "the node is ready again", func() error {
			if status, body := n.Status("/status/ready"); status != http.StatusOK {
				return fmt.Errorf("%d %s", status, body)
			}
			return nil
		})
		plat.Until(t, "the log says that there is room", func() error {
			if full, room := strings.Count(n.LogText(), diskIsFull), strings.Count(n.LogText(), diskHasRoom); full <= round || full > 3*(round+1) || room != full {
				return fmt.Errorf("round %d: the log says %d times that the disk is full, %d times that there is room", round, full, room)
			}
			return nil
		})
		if !n.Running() {
			t.Fatal("the node died")
		}
	}
	n.Stop()
	n.Launch()
}

// fill leaves about as many bytes free on a small disk.
func fill(t *testing.T, dir string, free uint64) {
	t.Helper()
	f, err := os.OpenFile(dir+"/ballast", os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	block := make([]byte, 64<<10)
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(dir, &st); err != nil {
			t.Fatal(err)
		}
		left := st.Bavail * uint64(st.Bsize)
		if left <= free {
			return
		}
		if _, err := f.Write(block[:min(uint64(len(block)), left-free)]); err != nil {
			t.Fatal(err)
		}
	}
}

// A start on a disk without a free byte ends with one line that says so; one below the
// reserve serves reads, refuses what is written in each of its stores, and says little.
func TestStartOnAFullDisk(t *testing.T) {
	disk := small(t, "96m")
	dir := disk + "/data"
	n := plat.Start(t, plat.Options{Dir: dir, Env: []string{"SLUICE_DISK_RESERVE_MB=40"}})
	putMany(t, n, 0, 10)
	n.Stop()
	fill(t, disk, 0)
	for range 2 {
		refuse(t, nil, serve(t, dir), "full", dir, "free some space")
	}
	if err := os.Truncate(disk+"/ballast", 0); err != nil {
		t.Fatal(err)
	}
	before := len(n.LogText())
	fill(t, disk, 9<<20)
	n.Launch()
	if there, err := countObjects(t, n, 10); there != 10 {
		t.Errorf("%d objects of 10: %v", there, err)
	}
	plat.Until(t, "status/ready tells it", func() error {
		if status, body := n.Status("/status/ready"); status != http.StatusServiceUnavailable || !strings.Contains(body, "disk is full") {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	text := n.LogText()[before:]
	if full, ready := strings.Index(text, diskIsFull), strings.Index(text, "the node takes requests"); full < 0 || full > ready {
		t.Errorf("the log does not say that the disk is full before it says that the node is ready:\n%.4000s", text)
	}
	if m := diskMetrics(t, n); m["sluice_disk_reserve_bytes"] != 40<<20 || m["sluice_disk_free_bytes"] < 1<<20 || m["sluice_disk_free_bytes"] >= 40<<20 ||
		m[`sluice_component_up{component="diskSpace"}`] != 0 || m[`sluice_component_up{component="cluster"}`] != 1 || m[`sluice_component_up{component="db"}`] != 1 {
		t.Errorf("the metrics of a full disk: %v", m)
	}
	if status, body := admin(t, n, "POST", "/services", url.Values{"name": {"s"}, "url": {"http://127.0.0.1:9"}}); status != http.StatusServiceUnavailable || !strings.Contains(body, "disk is full") {
		t.Errorf("a change of the gateway below the reserve: %d %s", status, body)
	}
	if _, err := n.AWS(n.Root).S3.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: new("more")}); code(err) != "ServiceUnavailable" || !strings.Contains(err.Error(), "disk is full") {
		t.Errorf("a bucket below the reserve: %v", err)
	}
	if _, err := n.AWS(n.Root).S3.DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: new("bucket"), Key: new("o/000")}); err != nil {
		t.Errorf("a delete below the reserve: %v", err)
	}
	time.Sleep(3 * time.Second) // loops that fail would fail some hundred times
	if lines := strings.Count(n.LogText()[before:], "\n"); lines > 20 {
		t.Errorf("%d lines were logged:\n%.4000s", lines, n.LogText()[before:])
	}
	if err := os.Truncate(disk+"/ballast", 0); err != nil {
		t.Fatal(err)
	}
	plat.Until(t, "changes are taken again", func() error {
		if status, body := admin(t, n, "POST", "/services", url.Values{"name": {"s"}, "url": {"http://127.0.0.1:9"}}); status != http.StatusCreated {
			return fmt.Errorf("%d %s", status, body)
		}
		return nil
	})
	if m := diskMetrics(t, n); m[`sluice_component_up{component="diskSpace"}`] != 1 {
		t.Errorf("the metrics when there is room again: %v", m)
	}
	plat.Until(t, "the log says that there is room", func() error {
		if text := n.LogText()[before:]; strings.Count(text, diskIsFull) != 1 || strings.Count(text, diskHasRoom) != 1 {
			return fmt.Errorf("not one line of each:\n%.4000s", text)
		}
		return nil
	})
}

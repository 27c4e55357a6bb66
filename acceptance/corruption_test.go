package acceptance_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// flip changes one byte of a file.
func flip(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{b[0] ^ 0x10}, at); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files %s (%v)", pattern, err)
	}
	return paths
}

func TestDamagedFiles(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	c, ctx := n.AWS(n.Root), t.Context()
	bucket := "bucket"
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	contents := map[string][]byte{"large": bytes.Repeat([]byte("0123456789abcdef"), 1<<18)}
	for i := range 20 {
		contents[fmt.Sprintf("rows/%02d.csv", i)] = fmt.Appendf(nil, "%d,%s\n", i, strings.Repeat("x", 1000))
	}
	names := []string{"large"}
	for i := range 20 {
		names = append(names, fmt.Sprintf("rows/%02d.csv", i))
	}
	for _, key := range names {
		data := contents[key]
		if _, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: awswire.NewBody(bytes.NewReader(data), int64(len(data)))}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("s"), ShardCount: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	const records = 20
	for i := range records {
		if _, err := c.Kinesis.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: new("s"), PartitionKey: new("k"), Data: fmt.Appendf(nil, "%d %s", i, strings.Repeat("r", 1000))}); err != nil {
			t.Fatal(err)
		}
	}
	db := n.MustSQL(n.Root)
	for _, statement := range []string{
		"CREATE EXTERNAL SCHEMA ext FROM DATA CATALOG DATABASE 'ext' IAM_ROLE 'arn:aws:iam::123456789012:role/r' CREATE EXTERNAL DATABASE IF NOT EXISTS",
		"CREATE EXTERNAL TABLE ext.rows (n bigint, x varchar(2000)) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' STORED AS TEXTFILE LOCATION 's3://bucket/rows/'",
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	n.Stop()
	var own, common string
	for _, path := range files(t, n.Dir+"/objects/*.seg") {
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > 4<<20 {
			own = path
		} else {
			common = path
		}
	}
	flip(t, own, 2<<20)
	st, err := os.Stat(common)
	if err != nil {
		t.Fatal(err)
	}
	flip(t, common, st.Size()/2)
	log := files(t, n.Dir+"/streams/*/*/*.seg")[0]
	if st, err = os.Stat(log); err != nil {
		t.Fatal(err)
	}
	flip(t, log, st.Size()/2)
	n.Launch()
	c = n.AWS(n.Root)

	damaged := ""
	for key, want := range contents {
		o, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: &key})
		if err != nil {
			if code(err) != "InternalError" || !strings.Contains(err.Error(), "s3://bucket/"+key) || damaged != "" {
				t.Errorf("%s: %v", key, err)
			}
			damaged = key
			continue
		}
		data, err := io.ReadAll(o.Body)
		_ = o.Body.Close() // read already
		if !bytes.HasPrefix(want, data) {
			t.Errorf("%s: wrong bytes were given out", key)
		}
		if key == "large" {
			if err == nil {
				t.Error("a damaged object was read without an error")
			}
		} else if err != nil || len(data) != len(want) {
			t.Errorf("%s: %d bytes, %v", key, len(data), err)
		}
	}
	if damaged == "" {
		t.Error("no object of the damaged segment told it")
	}
	// What lies around the damage can be read.
	part, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: new("large"), Range: new("bytes=3145728-")})
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(part.Body)
	_ = part.Body.Close() // read already
	if err != nil || !bytes.Equal(data, contents["large"][3<<20:]) {
		t.Errorf("behind the damage: %d bytes, %v", len(data), err)
	}
	db = n.MustSQL(n.Root)
	var rows int
	if err := db.QueryRow(ctx, "SELECT count(*) FROM ext.rows").Scan(&rows); err == nil || !strings.Contains(err.Error(), damaged) {
		t.Errorf("SQL over a damaged object: %d rows, %v; want an error that names %s", rows, err, damaged)
	}
	if _, err := c.S3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: &damaged}); err != nil {
		t.Fatal(err)
	}
	if err := db.QueryRow(ctx, "SELECT count(*) FROM ext.rows").Scan(&rows); err != nil || rows != 19 {
		t.Errorf("SQL without it: %d rows, %v", rows, err)
	}

	// The stream: what is before the damage, its name, and what is behind.
	read := func(kind string, sequence *string) (got []string, err error) {
		it, err := c.Kinesis.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{StreamName: new("s"), ShardId: new("shardId-000000000000"), ShardIteratorType: &kind, StartingSequenceNumber: sequence})
		if err != nil {
			return nil, err
		}
		for next := it.ShardIterator; ; {
			out, err := c.Kinesis.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
			if err != nil || len(out.Records) == 0 {
				return got, err
			}
			for _, r := range out.Records {
				number, _, _ := strings.Cut(string(r.Data), " ")
				got = append(got, number)
			}
			next = out.NextShardIterator
		}
	}
	before, err := read("TRIM_HORIZON", nil)
	if err == nil || !strings.Contains(err.Error(), filepath.Base(log)) {
		t.Errorf("reading a damaged stream: %v; want an error that names %s", err, filepath.Base(log))
	}
	bad := len(before)
	if bad == 0 || bad > records-2 {
		t.Fatalf("%d records before the damage", bad)
	}
	behind, err := read("AFTER_SEQUENCE_NUMBER", new(fmt.Sprint(bad+1)))
	if err != nil || len(behind) != records-bad-1 || behind[0] != fmt.Sprint(bad+1) {
		t.Errorf("behind the damage: %v, %v", behind, err)
	}
	if _, err := c.Kinesis.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: new("s"), PartitionKey: new("k"), Data: []byte("more")}); err != nil {
		t.Errorf("a damaged stream takes no records: %v", err)
	}
}

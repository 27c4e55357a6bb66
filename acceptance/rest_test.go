package acceptance_test

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/firehose"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// TestNothingIsReadableAtRest writes names and contents that are easy to find, and looks for
// them in every file.
func TestNothingIsReadableAtRest(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	c, ctx := n.AWS(n.Root), t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	const mark = "xylophon" // in all that is written
	name := func(s string) *string { return new(mark + "-" + s) }
	must(c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: name("bucket")}))
	for i, size := range []int{100, 3 << 20} {
		data := bytes.Repeat([]byte(mark+" content "), size/10)
		must(c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: name("bucket"), Key: name([]string{"small", "large"}[i]),
			Metadata: map[string]string{"note": mark}, Body: awswire.NewBody(bytes.NewReader(data), int64(len(data)))}))
	}
	must(c.S3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: name("bucket"), Key: name("upload")}))
	must(c.Kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: name("stream"), ShardCount: new(int64(1))}))
	must(c.Kinesis.PutRecord(ctx, &kinesis.PutRecordInput{StreamName: name("stream"), PartitionKey: name("key"), Data: []byte(mark + " record")}))
	role := "arn:aws:iam::123456789012:role/" + mark
	must(c.Firehose.CreateDeliveryStream(ctx, &firehose.CreateDeliveryStreamInput{DeliveryStreamName: name("delivery"),
		ExtendedS3DestinationConfiguration: &firehose.ExtendedS3DestinationConfiguration{BucketARN: new("arn:aws:s3:::" + *name("bucket")), RoleARN: &role,
			Prefix: name("prefix/"), BufferingHints: &firehose.BufferingHints{IntervalInSeconds: new(int64(0)), SizeInMBs: new(int64(1))}}}))
	must(c.Firehose.PutRecord(ctx, &firehose.PutRecordInput{DeliveryStreamName: name("delivery"), Record: &firehose.Record{Data: []byte(mark + " direct")}}))
	key, err := c.KMS.CreateKey(ctx, &kms.CreateKeyInput{Description: name("description")})
	must(nil, err)
	must(c.KMS.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: new("alias/" + mark), TargetKeyId: key.KeyMetadata.KeyId}))
	user := n.User(*name("user"), `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::`+mark+`*"}}`)
	type object = map[string]any
	n.Admin("POST", "/services", object{"name": mark, "url": "http://" + mark + ".invalid:9"})
	n.Admin("POST", "/services/"+mark+"/routes", object{"name": mark, "paths": []string{"/" + mark}})
	n.Admin("POST", "/consumers", object{"username": mark})
	n.Admin("POST", "/consumers/"+mark+"/key-auth", object{"key": mark})
	n.Admin("PUT", "/references/"+mark+"/"+mark, object{"name": mark, "enabled": true})
	db := n.MustSQL(n.Root)
	for _, statement := range []string{
		"CREATE SCHEMA " + mark, "CREATE TABLE " + mark + ".t_" + mark + " (" + mark + " varchar(40))",
		"INSERT INTO " + mark + ".t_" + mark + " VALUES ('" + mark + " row')",
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	plat.Until(t, "the direct record is delivered", func() error {
		l, err := c.S3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: name("bucket"), Prefix: name("prefix/")})
		if err == nil && len(l.Contents) == 0 {
			err = os.ErrNotExist
		}
		return err
	})
	n.Kill() // with logs that were not tidied up
	look(t, n, mark, user.Secret, n.Root.Secret)
	n.Launch()
	n.Stop()
	look(t, n, mark, user.Secret, n.Root.Secret)
}

func look(t *testing.T, n *plat.Node, words ...string) {
	t.Helper()
	for _, w := range words {
		words = append(words, base64.StdEncoding.EncodeToString([]byte(w))[:8])
	}
	count := 0
	err := filepath.WalkDir(n.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(n.Dir, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 && rel != "." { // the test made the directory itself
			t.Errorf("%s has the mode %v", rel, info.Mode())
		}
		if strings.Contains(rel, words[0]) {
			t.Errorf("%s tells a name", rel)
		}
		if !info.Mode().IsRegular() || rel == "credentials" || rel == "endpoints.json" || rel == "ca.pem" || rel == "root.key" {
			return nil
		}
		count++
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, w := range words {
			if at := bytes.Index(bytes.ToLower(raw), bytes.ToLower([]byte(w))); at >= 0 {
				t.Errorf("%s holds %q at %d", rel, w, at)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if count < 5 {
		t.Fatalf("only %d files were looked at", count)
	}
}

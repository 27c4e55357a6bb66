package acceptance_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// A key that is disabled locks what it sealed, everywhere, within a second.
func TestDisabledKeyLocks(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	c, ctx := n.AWS(n.Root), t.Context()
	k, err := c.KMS.CreateKey(ctx, &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	id, bucket := k.KeyMetadata.KeyId, "bucket"
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &bucket}); err != nil {
		t.Fatal(err)
	}
	rule := s3.ServerSideEncryptionRule{ApplyServerSideEncryptionByDefault: &s3.ServerSideEncryptionByDefault{SSEAlgorithm: new("aws:kms"), KMSMasterKeyID: id}}
	if _, err := c.S3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &bucket,
		ServerSideEncryptionConfiguration: &s3.ServerSideEncryptionConfiguration{Rules: []s3.ServerSideEncryptionRule{rule}}}); err != nil {
		t.Fatal(err)
	}
	put := func(key string) error {
		_, err := c.S3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: &key, Body: awswire.NewBody(strings.NewReader("1,one\n"), 6)})
		return err
	}
	get := func() error {
		o, err := c.S3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: new("a.csv")})
		if err != nil {
			return err
		}
		data, err := io.ReadAll(o.Body)
		_ = o.Body.Close() // read already
		if err == nil && string(data) != "1,one\n" {
			err = fmt.Errorf("read %q", data)
		}
		return err
	}
	db := n.MustSQL(n.Root)
	if err := put("a.csv"); err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{
		"CREATE EXTERNAL SCHEMA ext FROM DATA CATALOG DATABASE 'ext' IAM_ROLE 'arn:aws:iam::123456789012:role/r' CREATE EXTERNAL DATABASE IF NOT EXISTS",
		"CREATE EXTERNAL TABLE ext.rows (n bigint, x varchar(20)) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' STORED AS TEXTFILE LOCATION 's3://bucket/'",
	} {
		if _, err := db.Exec(ctx, statement); err != nil {
			t.Fatal(err)
		}
	}
	count := func() error {
		var rows int
		return db.QueryRow(ctx, "SELECT count(*) FROM ext.rows WHERE x = 'one'").Scan(&rows)
	}
	upload, err := c.S3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: new("mp")})
	if err != nil {
		t.Fatal(err)
	}
	part := func() error {
		_, err := c.S3.UploadPart(ctx, &s3.UploadPartInput{Bucket: &bucket, Key: new("mp"), UploadId: upload.UploadId, PartNumber: new(int64(1)),
			Body: awswire.NewBody(strings.NewReader("part"), 4)})
		return err
	}
	sealed, err := c.KMS.Encrypt(ctx, &kms.EncryptInput{KeyId: id, Plaintext: []byte("x")})
	if err != nil {
		t.Fatal(err)
	}
	decrypt := func() error {
		out, err := c.KMS.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: sealed.CiphertextBlob})
		if err == nil && !bytes.Equal(out.Plaintext, []byte("x")) {
			err = fmt.Errorf("decrypted %q", out.Plaintext)
		}
		return err
	}
	head := func() error {
		_, err := c.S3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &bucket, Key: new("a.csv")})
		return err
	}
	all := map[string]func() error{"get": get, "head": head, "put": func() error { return put("b") }, "part": part, "sql": count, "decrypt": decrypt}
	works := func(when string) {
		t.Helper()
		for what, do := range all {
			if err := do(); err != nil {
				t.Errorf("%s, %s: %v", when, what, err)
			}
		}
	}
	works("before")
	for range 2 {
		if _, err := c.KMS.DisableKey(ctx, &kms.DisableKeyInput{KeyId: id}); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for what, want := range map[string]string{"get": "KMS.DisabledException", "put": "KMS.DisabledException", "part": "KMS.DisabledException",
			"decrypt": "DisabledException", "head": "BadRequest"} {
			if err := all[what](); code(err) != want && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("with the key disabled, %s: %v, want %s", what, err, want)
			}
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("the answers took %s", took)
		}
		if err := count(); err == nil || !strings.Contains(err.Error(), "s3://bucket/") {
			t.Errorf("with the key disabled, SQL: %v, want an error that names the object", err)
		}
		if _, err := c.KMS.EnableKey(ctx, &kms.EnableKeyInput{KeyId: id}); err != nil {
			t.Fatal(err)
		}
		works("enabled again")
	}
}

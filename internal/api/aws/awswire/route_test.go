package awswire_test

import (
	"net/http"
	"testing"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// Every S3 operation is found by its method, path and query, and no other one.
func TestS3Routes(t *testing.T) {
	svc := s3.Service(&fakeS3{})
	for _, tc := range []struct{ method, target, header, want string }{
		{"GET", "/", "", "ListBuckets"},
		{"PUT", "/b", "", "CreateBucket"},
		{"PUT", "/b/", "", "CreateBucket"},
		{"DELETE", "/b", "", "DeleteBucket"},
		{"HEAD", "/b", "", "HeadBucket"},
		{"GET", "/b", "", "ListObjects"},
		{"GET", "/b/?prefix=a", "", "ListObjects"},
		{"GET", "/b?list-type=2", "", "ListObjectsV2"},
		{"GET", "/b?list-type=1", "", "ListObjects"},
		{"GET", "/b?location", "", "GetBucketLocation"},
		{"GET", "/b?location=", "", "GetBucketLocation"},
		{"GET", "/b?uploads", "", "ListMultipartUploads"},
		{"GET", "/b?versions", "", "-ListObjectVersions"},
		{"GET", "/b?acl", "", "-GetBucketAcl"},
		{"GET", "/b?encryption", "", "GetBucketEncryption"},
		{"PUT", "/b?encryption", "", "PutBucketEncryption"},
		{"PUT", "/b?policy", "", "-PutBucketPolicy"},
		{"DELETE", "/b?encryption", "", "DeleteBucketEncryption"},
		{"POST", "/b?delete", "", "DeleteObjects"},
		{"POST", "/b", "", ""},
		{"PUT", "/b/k", "", "PutObject"},
		{"PUT", "/b/k?x-id=PutObject", "", "PutObject"},
		{"PUT", "/b/k?acl", "", "-PutObjectAcl"},
		{"PUT", "/b/k?tagging", "", "-PutObjectTagging"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "", "UploadPart"},
		{"PUT", "/b/k?partNumber=1&uploadId=u", "x-amz-copy-source", "-UploadPartCopy"},
		{"PUT", "/b/k", "x-amz-copy-source", "CopyObject"},
		{"GET", "/b/k", "", "GetObject"},
		{"GET", "/b/k/", "", "GetObject"},
		{"GET", "/b//k", "", "GetObject"},
		{"GET", "/b/k?uploadId=u", "", "ListParts"},
		{"GET", "/b/k?attributes", "x-amz-object-attributes", "-GetObjectAttributes"},
		{"HEAD", "/b/k", "", "HeadObject"},
		{"DELETE", "/b/k", "", "DeleteObject"},
		{"DELETE", "/b/k?uploadId=u", "", "AbortMultipartUpload"},
		{"POST", "/b/k?uploads", "", "CreateMultipartUpload"},
		{"POST", "/b/k?uploadId=u", "", "CompleteMultipartUpload"},
		{"POST", "/b/k?select&select-type=2", "", "-SelectObjectContent"},
		{"POST", "/b/k?restore", "", "-RestoreObject"},
		{"PATCH", "/b/k", "", ""},
	} {
		h := http.Header{}
		if tc.header != "" {
			h.Set(tc.header, "x")
		}
		op, _, served := awswire.Match(svc, tc.method, tc.target, h)
		if op != "" && !served {
			op = "-" + op
		}
		if op != tc.want {
			t.Errorf("%s %s %s: %q, want %q", tc.method, tc.target, tc.header, op, tc.want)
		}
	}
	for target, want := range map[string]string{"/b/a%2Fb//c/": "a/b//c/", "/b//": "/", "/b/%C3%BC%20+": "ü +", "/b/..": ".."} {
		if _, labels, _ := awswire.Match(svc, "GET", target, nil); labels["Key"] != want || labels["Bucket"] != "b" {
			t.Errorf("%s: %v, want the key %q", target, labels, want)
		}
	}
}

func TestVirtualHosts(t *testing.T) {
	domains := []string{"localhost", "s3.example.com", "amazonaws.com"}
	for host, want := range map[string]string{
		"localhost": "", "localhost:4566": "", "127.0.0.1:4566": "", "[::1]:4566": "", "s3.localhost": "", "s3.us-east-1.localhost:4566": "",
		"lake.localhost": "lake", "lake.s3.localhost:4566": "lake", "lake.s3.eu-west-1.localhost": "lake", "my.lake.s3.localhost": "my.lake",
		"Lake.S3.Localhost": "lake", "lake.s3.us-east-1.amazonaws.com": "lake", "s3.us-east-1.amazonaws.com": "", "other.example.net": "",
		"lake.s3.example.com": "lake", "s3.example.com": "",
	} {
		if got := awswire.BucketOf(host, domains...); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	p := fixedServer(t)
	p.s3.buckets["lake"] = map[string]object{"a/b": {data: []byte("hello")}}
	r, err := http.NewRequest("GET", p.URL+"/a/b", nil)
	must(t, err)
	r.Host = "lake.s3.us-east-1.localhost"
	resp, body := do(t, p, signed(r, signer("s3"), now))
	if resp.StatusCode != 200 || body != "hello" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

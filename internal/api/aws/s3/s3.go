package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/page"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/service/kms"
	"sluice.dev/sluice/internal/service/objects"
)

type front struct {
	objects *objects.Service
	tokens  *page.Tokens
}

var _ Operations = front{}

// New returns the API over s.
func New(s *objects.Service, tokens *page.Tokens) awswire.Service {
	svc := Service(front{s, tokens})
	svc.Resources, svc.Codes, svc.Elements = resources, codes, elements
	return svc
}

var resources = map[string][]name.Action{
	"AbortMultipartUpload":    {"s3:AbortMultipartUpload"},
	"CompleteMultipartUpload": {"s3:PutObject"},
	"CopyObject":              {"s3:GetObject", "s3:PutObject"},
	"CreateBucket":            {"s3:CreateBucket"},
	"CreateMultipartUpload":   {"s3:PutObject"},
	"DeleteBucket":            {"s3:DeleteBucket"},
	"DeleteBucketEncryption":  {"s3:PutEncryptionConfiguration"},
	"DeleteObject":            {"s3:DeleteObject"},
	"DeleteObjects":           {"s3:DeleteObject"},
	"GetBucketEncryption":     {"s3:GetEncryptionConfiguration"},
	"GetBucketLocation":       {"s3:GetBucketLocation"},
	"GetObject":               {"s3:GetObject"},
	"HeadBucket":              {"s3:ListBucket"},
	"HeadObject":              {"s3:GetObject"},
	"ListBuckets":             {"s3:ListAllMyBuckets"},
	"ListMultipartUploads":    {"s3:ListBucketMultipartUploads"},
	"ListObjects":             {"s3:ListBucket"},
	"ListObjectsV2":           {"s3:ListBucket"},
	"ListParts":               {"s3:ListMultipartUploadParts"},
	"PutBucketEncryption":     {"s3:PutEncryptionConfiguration"},
	"PutObject":               {"s3:PutObject"},
	"UploadPart":              {"s3:PutObject"},
}

var codes = map[*fault.Reason]awswire.Code{
	objects.NoBucket:           {Code: "NoSuchBucket", Status: 404},
	objects.NoObject:           {Code: "NoSuchKey", Status: 404},
	objects.NoVersion:          {Code: "NoSuchVersion", Status: 404},
	objects.NoParts:            {Code: "MalformedXML", Status: 400},
	objects.CopyUnchanged:      {Code: "InvalidRequest", Status: 400},
	objects.InvalidLocation:    {Code: "InvalidLocationConstraint", Status: 400},
	objects.OtherLocation:      {Code: "IllegalLocationConstraintException", Status: 400},
	objects.NoUpload:           {Code: "NoSuchUpload", Status: 404},
	objects.BucketExists:       {Code: "BucketAlreadyOwnedByYou", Status: 409},
	objects.BucketNotEmpty:     {Code: "BucketNotEmpty", Status: 409},
	objects.InvalidBucketName:  {Code: "InvalidBucketName", Status: 400},
	objects.InvalidArgument:    {Code: "InvalidArgument", Status: 400},
	objects.KeyTooLong:         {Code: "KeyTooLongError", Status: 400},
	objects.MetadataTooLarge:   {Code: "MetadataTooLarge", Status: 400},
	objects.TooLarge:           {Code: "EntityTooLarge", Status: 400},
	objects.TooSmall:           {Code: "EntityTooSmall", Status: 400},
	objects.InvalidPart:        {Code: "InvalidPart", Status: 400},
	objects.InvalidPartOrder:   {Code: "InvalidPartOrder", Status: 400},
	objects.BadDigest:          {Code: "BadDigest", Status: 400},
	objects.InvalidRange:       {Code: "InvalidRange", Status: 416},
	objects.PreconditionFailed: {Code: "PreconditionFailed", Status: 412},
	objects.Busy:               {Code: "SlowDown", Status: 503},
	segment.DiskFull:           {Code: "ServiceUnavailable", Status: 503},
	segment.Full:               {Code: "SlowDown", Status: 503},
	segment.Corrupt:            {Code: "InternalError", Status: 500},
	kms.NoKey:                  {Code: "KMS.NotFoundException", Status: 400},
	kms.KeyDisabled:            {Code: "KMS.DisabledException", Status: 400},
	page.BadToken:              {Code: "InvalidArgument", Status: 400},
}

var elements = map[string]awswire.Element{
	"NoSuchBucket":            {Name: "BucketName", Member: "Bucket"},
	"BucketAlreadyOwnedByYou": {Name: "BucketName", Member: "Bucket"},
	"BucketNotEmpty":          {Name: "BucketName", Member: "Bucket"},
	"InvalidBucketName":       {Name: "BucketName", Member: "Bucket"},
	"NoSuchKey":               {Name: "Key", Member: "Key"},
	"NoSuchVersion":           {Name: "Key", Member: "Key"},
	"NoSuchUpload":            {Name: "UploadId", Member: "UploadId"},
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// some is nil for the zero value, which leaves a member out of the answer.
func some[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func quoted(etag string) *string { return new(`"` + etag + `"`) }

func unquoted(etag string) string { return strings.Trim(strings.TrimPrefix(etag, "W/"), `"`) }

// ours refuses a request that expects the bucket to belong to another account.
func ours(ctx context.Context, expected *string) error {
	if who, _ := caller.From(ctx); expected != nil && *expected != who.Account {
		return &awswire.Error{Code: "AccessDenied", Status: 403, Message: "Access Denied"}
	}
	return nil
}

// accept checks what every operation has in common: that it is asked for nothing it does
// not do, and for a bucket of this account and of the region that the request is signed for.
func (f front) accept(ctx context.Context, in any, bucket, expectedOwner *string, served ...string) error {
	return errors.Join(awswire.Only(in, append(served, "Bucket", "ExpectedBucketOwner", "RequestPayer")...), ours(ctx, expectedOwner), f.here(ctx, bucket))
}

// here refuses a bucket of another region than the call's. The error names the bucket's region, from which
// clients sign again (S3 API reference, "Error responses": AuthorizationHeaderMalformed).
func (f front) here(ctx context.Context, bucket *string) error {
	region, ok := f.objects.RegionOf(value(bucket))
	if !ok || region == caller.Region(ctx) {
		return nil
	}
	return &awswire.Error{Code: "AuthorizationHeaderMalformed", Status: http.StatusBadRequest,
		Message:  fmt.Sprintf("The authorization header is malformed; the region '%s' is wrong; expecting '%s'", caller.Region(ctx), region),
		Elements: [][2]string{{"Region", region}}, Header: http.Header{"X-Amz-Bucket-Region": {region}}}
}

// current refuses a version of an object other than the one there is: "null", as no bucket has versions yet.
func current(version *string) error {
	if v := value(version); v != "" && v != "null" {
		return awswire.Unserved.Field("VersionId", "versions are not served yet")
	}
	return nil
}

// defaults refuses an access control list or storage class other than the one everything has.
func defaults(acl, class *string) error {
	if a := value(acl); a != "" && a != "private" && a != "bucket-owner-full-control" {
		return awswire.Unserved.Field("ACL", "A header you provided implies functionality that is not implemented: access is by policy, and ACL %s is not served", a)
	}
	if c := value(class); c != "" && c != "STANDARD" {
		return awswire.Unserved.Field("StorageClass", "A header you provided implies functionality that is not implemented: storage class %s", c)
	}
	return nil
}

// encryption reads the headers that choose an object's encryption.
func encryption(sse, key *string) (*objects.Encryption, error) {
	switch value(sse) {
	case "":
		if key != nil {
			return nil, objects.InvalidArgument.Field("SSEKMSKeyId", "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : aws:kms")
		}
		return nil, nil
	case "AES256":
		if key != nil {
			return nil, objects.InvalidArgument.Field("SSEKMSKeyId", "The encryption method specified is not supported")
		}
		return &objects.Encryption{}, nil
	case "aws:kms":
		return &objects.Encryption{KMS: true, Key: value(key)}, nil
	}
	return nil, awswire.Unserved.Field("ServerSideEncryption", "encryption %s is not served", *sse)
}

// sealed names the encryption in an answer.
func sealed(kms bool, arn string) (sse, key *string) {
	if kms {
		return new("aws:kms"), &arn
	}
	return new("AES256"), nil
}

// sums are the checksum members that requests and answers have in common.
type sums struct {
	CRC32, CRC32C, CRC64NVME, SHA1, SHA256, Type *string
}

func sumsOf(c *objects.Checksum) (s sums) {
	if c == nil {
		return s
	}
	switch c.Algorithm {
	case "CRC32":
		s.CRC32 = &c.Value
	case "CRC32C":
		s.CRC32C = &c.Value
	case "CRC64NVME":
		s.CRC64NVME = &c.Value
	case "SHA1":
		s.SHA1 = &c.Value
	case "SHA256":
		s.SHA256 = &c.Value
	}
	s.Type = new("FULL_OBJECT")
	if c.Composite {
		s.Type = new("COMPOSITE")
	}
	return s
}

// verified returns the checksum that came with a body and was proved by it.
func verified(b *awswire.Body) func() *objects.Checksum {
	return func() *objects.Checksum {
		for _, c := range b.Checksums() {
			return &objects.Checksum{Algorithm: c.Algorithm, Value: c.Value}
		}
		return nil
	}
}

// condition reads the conditions of a write.
func condition(ifMatch, ifNoneMatch *string) (objects.Condition, error) {
	var c objects.Condition
	if ifNoneMatch != nil {
		if *ifNoneMatch != "*" {
			return c, awswire.Unserved.Field("IfNoneMatch", "A header you provided implies functionality that is not implemented: If-None-Match takes * on a write")
		}
		c.Absent = true
	}
	if ifMatch != nil {
		c.ETag = unquoted(*ifMatch)
	}
	return c, nil
}

// headersOf gathers the headers that an object keeps and gives back.
func headersOf(contentType, encoding, language, disposition, cacheControl, expires *string) map[string]string {
	h := map[string]string{}
	for k, v := range map[string]*string{"Content-Type": contentType, "Content-Encoding": encoding, "Content-Language": language,
		"Content-Disposition": disposition, "Cache-Control": cacheControl, "Expires": expires} {
		if v != nil {
			h[k] = *v
		}
	}
	if h["Content-Type"] == "" {
		h["Content-Type"] = "binary/octet-stream"
	}
	return h
}

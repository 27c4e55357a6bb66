package s3

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/objects"
)

// checksumMembers are verified by awswire as the body is read.
var checksumMembers = []string{"ChecksumAlgorithm", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME", "ChecksumSHA1", "ChecksumSHA256", "ContentMD5"}

func (f front) PutObject(ctx context.Context, in *PutObjectInput) (*PutObjectOutput, error) {
	err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, append(checksumMembers, "ACL", "Body", "CacheControl", "ContentDisposition", "ContentEncoding",
		"ContentLanguage", "ContentLength", "ContentType", "Expires", "IfMatch", "IfNoneMatch", "Key", "Metadata", "ServerSideEncryption",
		"StorageClass", "SSEKMSKeyId", "BucketKeyEnabled")...)
	if err != nil {
		return nil, err
	}
	if err := defaults(in.ACL, in.StorageClass); err != nil {
		return nil, err
	}
	opt := objects.PutOptions{User: in.Metadata, Checksum: verified(in.Body),
		Headers: headersOf(in.ContentType, in.ContentEncoding, in.ContentLanguage, in.ContentDisposition, in.CacheControl, in.Expires)}
	if opt.Encryption, err = encryption(in.ServerSideEncryption, in.SSEKMSKeyId); err != nil {
		return nil, err
	}
	if opt.Condition, err = condition(in.IfMatch, in.IfNoneMatch); err != nil {
		return nil, err
	}
	o, err := f.objects.Put(ctx, *in.Bucket, *in.Key, in.Body, opt)
	if err != nil {
		return nil, err
	}
	out := &PutObjectOutput{ETag: quoted(o.ETag)}
	s := sumsOf(o.Checksum)
	out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1, out.ChecksumSHA256, out.ChecksumType = s.CRC32, s.CRC32C, s.CRC64NVME, s.SHA1, s.SHA256, s.Type
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(o.KMS, o.KeyARN)
	return out, nil
}

// parseRange reads a Range header of one range. Others are passed over, as RFC 9110, section
// 14.2, allows.
func parseRange(header *string) objects.Range {
	spec, ok := strings.CutPrefix(value(header), "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !ok || !dash || strings.Contains(spec, ",") {
		return objects.Range{}
	}
	if first == "" {
		n, err := strconv.ParseInt(last, 10, 64)
		if err != nil || n < 0 {
			return objects.Range{}
		}
		if n == 0 {
			return objects.Range{Set: true, From: 1, To: 0} // no byte: not satisfiable
		}
		return objects.Range{Set: true, Suffix: n}
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return objects.Range{}
	}
	to := int64(-1)
	if last != "" {
		if to, err = strconv.ParseInt(last, 10, 64); err != nil || to < from {
			return objects.Range{}
		}
	}
	return objects.Range{Set: true, From: from, To: to}
}

// readConditions are the conditions of a read, in the order of RFC 9110, section 13.2.2.
func readConditions(o objects.Info, ifMatch, ifNoneMatch *string, since, unless *time.Time) error {
	failed := &awswire.Error{Code: "PreconditionFailed", Status: http.StatusPreconditionFailed, Message: "At least one of the pre-conditions you specified did not hold"}
	modified := o.Modified.Truncate(time.Second)
	matches := func(list string) bool {
		for tag := range strings.SplitSeq(list, ",") {
			if t := strings.TrimSpace(tag); t == "*" || unquoted(t) == o.ETag {
				return true
			}
		}
		return false
	}
	if ifMatch != nil {
		if !matches(*ifMatch) {
			return failed
		}
	} else if unless != nil && modified.After(*unless) {
		return failed
	}
	same := ifNoneMatch != nil && matches(*ifNoneMatch) || ifNoneMatch == nil && since != nil && !modified.After(*since)
	if same {
		return &awswire.Error{Code: "NotModified", Status: http.StatusNotModified, Message: "Not Modified",
			Header: http.Header{"Etag": {*quoted(o.ETag)}, "Last-Modified": {o.Modified.UTC().Format(http.TimeFormat)}}}
	}
	return nil
}

var readMembers = []string{"Key", "VersionId", "Range", "IfMatch", "IfNoneMatch", "IfModifiedSince", "IfUnmodifiedSince", "ChecksumMode",
	"ResponseCacheControl", "ResponseContentDisposition", "ResponseContentEncoding", "ResponseContentLanguage", "ResponseContentType", "ResponseExpires"}

func (f front) GetObject(ctx context.Context, in *GetObjectInput) (*GetObjectOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, readMembers...); err != nil {
		return nil, err
	}
	if err := current(in.VersionId); err != nil {
		return nil, err
	}
	o, err := f.objects.Open(ctx, *in.Bucket, *in.Key, parseRange(in.Range))
	if err != nil {
		return nil, err
	}
	if err := readConditions(o.Info, in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince); err != nil {
		_ = o.Body.Close() // nothing was read
		return nil, err
	}
	header := func(key string, override *string) *string {
		if override != nil {
			return override
		}
		return some(o.Headers[key])
	}
	out := &GetObjectOutput{
		Body: o.Body, AcceptRanges: new("bytes"), LastModified: &o.Modified, ContentLength: &o.Length, ETag: quoted(o.ETag), Metadata: o.User,
		CacheControl: header("Cache-Control", in.ResponseCacheControl), ContentDisposition: header("Content-Disposition", in.ResponseContentDisposition),
		ContentEncoding: header("Content-Encoding", in.ResponseContentEncoding), ContentLanguage: header("Content-Language", in.ResponseContentLanguage),
		ContentType: header("Content-Type", in.ResponseContentType), Expires: some(o.Headers["Expires"]),
	}
	if in.ResponseExpires != nil {
		out.Expires = new(in.ResponseExpires.UTC().Format(http.TimeFormat))
	}
	if o.Length != o.Size {
		out.ContentRange = new(fmt.Sprintf("bytes %d-%d/%d", o.From, o.From+o.Length-1, o.Size))
	} else if value(in.ChecksumMode) == "ENABLED" { // a checksum of the whole says nothing of a part
		s := sumsOf(o.Checksum)
		out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1, out.ChecksumSHA256, out.ChecksumType = s.CRC32, s.CRC32C, s.CRC64NVME, s.SHA1, s.SHA256, s.Type
	}
	if in.Range != nil && out.ContentRange == nil && o.Size > 0 && parseRange(in.Range).Set {
		out.ContentRange = new(fmt.Sprintf("bytes 0-%d/%d", o.Size-1, o.Size))
	}
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(o.KMS, o.KeyARN)
	return out, nil
}

func (f front) HeadObject(ctx context.Context, in *HeadObjectInput) (*HeadObjectOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, readMembers...); err != nil {
		return nil, err
	}
	if err := current(in.VersionId); err != nil {
		return nil, err
	}
	o, err := f.objects.Head(ctx, *in.Bucket, *in.Key)
	if err != nil {
		return nil, err
	}
	if err := readConditions(o, in.IfMatch, in.IfNoneMatch, in.IfModifiedSince, in.IfUnmodifiedSince); err != nil {
		return nil, err
	}
	out := &HeadObjectOutput{
		AcceptRanges: new("bytes"), LastModified: &o.Modified, ContentLength: &o.Size, ETag: quoted(o.ETag), Metadata: o.User,
		CacheControl: some(o.Headers["Cache-Control"]), ContentDisposition: some(o.Headers["Content-Disposition"]),
		ContentEncoding: some(o.Headers["Content-Encoding"]), ContentLanguage: some(o.Headers["Content-Language"]),
		ContentType: some(o.Headers["Content-Type"]), Expires: some(o.Headers["Expires"]),
	}
	if value(in.ChecksumMode) == "ENABLED" {
		s := sumsOf(o.Checksum)
		out.ChecksumCRC32, out.ChecksumCRC32C, out.ChecksumCRC64NVME, out.ChecksumSHA1, out.ChecksumSHA256, out.ChecksumType = s.CRC32, s.CRC32C, s.CRC64NVME, s.SHA1, s.SHA256, s.Type
	}
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(o.KMS, o.KeyARN)
	return out, nil
}

func (f front) DeleteObject(ctx context.Context, in *DeleteObjectInput) (*DeleteObjectOutput, error) {
	err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Key", "VersionId", "IfMatch", "IfMatchLastModifiedTime", "IfMatchSize")
	if err != nil {
		return nil, err
	}
	return &DeleteObjectOutput{}, f.objects.Delete(ctx, *in.Bucket, *in.Key, objects.DeleteCondition{
		Version: value(in.VersionId), ETag: unquoted(value(in.IfMatch)), Size: in.IfMatchSize, Modified: in.IfMatchLastModifiedTime})
}

// DeleteObjects deletes each for itself, and tells of those it could not.
func (f front) DeleteObjects(ctx context.Context, in *DeleteObjectsInput) (*DeleteObjectsOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Delete", "ChecksumAlgorithm"); err != nil {
		return nil, err
	}
	if n := len(in.Delete.Objects); n == 0 || n > 1000 {
		return nil, &awswire.Error{Code: "MalformedXML", Status: 400, Message: "The XML you provided was not well-formed or did not validate against our published schema"}
	}
	out := &DeleteObjectsOutput{}
	for i := range in.Delete.Objects {
		id := &in.Delete.Objects[i]
		err := f.objects.Delete(ctx, *in.Bucket, *id.Key, objects.DeleteCondition{
			Version: value(id.VersionId), ETag: unquoted(value(id.ETag)), Size: id.Size, Modified: id.LastModifiedTime})
		if objects.NoBucket.Is(err) {
			return nil, err
		}
		switch {
		case err != nil:
			code := "InternalError"
			if c, ok := codes[fault.ReasonOf(err)]; ok {
				code = c.Code
			} else if fault.KindOf(err) == fault.Denied {
				code = "AccessDenied"
			}
			out.Errors = append(out.Errors, Error{Key: id.Key, VersionId: id.VersionId, Code: &code, Message: new(fault.MessageOf(err))})
		case !value(in.Delete.Quiet):
			out.Deleted = append(out.Deleted, DeletedObject{Key: id.Key, VersionId: id.VersionId})
		}
	}
	return out, nil
}

// sourceError names the source of a copy where it is the source that does not exist; the request's own members
// name the destination.
func sourceError(err error, bucket, key string) error {
	e := &awswire.Error{Status: http.StatusNotFound, Message: fault.MessageOf(err)}
	switch {
	case objects.NoObject.Is(err):
		e.Code, e.Elements = codes[objects.NoObject].Code, [][2]string{{"Key", key}}
	case objects.NoBucket.Is(err):
		e.Code, e.Elements = codes[objects.NoBucket].Code, [][2]string{{"BucketName", bucket}}
	default:
		return err
	}
	return e
}

// CopyObject reads and writes: the copy has its own data key under the destination's rules.
func (f front) CopyObject(ctx context.Context, in *CopyObjectInput) (*CopyObjectOutput, error) {
	err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "ACL", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType",
		"CopySource", "CopySourceIfMatch", "CopySourceIfNoneMatch", "CopySourceIfModifiedSince", "CopySourceIfUnmodifiedSince", "Expires", "IfMatch",
		"IfNoneMatch", "Key", "Metadata", "MetadataDirective", "ServerSideEncryption", "StorageClass", "SSEKMSKeyId", "BucketKeyEnabled",
		"TaggingDirective", "ExpectedSourceBucketOwner")
	if err != nil {
		return nil, err
	}
	if err := ours(ctx, in.ExpectedSourceBucketOwner); err != nil {
		return nil, err
	}
	if err := defaults(in.ACL, in.StorageClass); err != nil {
		return nil, err
	}
	path, version, _ := strings.Cut(*in.CopySource, "?versionId=")
	if err := current(&version); err != nil {
		return nil, err
	}
	source, err := url.PathUnescape(strings.TrimPrefix(path, "/"))
	bucket, key, ok := strings.Cut(source, "/")
	if err != nil || !ok || key == "" {
		return nil, objects.InvalidArgument.Field("CopySource", "Copy Source must mention the source bucket and key: sourcebucket/sourcekey")
	}
	o, err := f.objects.Open(ctx, bucket, key, objects.Range{})
	if err != nil {
		return nil, sourceError(err, bucket, key)
	}
	defer func() { _ = o.Body.Close() }() // read only
	err = readConditions(o.Info, in.CopySourceIfMatch, in.CopySourceIfNoneMatch, in.CopySourceIfModifiedSince, in.CopySourceIfUnmodifiedSince)
	if err != nil { // a copy has no "not modified": each condition that does not hold fails it
		return nil, objects.PreconditionFailed.New("At least one of the pre-conditions you specified did not hold")
	}
	opt := objects.PutOptions{Headers: o.Headers, User: o.User}
	if bucket == *in.Bucket && key == *in.Key && value(in.MetadataDirective) != "REPLACE" && in.ServerSideEncryption == nil && in.StorageClass == nil {
		return nil, objects.CopyUnchanged.New("This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, storage class, website redirect location or encryption attributes.")
	}
	if value(in.MetadataDirective) == "REPLACE" {
		opt.Headers = headersOf(in.ContentType, in.ContentEncoding, in.ContentLanguage, in.ContentDisposition, in.CacheControl, in.Expires)
		opt.User = in.Metadata
	}
	if c := o.Checksum; c != nil && !c.Composite {
		opt.Checksum = func() *objects.Checksum { return c } // the same bytes
	}
	if opt.Encryption, err = encryption(in.ServerSideEncryption, in.SSEKMSKeyId); err != nil {
		return nil, err
	}
	if opt.Condition, err = condition(in.IfMatch, in.IfNoneMatch); err != nil {
		return nil, err
	}
	made, err := f.objects.Put(ctx, *in.Bucket, *in.Key, o.Body, opt)
	if err != nil {
		return nil, err
	}
	s := sumsOf(made.Checksum)
	out := &CopyObjectOutput{CopyObjectResult: &CopyObjectResult{ETag: quoted(made.ETag), LastModified: &made.Modified, ChecksumType: s.Type,
		ChecksumCRC32: s.CRC32, ChecksumCRC32C: s.CRC32C, ChecksumCRC64NVME: s.CRC64NVME, ChecksumSHA1: s.SHA1, ChecksumSHA256: s.SHA256}}
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(made.KMS, made.KeyARN)
	return out, nil
}

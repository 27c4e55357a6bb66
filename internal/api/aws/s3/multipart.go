package s3

import (
	"context"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/service/objects"
)

// checksumType is how the checksums of parts make the object's: as asked, or as S3 has it
// for the algorithm (S3 user guide, "Full object and composite checksum types").
func checksumType(algorithm, kind *string) (composite bool, err error) {
	if algorithm == nil {
		return false, nil
	}
	switch *algorithm {
	case "CRC32", "CRC32C":
		return value(kind) != "FULL_OBJECT", nil
	case "CRC64NVME":
		if value(kind) == "COMPOSITE" {
			return false, objects.InvalidArgument.Field("ChecksumType", "The COMPOSITE checksum type cannot be used with the crc64nvme checksum algorithm.")
		}
		return false, nil
	case "SHA1", "SHA256":
		if value(kind) == "FULL_OBJECT" {
			return false, objects.InvalidArgument.Field("ChecksumType", "The FULL_OBJECT checksum type cannot be used with the %s checksum algorithm.", *algorithm)
		}
		return true, nil
	}
	return false, awswire.Unserved.Field("ChecksumAlgorithm", "checksum %s is not served", *algorithm)
}

func typeName(algorithm string, composite bool) *string {
	switch {
	case algorithm == "":
		return nil
	case composite:
		return new("COMPOSITE")
	}
	return new("FULL_OBJECT")
}

func (f front) CreateMultipartUpload(ctx context.Context, in *CreateMultipartUploadInput) (*CreateMultipartUploadOutput, error) {
	err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "ACL", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType",
		"Expires", "Key", "Metadata", "ServerSideEncryption", "StorageClass", "SSEKMSKeyId", "BucketKeyEnabled", "ChecksumAlgorithm", "ChecksumType")
	if err != nil {
		return nil, err
	}
	if err := defaults(in.ACL, in.StorageClass); err != nil {
		return nil, err
	}
	opt := objects.UploadOptions{User: in.Metadata, Algorithm: value(in.ChecksumAlgorithm),
		Headers: headersOf(in.ContentType, in.ContentEncoding, in.ContentLanguage, in.ContentDisposition, in.CacheControl, in.Expires)}
	if opt.Composite, err = checksumType(in.ChecksumAlgorithm, in.ChecksumType); err != nil {
		return nil, err
	}
	if opt.Encryption, err = encryption(in.ServerSideEncryption, in.SSEKMSKeyId); err != nil {
		return nil, err
	}
	u, err := f.objects.CreateUpload(ctx, *in.Bucket, *in.Key, opt)
	if err != nil {
		return nil, err
	}
	out := &CreateMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, UploadId: &u.ID,
		ChecksumAlgorithm: some(u.Algorithm), ChecksumType: typeName(u.Algorithm, u.Composite)}
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(u.KMS, u.KeyARN)
	return out, nil
}

func (f front) UploadPart(ctx context.Context, in *UploadPartInput) (*UploadPartOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, append(checksumMembers, "Body", "ContentLength", "Key", "PartNumber", "UploadId")...); err != nil {
		return nil, err
	}
	sum := verified(in.Body)
	etag, u, err := f.objects.PutPart(ctx, *in.Bucket, *in.Key, *in.UploadId, int(*in.PartNumber), in.Body, sum)
	if err != nil {
		return nil, err
	}
	s := sumsOf(sum())
	out := &UploadPartOutput{ETag: quoted(etag), ChecksumCRC32: s.CRC32, ChecksumCRC32C: s.CRC32C, ChecksumCRC64NVME: s.CRC64NVME,
		ChecksumSHA1: s.SHA1, ChecksumSHA256: s.SHA256}
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(u.KMS, u.KeyARN)
	return out, nil
}

// partChecksum is the one checksum that a completed part names.
func partChecksum(p *CompletedPart) string {
	for _, s := range []*string{p.ChecksumCRC32, p.ChecksumCRC32C, p.ChecksumCRC64NVME, p.ChecksumSHA1, p.ChecksumSHA256} {
		if s != nil {
			return *s
		}
	}
	return ""
}

func (f front) CompleteMultipartUpload(ctx context.Context, in *CompleteMultipartUploadInput) (*CompleteMultipartUploadOutput, error) {
	err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Key", "MultipartUpload", "UploadId", "ChecksumCRC32", "ChecksumCRC32C", "ChecksumCRC64NVME",
		"ChecksumSHA1", "ChecksumSHA256", "ChecksumType", "MpuObjectSize", "IfMatch", "IfNoneMatch")
	if err != nil {
		return nil, err
	}
	c := objects.Completion{Size: -1}
	if c.Condition, err = condition(in.IfMatch, in.IfNoneMatch); err != nil {
		return nil, err
	}
	if in.MpuObjectSize != nil {
		c.Size = *in.MpuObjectSize
	}
	for _, s := range []*string{in.ChecksumCRC32, in.ChecksumCRC32C, in.ChecksumCRC64NVME, in.ChecksumSHA1, in.ChecksumSHA256} {
		if s != nil {
			c.Checksum = *s
		}
	}
	if in.MultipartUpload != nil {
		for i := range in.MultipartUpload.Parts {
			p := &in.MultipartUpload.Parts[i]
			if p.PartNumber == nil || p.ETag == nil {
				return nil, &awswire.Error{Code: "MalformedXML", Status: 400, Message: "The XML you provided was not well-formed or did not validate against our published schema"}
			}
			c.Parts = append(c.Parts, objects.Completed{Number: int(*p.PartNumber), ETag: unquoted(*p.ETag), Checksum: partChecksum(p)})
		}
	}
	o, err := f.objects.CompleteUpload(ctx, *in.Bucket, *in.Key, *in.UploadId, c)
	if err != nil {
		return nil, err
	}
	s := sumsOf(o.Checksum)
	out := &CompleteMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, Location: new(awswire.ResourceURL(ctx)), ETag: quoted(o.ETag),
		ChecksumCRC32: s.CRC32, ChecksumCRC32C: s.CRC32C, ChecksumCRC64NVME: s.CRC64NVME, ChecksumSHA1: s.SHA1, ChecksumSHA256: s.SHA256, ChecksumType: s.Type}
	out.ServerSideEncryption, out.SSEKMSKeyId = sealed(o.KMS, o.KeyARN)
	return out, nil
}

func (f front) AbortMultipartUpload(ctx context.Context, in *AbortMultipartUploadInput) (*AbortMultipartUploadOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Key", "UploadId"); err != nil {
		return nil, err
	}
	return &AbortMultipartUploadOutput{}, f.objects.AbortUpload(ctx, *in.Bucket, *in.Key, *in.UploadId)
}

func (f front) ListParts(ctx context.Context, in *ListPartsInput) (*ListPartsOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Key", "UploadId", "MaxParts", "PartNumberMarker"); err != nil {
		return nil, err
	}
	limit, err := maxKeys(in.MaxParts)
	if err != nil {
		return nil, err
	}
	parts, u, more, err := f.objects.Parts(ctx, *in.Bucket, *in.Key, *in.UploadId, int(value(in.PartNumberMarker)), limit)
	if err != nil {
		return nil, err
	}
	who := owner(ctx)
	out := &ListPartsOutput{Bucket: in.Bucket, Key: in.Key, UploadId: in.UploadId, PartNumberMarker: new(value(in.PartNumberMarker)),
		MaxParts: new(int64(limit)), IsTruncated: &more, StorageClass: new("STANDARD"), Owner: who, Initiator: &Initiator{ID: who.ID, DisplayName: who.DisplayName},
		ChecksumAlgorithm: some(u.Algorithm), ChecksumType: typeName(u.Algorithm, u.Composite)}
	for i := range parts {
		p := &parts[i]
		s := sumsOf(p.Checksum)
		out.Parts = append(out.Parts, Part{PartNumber: new(int64(p.Number)), LastModified: &p.Modified, ETag: quoted(p.ETag), Size: &p.Size,
			ChecksumCRC32: s.CRC32, ChecksumCRC32C: s.CRC32C, ChecksumCRC64NVME: s.CRC64NVME, ChecksumSHA1: s.SHA1, ChecksumSHA256: s.SHA256})
		out.NextPartNumberMarker = new(int64(p.Number))
	}
	return out, nil
}

func (f front) ListMultipartUploads(ctx context.Context, in *ListMultipartUploadsInput) (*ListMultipartUploadsOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "EncodingType", "MaxUploads", "Prefix", "KeyMarker", "UploadIdMarker"); err != nil {
		return nil, err
	}
	code, err := coder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	limit, err := maxKeys(in.MaxUploads)
	if err != nil {
		return nil, err
	}
	uploads, more, err := f.objects.Uploads(ctx, *in.Bucket, value(in.Prefix), value(in.KeyMarker), value(in.UploadIdMarker), limit)
	if err != nil {
		return nil, err
	}
	out := &ListMultipartUploadsOutput{Bucket: in.Bucket, Prefix: code(value(in.Prefix)), KeyMarker: code(value(in.KeyMarker)),
		UploadIdMarker: new(value(in.UploadIdMarker)), MaxUploads: new(int64(limit)), IsTruncated: &more, EncodingType: in.EncodingType}
	who := owner(ctx)
	for i := range uploads {
		u := &uploads[i]
		out.Uploads = append(out.Uploads, MultipartUpload{UploadId: &u.ID, Key: code(u.Key), Initiated: &u.Begun, StorageClass: new("STANDARD"),
			Owner: who, Initiator: &Initiator{ID: who.ID, DisplayName: who.DisplayName},
			ChecksumAlgorithm: some(u.Algorithm), ChecksumType: typeName(u.Algorithm, u.Composite)})
		if more {
			out.NextKeyMarker, out.NextUploadIdMarker = code(u.Key), &u.ID
		}
	}
	return out, nil
}

package s3

import (
	"context"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/service/objects"
)

func owner(ctx context.Context) *Owner {
	who, _ := caller.From(ctx)
	return &Owner{ID: &who.Account, DisplayName: &who.Account}
}

func (f front) ListBuckets(ctx context.Context, in *ListBucketsInput) (*ListBucketsOutput, error) {
	after, limit := "", 10_000
	if in.ContinuationToken != nil {
		if err := f.tokens.Open("s3 buckets", *in.ContinuationToken, &after); err != nil {
			return nil, err
		}
	}
	if in.MaxBuckets != nil {
		limit = int(*in.MaxBuckets)
	}
	all, err := f.objects.Buckets(ctx)
	if err != nil {
		return nil, err
	}
	out := &ListBucketsOutput{Buckets: []Bucket{}, Owner: owner(ctx), Prefix: in.Prefix}
	for _, b := range all {
		prefix := value(in.Prefix)
		if b.Name <= after || len(b.Name) < len(prefix) || b.Name[:len(prefix)] != prefix || in.BucketRegion != nil && *in.BucketRegion != b.Region {
			continue
		}
		if len(out.Buckets) == limit {
			token, err := f.tokens.Seal("s3 buckets", *out.Buckets[limit-1].Name)
			out.ContinuationToken = &token
			return out, err
		}
		entry := Bucket{Name: &b.Name, CreationDate: &b.Created}
		if in.MaxBuckets != nil || in.Prefix != nil || in.BucketRegion != nil {
			entry.BucketRegion = &b.Region // only paginated listings tell it
		}
		out.Buckets = append(out.Buckets, entry)
	}
	return out, nil
}

func (f front) CreateBucket(ctx context.Context, in *CreateBucketInput) (*CreateBucketOutput, error) {
	if err := f.accept(ctx, in, nil, nil, "ACL", "CreateBucketConfiguration", "ObjectOwnership"); err != nil {
		return nil, err
	}
	if err := defaults(in.ACL, nil); err != nil {
		return nil, err
	}
	if o := value(in.ObjectOwnership); o != "" && o != "BucketOwnerEnforced" {
		return nil, awswire.Unserved.Field("ObjectOwnership", "object ownership %s is not served: access is by policy", o)
	}
	region := ""
	if c := in.CreateBucketConfiguration; c != nil {
		if err := awswire.Only(c, "LocationConstraint"); err != nil {
			return nil, err
		}
		region = value(c.LocationConstraint)
	}
	err := f.objects.CreateBucket(ctx, *in.Bucket, region)
	return &CreateBucketOutput{Location: new("/" + *in.Bucket)}, err
}

func (f front) HeadBucket(ctx context.Context, in *HeadBucketInput) (*HeadBucketOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	b, err := f.objects.Bucket(ctx, *in.Bucket, "s3:ListBucket")
	return &HeadBucketOutput{BucketRegion: &b.Region}, err
}

// GetBucketLocation leaves the location of us-east-1 empty, and answers in every region, as S3 does.
func (f front) GetBucketLocation(ctx context.Context, in *GetBucketLocationInput) (*GetBucketLocationOutput, error) {
	if err := f.accept(ctx, in, nil, in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	b, err := f.objects.Bucket(ctx, *in.Bucket, "s3:GetBucketLocation")
	out := &GetBucketLocationOutput{}
	if b.Region != "us-east-1" {
		out.LocationConstraint = &b.Region
	}
	return out, err
}

func (f front) DeleteBucket(ctx context.Context, in *DeleteBucketInput) (*DeleteBucketOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	return &DeleteBucketOutput{}, f.objects.DeleteBucket(ctx, *in.Bucket)
}

func (f front) PutBucketEncryption(ctx context.Context, in *PutBucketEncryptionInput) (*PutBucketEncryptionOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "ContentMD5", "ChecksumAlgorithm", "ServerSideEncryptionConfiguration"); err != nil {
		return nil, err
	}
	rules := in.ServerSideEncryptionConfiguration.Rules
	if len(rules) != 1 || rules[0].ApplyServerSideEncryptionByDefault == nil {
		return nil, objects.InvalidArgument.Field("Rules", "one rule with a default encryption is needed")
	}
	d := rules[0].ApplyServerSideEncryptionByDefault
	e, err := encryption(d.SSEAlgorithm, d.KMSMasterKeyID)
	if err != nil {
		return nil, err
	}
	return &PutBucketEncryptionOutput{}, f.objects.SetEncryption(ctx, *in.Bucket, *e)
}

func (f front) GetBucketEncryption(ctx context.Context, in *GetBucketEncryptionInput) (*GetBucketEncryptionOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	e, err := f.objects.Encryption(ctx, *in.Bucket)
	if err != nil {
		return nil, err
	}
	d := &ServerSideEncryptionByDefault{SSEAlgorithm: new("AES256")}
	if e.KMS {
		d = &ServerSideEncryptionByDefault{SSEAlgorithm: new("aws:kms"), KMSMasterKeyID: some(e.Key)}
	}
	return &GetBucketEncryptionOutput{ServerSideEncryptionConfiguration: &ServerSideEncryptionConfiguration{
		Rules: []ServerSideEncryptionRule{{ApplyServerSideEncryptionByDefault: d, BucketKeyEnabled: new(false)}}}}, nil
}

func (f front) DeleteBucketEncryption(ctx context.Context, in *DeleteBucketEncryptionInput) (*DeleteBucketEncryptionOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner); err != nil {
		return nil, err
	}
	return &DeleteBucketEncryptionOutput{}, f.objects.ResetEncryption(ctx, *in.Bucket)
}

// coder URL-encodes keys in listings for clients that ask for it, as XML cannot carry every key.
func coder(encoding *string) (func(string) *string, error) {
	switch value(encoding) {
	case "":
		return func(s string) *string { return &s }, nil
	case "url":
		return func(s string) *string { return new(awswire.Escape(s)) }, nil
	}
	return nil, objects.InvalidArgument.Field("EncodingType", "Invalid Encoding Method specified in Request")
}

func contents(l objects.Listing, code func(string) *string, who *Owner) ([]Object, []CommonPrefix) {
	var list []Object
	var common []CommonPrefix
	for i := range l.Objects {
		o := &l.Objects[i]
		entry := Object{Key: code(o.Key), LastModified: &o.Modified, ETag: quoted(o.ETag), Size: &o.Size, StorageClass: new("STANDARD"), Owner: who}
		if o.Checksum != nil {
			entry.ChecksumAlgorithm, entry.ChecksumType = []string{o.Checksum.Algorithm}, sumsOf(o.Checksum).Type
		}
		list = append(list, entry)
	}
	for _, p := range l.Prefixes {
		common = append(common, CommonPrefix{Prefix: code(p)})
	}
	return list, common
}

// maxKeys is how many keys a page has at most (S3 API, ListObjectsV2).
func maxKeys(asked *int64) (int, error) {
	n := int64(1000)
	if asked != nil {
		n = min(*asked, 1000)
	}
	if n < 0 {
		return 0, objects.InvalidArgument.Field("MaxKeys", "Argument max-keys must be an integer between 0 and 2147483647")
	}
	return int(n), nil
}

func (f front) ListObjectsV2(ctx context.Context, in *ListObjectsV2Input) (*ListObjectsV2Output, error) {
	err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Delimiter", "EncodingType", "MaxKeys", "Prefix", "ContinuationToken", "FetchOwner", "StartAfter")
	if err != nil {
		return nil, err
	}
	code, err := coder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	o := objects.ListOptions{Prefix: value(in.Prefix), Delimiter: value(in.Delimiter), After: value(in.StartAfter)}
	if o.Limit, err = maxKeys(in.MaxKeys); err != nil {
		return nil, err
	}
	purpose := "s3 list " + *in.Bucket + "\x00" + o.Prefix + "\x00" + o.Delimiter
	if in.ContinuationToken != nil {
		if err := f.tokens.Open(purpose, *in.ContinuationToken, &o.After); err != nil {
			return nil, objects.InvalidArgument.Field("ContinuationToken", "The continuation token provided is incorrect")
		}
	}
	out := &ListObjectsV2Output{Name: in.Bucket, Prefix: code(o.Prefix), MaxKeys: new(int64(o.Limit)), EncodingType: in.EncodingType,
		ContinuationToken: in.ContinuationToken, IsTruncated: new(false), KeyCount: new(int64(0))}
	if in.Delimiter != nil {
		out.Delimiter = code(o.Delimiter)
	}
	if in.StartAfter != nil {
		out.StartAfter = code(*in.StartAfter)
	}
	l, err := f.objects.List(ctx, *in.Bucket, o)
	if err != nil || o.Limit == 0 {
		return out, err
	}
	var who *Owner
	if value(in.FetchOwner) {
		who = owner(ctx)
	}
	out.Contents, out.CommonPrefixes = contents(l, code, who)
	out.KeyCount = new(int64(len(out.Contents) + len(out.CommonPrefixes)))
	if l.Next != "" {
		token, err := f.tokens.Seal(purpose, l.Next)
		if err != nil {
			return nil, err
		}
		out.IsTruncated, out.NextContinuationToken = new(true), &token
	}
	return out, nil
}

func (f front) ListObjects(ctx context.Context, in *ListObjectsInput) (*ListObjectsOutput, error) {
	if err := f.accept(ctx, in, in.Bucket, in.ExpectedBucketOwner, "Delimiter", "EncodingType", "Marker", "MaxKeys", "Prefix"); err != nil {
		return nil, err
	}
	code, err := coder(in.EncodingType)
	if err != nil {
		return nil, err
	}
	o := objects.ListOptions{Prefix: value(in.Prefix), Delimiter: value(in.Delimiter), After: value(in.Marker)}
	if o.Limit, err = maxKeys(in.MaxKeys); err != nil {
		return nil, err
	}
	out := &ListObjectsOutput{Name: in.Bucket, Prefix: code(o.Prefix), Marker: code(o.After), MaxKeys: new(int64(o.Limit)),
		EncodingType: in.EncodingType, IsTruncated: new(false)}
	l, err := f.objects.List(ctx, *in.Bucket, o)
	if err != nil || o.Limit == 0 {
		return out, err
	}
	out.Contents, out.CommonPrefixes = contents(l, code, owner(ctx))
	if in.Delimiter != nil {
		out.Delimiter = code(o.Delimiter)
	}
	if l.Next != "" {
		out.IsTruncated = new(true)
		if in.Delimiter != nil {
			out.NextMarker = code(l.Next) // without a delimiter the last key is the marker
		}
	}
	return out, nil
}

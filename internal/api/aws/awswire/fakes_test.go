package awswire_test

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/iam"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
	"sluice.dev/sluice/internal/api/aws/sts"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
)

const (
	keyID   = "AKIAIOSFODNN7EXAMPLE"
	secret  = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"
	tempID  = "ASIAIOSFODNN7EXAMPLE"
	token   = "sessiontokensessiontoken"
	account = "123456789012"
)

var (
	noKey      = &fault.Reason{Kind: fault.NotFound, Name: "NoKey"}
	keyExpired = &fault.Reason{Kind: fault.Unauthenticated, Name: "KeyExpired"}
	storeDown  = &fault.Reason{Kind: fault.Unavailable, Name: "StoreDown"}
	noStream   = &fault.Reason{Kind: fault.NotFound, Name: "NoStream"}
	noBucket   = &fault.Reason{Kind: fault.NotFound, Name: "NoBucket"}
	noObject   = &fault.Reason{Kind: fault.NotFound, Name: "NoObject"}
	noUser     = &fault.Reason{Kind: fault.NotFound, Name: "NoUser"}
	denied     = &fault.Reason{Kind: fault.Denied, Name: "Denied"}
)

// keys are the credentials of the tests.
type keys struct{}

func (keys) Lookup(_ context.Context, id string) (awswire.Credential, error) {
	identity := caller.Identity{Account: account, ARN: "arn:aws:iam::123456789012:root", UserID: account, AccessKeyID: id, Root: true}
	switch id {
	case keyID:
		return awswire.Credential{Secret: secret, Identity: identity}, nil
	case tempID:
		return awswire.Credential{Secret: secret, SessionToken: token, Identity: identity}, nil
	case "ASIAEXPIRED000000000":
		return awswire.Credential{}, keyExpired.New("expired")
	case "AKIADOWN000000000000":
		return awswire.Credential{}, storeDown.New("down")
	default:
		return awswire.Credential{}, noKey.New("no key %s", id)
	}
}

// allow stands for a service that asks the authoriser.
func allow(ctx context.Context, actions ...name.Action) {
	for _, a := range actions {
		caller.Record(ctx, a)
	}
}

type fakeSTS struct{ sts.Operations }

func (fakeSTS) GetCallerIdentity(ctx context.Context, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	id, _ := caller.From(ctx)
	return &sts.GetCallerIdentityOutput{Account: &id.Account, Arn: &id.ARN, UserId: &id.UserID}, nil
}

type fakeIAM struct {
	iam.Operations
	mu    sync.Mutex
	users map[string]iam.User
}

func (f *fakeIAM) CreateUser(ctx context.Context, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	allow(ctx, "iam:CreateUser")
	f.mu.Lock()
	defer f.mu.Unlock()
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	u := iam.User{
		UserName: in.UserName, Path: new("/"), UserId: new("AIDA123456789EXAMPLE"), CreateDate: &at,
		Arn: new("arn:aws:iam::" + account + ":user/" + *in.UserName), Tags: in.Tags,
	}
	f.users[*in.UserName] = u
	return &iam.CreateUserOutput{User: &u}, nil
}

func (f *fakeIAM) GetUser(ctx context.Context, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	allow(ctx, "iam:GetUser")
	f.mu.Lock()
	defer f.mu.Unlock()
	u, ok := f.users[*in.UserName]
	if !ok {
		return nil, noUser.New("The user with name %s cannot be found.", *in.UserName)
	}
	return &iam.GetUserOutput{User: &u}, nil
}

func (f *fakeIAM) ListUsers(ctx context.Context, _ *iam.ListUsersInput) (*iam.ListUsersOutput, error) {
	allow(ctx, "iam:ListUsers")
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &iam.ListUsersOutput{IsTruncated: new(false), Users: []iam.User{}}
	for _, n := range slices.Sorted(maps.Keys(f.users)) {
		out.Users = append(out.Users, f.users[n])
	}
	return out, nil
}

type fakeKMS struct{ kms.Operations }

func (fakeKMS) Encrypt(ctx context.Context, in *kms.EncryptInput) (*kms.EncryptOutput, error) {
	allow(ctx, "kms:Encrypt")
	return &kms.EncryptOutput{CiphertextBlob: slices.Concat([]byte("sealed:"), in.Plaintext), KeyId: in.KeyId}, nil
}

func (fakeKMS) Decrypt(ctx context.Context, in *kms.DecryptInput) (*kms.DecryptOutput, error) {
	return nil, denied.New("User: %s is not authorized to perform: kms:Decrypt", "x")
}

type fakeKinesis struct {
	kinesis.Operations
	mu      sync.Mutex
	records [][]byte
}

func (f *fakeKinesis) CreateStream(ctx context.Context, _ *kinesis.CreateStreamInput) (*kinesis.CreateStreamOutput, error) {
	allow(ctx, "kinesis:CreateStream")
	return &kinesis.CreateStreamOutput{}, nil
}

func (f *fakeKinesis) DescribeStreamSummary(ctx context.Context, in *kinesis.DescribeStreamSummaryInput) (*kinesis.DescribeStreamSummaryOutput, error) {
	allow(ctx, "kinesis:DescribeStreamSummary")
	return nil, noStream.New("Stream %s under account %s not found.", *in.StreamName, account)
}

func (f *fakeKinesis) PutRecord(ctx context.Context, in *kinesis.PutRecordInput) (*kinesis.PutRecordOutput, error) {
	allow(ctx, "kinesis:PutRecord")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records = append(f.records, in.Data)
	return &kinesis.PutRecordOutput{SequenceNumber: new(fmt.Sprint(len(f.records))), ShardId: new("shardId-000000000000")}, nil
}

func (f *fakeKinesis) GetRecords(ctx context.Context, _ *kinesis.GetRecordsInput) (*kinesis.GetRecordsOutput, error) {
	allow(ctx, "kinesis:GetRecords")
	f.mu.Lock()
	defer f.mu.Unlock()
	at := time.UnixMilli(1795262400123)
	out := &kinesis.GetRecordsOutput{MillisBehindLatest: new(int64(0)), Records: []kinesis.Record{}}
	for i, r := range f.records {
		out.Records = append(out.Records, kinesis.Record{
			Data: r, PartitionKey: new("k"), SequenceNumber: new(fmt.Sprint(i + 1)), ApproximateArrivalTimestamp: &at,
		})
	}
	return out, nil
}

func (f *fakeKinesis) ListStreams(ctx context.Context, _ *kinesis.ListStreamsInput) (*kinesis.ListStreamsOutput, error) {
	return &kinesis.ListStreamsOutput{}, nil // forgets to ask
}

func (f *fakeKinesis) DeleteStream(context.Context, *kinesis.DeleteStreamInput) (*kinesis.DeleteStreamOutput, error) {
	panic("boom")
}

// object is one stored object.
type object struct {
	data     []byte
	sums     []awswire.Checksum
	metadata map[string]string
	encoding *string
	kind     *string
}

func (o object) etag() *string {
	sum := md5.Sum(o.data)
	return new(`"` + hex.EncodeToString(sum[:]) + `"`)
}

type fakeS3 struct {
	s3.Operations
	mu      sync.Mutex
	buckets map[string]map[string]object
	uploads map[string]map[int64][]byte
	lazy    bool // takes a body for good without reading it
}

func (f *fakeS3) read(b *awswire.Body) ([]byte, error) {
	data, err := io.ReadAll(b)
	if err != nil {
		return nil, fmt.Errorf("storing the object: %w", err)
	}
	return data, nil
}

func (f *fakeS3) ListBuckets(ctx context.Context, _ *s3.ListBucketsInput) (*s3.ListBucketsOutput, error) {
	allow(ctx, "s3:ListAllMyBuckets")
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &s3.ListBucketsOutput{Buckets: []s3.Bucket{}, Owner: &s3.Owner{ID: new("owner")}}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for _, n := range slices.Sorted(maps.Keys(f.buckets)) {
		out.Buckets = append(out.Buckets, s3.Bucket{Name: &n, CreationDate: &at})
	}
	return out, nil
}

func (f *fakeS3) CreateBucket(ctx context.Context, in *s3.CreateBucketInput) (*s3.CreateBucketOutput, error) {
	allow(ctx, "s3:CreateBucket")
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buckets[*in.Bucket] = map[string]object{}
	return &s3.CreateBucketOutput{Location: new("/" + *in.Bucket)}, nil
}

func (f *fakeS3) GetBucketLocation(ctx context.Context, _ *s3.GetBucketLocationInput) (*s3.GetBucketLocationOutput, error) {
	allow(ctx, "s3:GetBucketLocation")
	return &s3.GetBucketLocationOutput{LocationConstraint: new("eu-west-1")}, nil
}

func (f *fakeS3) PutObject(ctx context.Context, in *s3.PutObjectInput) (*s3.PutObjectOutput, error) {
	allow(ctx, "s3:PutObject")
	if f.lazy {
		return &s3.PutObjectOutput{}, nil
	}
	data, err := f.read(in.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	b, ok := f.buckets[*in.Bucket]
	if !ok {
		return nil, noBucket.New("The specified bucket does not exist")
	}
	o := object{data: data, sums: in.Body.Checksums(), metadata: in.Metadata, encoding: in.ContentEncoding, kind: in.ContentType}
	b[*in.Key] = o
	return &s3.PutObjectOutput{ETag: o.etag()}, nil
}

func (f *fakeS3) find(bucket, key *string) (object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o, ok := f.buckets[*bucket][*key]
	if !ok {
		return o, noObject.New("The specified key does not exist.")
	}
	return o, nil
}

func (f *fakeS3) GetObject(ctx context.Context, in *s3.GetObjectInput) (*s3.GetObjectOutput, error) {
	allow(ctx, "s3:GetObject")
	o, err := f.find(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	out := &s3.GetObjectOutput{ETag: o.etag(), Metadata: o.metadata, ContentEncoding: o.encoding, ContentType: o.kind}
	data := o.data
	if in.Range != nil {
		from, to := 0, len(data)-1
		if n, _ := fmt.Sscanf(*in.Range, "bytes=%d-%d", &from, &to); n == 0 {
			return nil, &awswire.Error{Code: "InvalidRange", Status: 416, Message: "The requested range is not satisfiable"}
		}
		out.ContentRange = new(fmt.Sprintf("bytes %d-%d/%d", from, to, len(data)))
		data = data[from : to+1]
	} else if in.ChecksumMode != nil {
		for _, s := range o.sums {
			switch s.Algorithm {
			case "CRC32":
				out.ChecksumCRC32 = &s.Value
			case "SHA256":
				out.ChecksumSHA256 = &s.Value
			}
		}
	}
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(data)), new(int64(len(data)))
	return out, nil
}

func (f *fakeS3) HeadObject(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	allow(ctx, "s3:GetObject")
	o, err := f.find(in.Bucket, in.Key)
	if err != nil {
		return nil, err
	}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	return &s3.HeadObjectOutput{ETag: o.etag(), ContentLength: new(int64(len(o.data))), LastModified: &at, Metadata: o.metadata}, nil
}

func (f *fakeS3) ListObjectsV2(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	allow(ctx, "s3:ListBucket")
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &s3.ListObjectsV2Output{Name: in.Bucket, Prefix: new(""), KeyCount: new(int64(0)), MaxKeys: new(int64(1000)), IsTruncated: new(false)}
	at := time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	for _, k := range slices.Sorted(maps.Keys(f.buckets[*in.Bucket])) {
		o := f.buckets[*in.Bucket][k]
		out.Contents = append(out.Contents, s3.Object{Key: &k, Size: new(int64(len(o.data))), ETag: o.etag(), LastModified: &at, StorageClass: new("STANDARD")})
		*out.KeyCount++
	}
	return out, nil
}

func (f *fakeS3) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (*s3.DeleteObjectsOutput, error) {
	allow(ctx, "s3:DeleteObject")
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &s3.DeleteObjectsOutput{}
	for _, o := range in.Delete.Objects {
		delete(f.buckets[*in.Bucket], *o.Key)
		out.Deleted = append(out.Deleted, s3.DeletedObject{Key: o.Key})
	}
	return out, nil
}

func (f *fakeS3) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	allow(ctx, "s3:DeleteObject")
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.buckets[*in.Bucket], *in.Key)
	return &s3.DeleteObjectOutput{}, nil
}

func (f *fakeS3) CreateMultipartUpload(ctx context.Context, in *s3.CreateMultipartUploadInput) (*s3.CreateMultipartUploadOutput, error) {
	allow(ctx, "s3:PutObject")
	f.mu.Lock()
	defer f.mu.Unlock()
	id := fmt.Sprintf("upload-%d", len(f.uploads))
	f.uploads[id] = map[int64][]byte{}
	return &s3.CreateMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, UploadId: &id}, nil
}

func (f *fakeS3) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	allow(ctx, "s3:PutObject")
	data, err := f.read(in.Body)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uploads[*in.UploadId][*in.PartNumber] = data
	return &s3.UploadPartOutput{ETag: object{data: data}.etag()}, nil
}

func (f *fakeS3) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (*s3.CompleteMultipartUploadOutput, error) {
	allow(ctx, "s3:PutObject")
	f.mu.Lock()
	defer f.mu.Unlock()
	var data []byte
	for _, p := range in.MultipartUpload.Parts {
		data = append(data, f.uploads[*in.UploadId][*p.PartNumber]...)
	}
	o := object{data: data}
	f.buckets[*in.Bucket][*in.Key] = o
	return &s3.CompleteMultipartUploadOutput{Bucket: in.Bucket, Key: in.Key, ETag: o.etag(), Location: new("http://here/" + *in.Key)}, nil
}

// platform is a server of all fakes.
type platform struct {
	*httptest.Server
	s3      *fakeS3
	kinesis *fakeKinesis
	log     *bytes.Buffer
	calls   func() []awswire.Call
}

func serve(t *testing.T, tls bool, change ...func(*awswire.Config)) *platform {
	t.Helper()
	p := &platform{
		s3:      &fakeS3{buckets: map[string]map[string]object{}, uploads: map[string]map[int64][]byte{}},
		kinesis: &fakeKinesis{},
		log:     &bytes.Buffer{},
	}
	var mu sync.Mutex
	var calls []awswire.Call
	p.calls = func() []awswire.Call {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(calls)
	}
	cfg := awswire.Config{
		Services:    services(p),
		Credentials: keys{},
		Log:         slog.New(slog.NewTextHandler(&lockedWriter{w: p.log, mu: &mu}, nil)),
		Observe: func(c awswire.Call) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, c)
		},
	}
	for _, c := range change {
		c(&cfg)
	}
	h := awswire.New(cfg)
	if tls {
		p.Server = httptest.NewTLSServer(h)
	} else {
		p.Server = httptest.NewServer(h)
	}
	t.Cleanup(p.Close)
	return p
}

type lockedWriter struct {
	w  io.Writer
	mu *sync.Mutex
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func services(p *platform) []awswire.Service {
	k := kinesis.Service(p.kinesis)
	k.Resources = map[string][]name.Action{
		"CreateStream": {"kinesis:CreateStream"}, "DescribeStreamSummary": {"kinesis:DescribeStreamSummary"},
		"PutRecord": {"kinesis:PutRecord"}, "GetRecords": {"kinesis:GetRecords"}, "ListStreams": {"kinesis:ListStreams"}, "DeleteStream": {},
		"PutRecords": {},
	}
	k.Codes = map[*fault.Reason]awswire.Code{noStream: {Code: "ResourceNotFoundException", Status: 400}}
	st := sts.Service(fakeSTS{})
	st.Resources = map[string][]name.Action{"GetCallerIdentity": {}}
	i := iam.Service(&fakeIAM{users: map[string]iam.User{}})
	i.Resources = map[string][]name.Action{"CreateUser": {"iam:CreateUser"}, "GetUser": {"iam:GetUser"}, "ListUsers": {"iam:ListUsers"}}
	km := kms.Service(fakeKMS{})
	km.Resources = map[string][]name.Action{"Encrypt": {"kms:Encrypt"}, "Decrypt": {"kms:Decrypt"}}
	o := s3.Service(p.s3)
	o.Resources = map[string][]name.Action{}
	for op, action := range map[string]name.Action{
		"ListBuckets": "s3:ListAllMyBuckets", "CreateBucket": "s3:CreateBucket", "GetBucketLocation": "s3:GetBucketLocation", "PutObject": "s3:PutObject",
		"GetObject": "s3:GetObject", "HeadObject": "s3:GetObject", "ListObjectsV2": "s3:ListBucket", "DeleteObjects": "s3:DeleteObject",
		"DeleteObject": "s3:DeleteObject", "CreateMultipartUpload": "s3:PutObject", "UploadPart": "s3:PutObject", "CompleteMultipartUpload": "s3:PutObject",
	} {
		o.Resources[op] = []name.Action{action}
	}
	o.Codes = map[*fault.Reason]awswire.Code{noBucket: {Code: "NoSuchBucket", Status: 404}, noObject: {Code: "NoSuchKey", Status: 404}}
	return []awswire.Service{k, st, i, km, o}
}

func (p *platform) client() *awswire.Client {
	return &awswire.Client{Endpoint: p.URL, Region: "us-east-1", AccessKeyID: keyID, Secret: secret, HTTP: p.Client()}
}

func (p *platform) logged() string { return strings.TrimSpace(p.log.String()) }

// oneKey knows a single key.
type oneKey struct{ id, secret string }

func (k oneKey) Lookup(_ context.Context, id string) (awswire.Credential, error) {
	if id != k.id {
		return awswire.Credential{}, noKey.New("no key %s", id)
	}
	return awswire.Credential{Secret: k.secret, Identity: caller.Identity{Account: account}}, nil
}

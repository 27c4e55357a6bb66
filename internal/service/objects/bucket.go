package objects

import (
	"context"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Bucket describes a bucket.
type Bucket struct {
	Name    string
	Region  string
	Created time.Time
}

// Encryption is what seals a bucket's objects unless a put says otherwise: KMS with a key of
// the owner's, or the platform's key (what S3 calls SSE-S3).
type Encryption struct {
	KMS bool
	Key string // id, ARN or alias; empty is the platform's
}

var regionForm = regexp.MustCompile(`^[a-zA-Z0-9-]{1,64}$`)

var bucketForm = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

// checkBucketName applies the rules of the S3 user guide, "General purpose bucket naming rules".
func checkBucketName(bucket string) error {
	_, ipErr := netip.ParseAddr(bucket)
	if !bucketForm.MatchString(bucket) || strings.Contains(bucket, "..") || ipErr == nil ||
		strings.HasPrefix(bucket, "xn--") || strings.HasSuffix(bucket, "-s3alias") {
		return InvalidBucketName.Field("Bucket", "The specified bucket is not valid.")
	}
	return nil
}

// bucket finds a bucket after asking whether the caller may do action to resource.
func (s *Service) bucket(ctx context.Context, r store.Reader, bucket string, action name.Action, resource name.ARN, attrs ...name.Attr) (*bucketDoc, error) {
	if err := s.deps.Auth.Authorize(ctx, action, resource, attrs...); err != nil {
		return nil, err
	}
	d, ok := s.records.buckets.Get(r, bucket)
	if !ok || d.Internal {
		return nil, noBucket()
	}
	return d, nil
}

func noBucket() error { return NoBucket.Field("Bucket", "The specified bucket does not exist") }

// bucketKnown reports whether the bucket with the id is still there.
func (s *Service) bucketKnown(id string) bool {
	_, _, ok := s.records.buckets.Lookup(s.deps.Store.Snapshot(), "id", id)
	return ok
}

func (s *Service) bucketNow(ctx context.Context, bucket string, action name.Action, resource name.ARN, attrs ...name.Attr) (*bucketDoc, error) {
	return s.bucket(ctx, s.deps.Store.Snapshot(), bucket, action, resource, attrs...)
}

// CreateBucket makes a bucket in the caller's region. region, where it is given, must be that one.
func (s *Service) CreateBucket(ctx context.Context, bucket, region string) error {
	if err := s.deps.Auth.Authorize(ctx, "s3:CreateBucket", bucketARN(bucket)); err != nil {
		return err
	}
	if err := checkBucketName(bucket); err != nil {
		return err
	}
	here := caller.Region(ctx)
	switch {
	case region == "":
		region = here
	case !regionForm.MatchString(region):
		return InvalidLocation.Field("LocationConstraint", "The specified location-constraint is not valid")
	case region == "EU" && here == "eu-west-1": // what S3 called it first
		region = here
	case region != here:
		return OtherLocation.Field("LocationConstraint", "The %s location constraint is incompatible for the region specific endpoint this request was sent to: it is signed for %s.", region, here)
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if _, ok := s.records.buckets.Get(tx, bucket); ok {
			return BucketExists.Field("Bucket", "Your previous request to create the named bucket succeeded and you already own it.")
		}
		return s.records.buckets.Insert(tx, bucket, &bucketDoc{ID: uuid.NewString(), Region: region, Created: s.deps.Clock.Now().UTC()})
	})
}

// RegionOf returns the region of a bucket, for fronts to send a client there that signed for another one. It
// asks no right: S3 tells the region of a bucket to anybody with a signature.
func (s *Service) RegionOf(bucket string) (region string, ok bool) {
	d, ok := s.records.buckets.Get(s.deps.Store.Snapshot(), bucket)
	if !ok || d.Internal {
		return "", false
	}
	return d.Region, true
}

// Buckets lists the account's buckets by name.
func (s *Service) Buckets(ctx context.Context) ([]Bucket, error) {
	if err := s.deps.Auth.Authorize(ctx, "s3:ListAllMyBuckets", name.Any); err != nil {
		return nil, err
	}
	var out []Bucket
	for bucket, d := range s.records.buckets.All(s.deps.Store.Snapshot(), "") {
		if !d.Internal {
			out = append(out, Bucket{bucket, d.Region, d.Created})
		}
	}
	return out, nil
}

// Bucket returns a bucket; action is the API's name for the call.
func (s *Service) Bucket(ctx context.Context, bucket string, action name.Action) (Bucket, error) {
	d, err := s.bucketNow(ctx, bucket, action, bucketARN(bucket))
	if err != nil {
		return Bucket{}, err
	}
	return Bucket{bucket, d.Region, d.Created}, nil
}

// DeleteBucket removes a bucket without objects. Uploads under way end with it, as in S3.
func (s *Service) DeleteBucket(ctx context.Context, bucket string) error {
	d, err := s.bucketNow(ctx, bucket, "s3:DeleteBucket", bucketARN(bucket))
	if err != nil {
		return err
	}
	s.deleting.Lock()
	defer s.deleting.Unlock()
	for _, err := range s.deps.Index.Scan(ctx, kv.Prefix(objectKey(d.ID, ""))) {
		if err != nil {
			return err
		}
		return BucketNotEmpty.Field("Bucket", "The bucket you tried to delete is not empty")
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		now, err := s.bucket(ctx, tx, bucket, "s3:DeleteBucket", bucketARN(bucket))
		if err != nil {
			return err
		}
		if now.ID != d.ID {
			return noBucket() // it was deleted and made anew meanwhile
		}
		_, err = s.records.buckets.Delete(tx, bucket)
		return err
	})
}

// SetEncryption chooses a bucket's default encryption. It holds for objects put from now on.
func (s *Service) SetEncryption(ctx context.Context, bucket string, e Encryption) error {
	return s.setEncryption(ctx, bucket, func(d *bucketDoc) { d.KMS, d.Key = e.KMS, e.Key })
}

// ResetEncryption goes back to the platform's key.
func (s *Service) ResetEncryption(ctx context.Context, bucket string) error {
	return s.setEncryption(ctx, bucket, func(d *bucketDoc) { d.KMS, d.Key = false, "" })
}

func (s *Service) setEncryption(ctx context.Context, bucket string, change func(*bucketDoc)) error {
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := s.bucket(ctx, tx, bucket, "s3:PutEncryptionConfiguration", bucketARN(bucket))
		if err != nil {
			return err
		}
		changed := *d
		change(&changed)
		return s.records.buckets.Put(tx, bucket, &changed)
	})
}

// Encryption returns a bucket's default encryption.
func (s *Service) Encryption(ctx context.Context, bucket string) (Encryption, error) {
	d, err := s.bucketNow(ctx, bucket, "s3:GetEncryptionConfiguration", bucketARN(bucket))
	if err != nil {
		return Encryption{}, err
	}
	return Encryption{KMS: d.KMS, Key: d.Key}, nil
}

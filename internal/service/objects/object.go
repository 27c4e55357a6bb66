package objects

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
)

// Limits of the S3 API.
const (
	MaxKeyBytes    = 1024
	MaxPutBytes    = 5 << 30
	maxUserBytes   = 2 << 10
	maxObjectParts = 10_000
)

// Checksum is an additional checksum of an object, as the client sent it and the front
// verified it.
type Checksum struct {
	Algorithm string // CRC32, CRC32C, CRC64NVME, SHA1, SHA256
	Value     string // base64; with -N behind it for a composite one
	Composite bool
}

// Info describes an object.
type Info struct {
	Key      string
	Size     int64
	ETag     string // without quotes
	Modified time.Time
	Headers  map[string]string
	User     map[string]string
	Checksum *Checksum
	KMS      bool
	KeyARN   string
	Parts    int // how many it was uploaded in; 0 for a single put
}

func (o *object) info(key string) Info {
	i := Info{Key: key, Size: o.Size, ETag: o.ETag, Modified: o.Modified, Headers: o.Headers, User: o.User,
		Checksum: o.Checksum, KMS: o.KMS, KeyARN: o.KeyARN}
	if strings.Contains(o.ETag, "-") {
		i.Parts = len(o.Parts)
	}
	return i
}

// Condition is what must hold of the present object for a put to happen.
type Condition struct {
	Absent bool   // If-None-Match: *
	ETag   string // If-Match, without quotes
}

func (c Condition) check(present *object) error {
	switch {
	case c.Absent && present != nil:
		return PreconditionFailed.Field("If-None-Match", "At least one of the pre-conditions you specified did not hold")
	case c.ETag != "" && present == nil:
		return NoObject.Field("Key", "The specified key does not exist.")
	case c.ETag != "" && c.ETag != present.ETag:
		return PreconditionFailed.Field("If-Match", "At least one of the pre-conditions you specified did not hold")
	}
	return nil
}

// sameBytes reports whether both lie in the same places.
func (o *object) sameBytes(other *object) bool {
	return slices.EqualFunc(o.Parts, other.Parts, func(a, b part) bool {
		return a.Segment == b.Segment && a.Offset == b.Offset && string(a.Salt) == string(b.Salt)
	}) && string(o.Wrapped) == string(other.Wrapped)
}

// PutOptions is what comes with a body.
type PutOptions struct {
	Headers    map[string]string
	User       map[string]string
	Encryption *Encryption // nil: the bucket's default
	Condition  Condition
	// Checksum is asked once the body has been read; nil, or a nil answer, means none was sent.
	Checksum func() *Checksum
}

func checkKey(key string) error {
	switch {
	case key == "":
		return InvalidArgument.Field("Key", "an object's key is not empty")
	case len(key) > MaxKeyBytes:
		return KeyTooLong.Field("Key", "Your key is too long")
	case !utf8.ValidString(key):
		return InvalidArgument.Field("Key", "an object's key is UTF-8")
	}
	return nil
}

func checkUser(user map[string]string) error {
	n := 0
	for k, v := range user {
		n += len(k) + len(v)
	}
	if n > maxUserBytes {
		return MetadataTooLarge.New("Your metadata headers exceed the maximum allowed metadata size")
	}
	return nil
}

// keyContext binds a data key to its object.
func keyContext(bucketID, key string) []byte { return []byte("object " + bucketID + "/" + key) }

func (s *Service) newDataKey(ctx context.Context, d *bucketDoc, key string, chosen *Encryption) (plain [32]byte, wrapped []byte, e Encryption, arn string, err error) {
	e = Encryption{KMS: d.KMS, Key: d.Key}
	if chosen != nil {
		e = *chosen
	}
	ref := ""
	if e.KMS {
		ref = e.Key
	}
	plain, wrapped, keyARN, err := s.deps.Keys.NewDataKey(caller.WithRegion(ctx, d.Region), ref, // a bucket's keys are of its region
		keyContext(d.ID, key))
	if e.KMS {
		arn = keyARN.String()
	}
	return plain, wrapped, e, arn, err
}

// Put makes an object of a body, or replaces it. It is durable on return.
func (s *Service) Put(ctx context.Context, bucket, key string, body io.Reader, opt PutOptions) (Info, error) {
	d, err := s.bucketNow(ctx, bucket, "s3:PutObject", objectARN(bucket, key))
	if err != nil {
		return Info{}, err
	}
	return s.put(ctx, d, key, body, opt)
}

func (s *Service) put(ctx context.Context, d *bucketDoc, key string, body io.Reader, opt PutOptions) (Info, error) {
	if err := checkKey(key); err != nil {
		return Info{}, err
	}
	if err := checkUser(opt.User); err != nil {
		return Info{}, err
	}
	if opt.Condition != (Condition{}) { // spare a doomed body
		present, err := s.getObject(d.ID, key)
		if err != nil {
			return Info{}, err
		}
		if err := opt.Condition.check(present); err != nil {
			return Info{}, err
		}
	}
	release, err := s.admit(ctx)
	if err != nil {
		return Info{}, err
	}
	defer release()
	plain, wrapped, e, arn, err := s.newDataKey(ctx, d, key, opt.Encryption)
	if err != nil {
		return Info{}, err
	}
	w, err := s.bytes.write(ctx, plain, body, MaxPutBytes)
	if err != nil {
		return Info{}, err
	}
	defer s.bytes.unpin(w.part)
	o := &object{Size: w.part.Size, ETag: etagOf(w.md5), Modified: s.deps.Clock.Now().UTC().Truncate(time.Millisecond),
		Headers: opt.Headers, User: opt.User, KMS: e.KMS, KeyARN: arn, Wrapped: wrapped}
	if w.part.Size > 0 {
		o.Parts = []part{w.part}
	}
	if opt.Checksum != nil {
		o.Checksum = opt.Checksum()
	}
	if err := s.commit(d, key, o, opt.Condition, nil); err != nil {
		s.bytes.drop(w.part)
		return Info{}, err
	}
	return o.info(key), nil
}

// commit puts metadata, and drops what it replaces. finish adds to the same batch.
func (s *Service) commit(d *bucketDoc, key string, o *object, c Condition, finish func(batch)) error {
	s.deleting.RLock() // the bucket stays, or is gone already
	defer s.deleting.RUnlock()
	if !s.bucketKnown(d.ID) {
		return noBucket()
	}
	mu := s.lock(d.ID, key)
	mu.Lock()
	defer mu.Unlock()
	old, err := s.getObject(d.ID, key)
	if err != nil {
		return err
	}
	if err := c.check(old); err != nil {
		return err
	}
	if err := s.deps.Guard.Check(); err != nil {
		return err
	}
	b := s.deps.Index.NewBatch()
	b.Set(objectKey(d.ID, key), encode(o))
	if finish != nil {
		finish(b)
	}
	if err := b.Commit(); err != nil {
		return err
	}
	if old != nil {
		s.dropAll(old.Parts)
	}
	return nil
}

// batch is what finish may do to a commit.
type batch interface {
	Delete(key []byte)
	DeleteRange(low, high []byte)
}

func (s *Service) dropAll(parts []part) {
	for _, p := range parts {
		s.bytes.drop(p)
	}
}

// Head describes an object.
func (s *Service) Head(ctx context.Context, bucket, key string) (Info, error) {
	d, o, err := s.find(ctx, bucket, key)
	if err != nil {
		return Info{}, err
	}
	if o.KMS { // as S3 does: who may not use the key may not learn of the object
		if _, err := s.deps.Keys.OpenDataKey(ctx, o.Wrapped, keyContext(d.ID, key)); err != nil {
			return Info{}, err
		}
	}
	return o.info(key), nil
}

func (s *Service) find(ctx context.Context, bucket, key string) (*bucketDoc, *object, error) {
	d, err := s.bucketNow(ctx, bucket, "s3:GetObject", objectARN(bucket, key))
	if err != nil {
		return nil, nil, err
	}
	o, err := s.getObject(d.ID, key)
	if err == nil && o == nil {
		err = NoObject.Field("Key", "The specified key does not exist.")
		// Whether a key exists is told only to those who may list (S3 API, GetObject).
		if denied := s.deps.Auth.Authorize(ctx, "s3:ListBucket", bucketARN(bucket)); denied != nil {
			err = denied
		}
	}
	return d, o, err
}

// Range is a part of an object: [From, To], or with Suffix the last bytes. The zero Range
// is the whole.
type Range struct {
	Set    bool
	From   int64
	To     int64 // inclusive; negative: to the end
	Suffix int64 // the last Suffix bytes instead
}

func (r Range) resolve(size int64) (from, length int64, err error) {
	switch {
	case !r.Set:
		return 0, size, nil
	case r.Suffix > 0:
		n := min(r.Suffix, size)
		if n == 0 {
			break
		}
		return size - n, n, nil
	case r.From < size && r.From >= 0:
		to := r.To
		if to < 0 || to >= size {
			to = size - 1
		}
		if to >= r.From {
			return r.From, to - r.From + 1, nil
		}
	}
	return 0, 0, InvalidRange.Field("Range", "The requested range is not satisfiable")
}

// Opened is an object being read. Close it.
type Opened struct {
	Info
	From   int64 // of the range
	Length int64
	Body   io.ReadCloser
}

// Open reads an object, or a range of it.
func (s *Service) Open(ctx context.Context, bucket, key string, r Range) (*Opened, error) {
	d, o, err := s.find(ctx, bucket, key)
	if err != nil {
		return nil, err
	}
	return s.open(ctx, d, o, bucket, key, r)
}

func (s *Service) open(ctx context.Context, d *bucketDoc, o *object, bucket, key string, r Range) (_ *Opened, err error) {
	if o, err = s.pinned(d, key, o); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.bytes.unpin(o.Parts...)
		}
	}()
	plain, err := s.deps.Keys.OpenDataKey(ctx, o.Wrapped, keyContext(d.ID, key))
	if err != nil {
		return nil, err
	}
	from, length, err := r.resolve(o.Size)
	if err != nil {
		return nil, err
	}
	body := s.bytes.read("s3://"+bucket+"/"+key, plain, o.Parts, from, length)
	if length > 0 { // damage is best told while there is still an answer to tell it in
		if err := body.fill(); err != nil {
			return nil, errors.Join(err, body.closeFile())
		}
	}
	return &Opened{Info: o.info(key), From: from, Length: length, Body: body}, nil
}

// pinned pins an object's segments. As they may have gone after the metadata was read, it
// is read again under the pins, until both agree.
func (s *Service) pinned(d *bucketDoc, key string, o *object) (*object, error) {
	for {
		s.bytes.pin(o.Parts...)
		now, err := s.getObject(d.ID, key)
		if err == nil && now != nil && now.sameBytes(o) {
			return now, nil
		}
		s.bytes.unpin(o.Parts...)
		if err != nil {
			return nil, err
		}
		if now == nil {
			return nil, NoObject.Field("Key", "The specified key does not exist.")
		}
		o = now
	}
}

// DeleteCondition is what must hold of an object for it to be deleted. The zero DeleteCondition always holds.
type DeleteCondition struct {
	Version  string     // the version to delete: empty or "null", as no other exists without versioning
	ETag     string     // without quotes; * is any
	Size     *int64     // bytes
	Modified *time.Time // to the second
}

func (c DeleteCondition) check(present *object) error {
	switch {
	case c.ETag == "" && c.Size == nil && c.Modified == nil:
		return nil
	case present == nil:
		return NoObject.Field("Key", "The specified key does not exist.")
	case c.ETag != "" && c.ETag != "*" && c.ETag != present.ETag,
		c.Size != nil && *c.Size != present.Size,
		c.Modified != nil && !present.Modified.Truncate(time.Second).Equal(c.Modified.Truncate(time.Second)):
		return PreconditionFailed.New("At least one of the pre-conditions you specified did not hold")
	}
	return nil
}

// Delete removes an object; that it was not there is no error, unless a condition needs it.
func (s *Service) Delete(ctx context.Context, bucket, key string, c DeleteCondition) error {
	d, err := s.bucketNow(ctx, bucket, "s3:DeleteObject", objectARN(bucket, key))
	if err != nil {
		return err
	}
	if c.Version != "" && c.Version != "null" {
		return NoVersion.Field("VersionId", "The specified version does not exist: the bucket has no versions.")
	}
	return s.remove(d, key, c)
}

func (s *Service) remove(d *bucketDoc, key string, c DeleteCondition) error {
	mu := s.lock(d.ID, key)
	mu.Lock()
	defer mu.Unlock()
	o, err := s.getObject(d.ID, key)
	if err == nil {
		err = c.check(o)
	}
	if err != nil || o == nil {
		return err
	}
	if err := s.deps.Index.Delete(objectKey(d.ID, key)); err != nil {
		return err
	}
	s.dropAll(o.Parts)
	return nil
}

// listAttrs are the condition keys of a listing.
func listAttrs(prefix, delimiter string) []name.Attr {
	return []name.Attr{{Key: "s3:prefix", Values: []string{prefix}}, {Key: "s3:delimiter", Values: []string{delimiter}}}
}

// Writable reports whether the bucket is there and the caller may put objects under the
// prefix, so that a delivery that never could is refused when it is made.
func (s *Service) Writable(ctx context.Context, bucket, prefix string) error {
	_, err := s.bucketNow(ctx, bucket, "s3:PutObject", objectARN(bucket, prefix+"*"))
	return err
}

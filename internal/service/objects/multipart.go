package objects

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // S3's ETag is an MD5; it protects nothing
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/kv"
	"sluice.dev/sluice/internal/base/name"
)

// minPartBytes is the least a part has, but for the last one (S3 API, UploadPart).
const minPartBytes = 5 << 20

// UploadOptions is what a multipart upload begins with.
type UploadOptions struct {
	Headers    map[string]string
	User       map[string]string
	Encryption *Encryption
	// Algorithm is the checksum the parts will carry; Composite is how they make the object's.
	Algorithm string
	Composite bool
}

// Upload describes a multipart upload under way.
type Upload struct {
	ID        string
	Key       string
	Begun     time.Time
	KMS       bool
	KeyARN    string
	Algorithm string
	Composite bool
}

func (u *upload) info(id string) Upload {
	return Upload{ID: id, Key: u.Key, Begun: u.Begun, KMS: u.KMS, KeyARN: u.KeyARN, Algorithm: u.Algorithm, Composite: u.Composite}
}

// CreateUpload begins a multipart upload.
func (s *Service) CreateUpload(ctx context.Context, bucket, key string, opt UploadOptions) (Upload, error) {
	d, err := s.bucketNow(ctx, bucket, "s3:PutObject", objectARN(bucket, key))
	if err != nil {
		return Upload{}, err
	}
	if err := checkKey(key); err != nil {
		return Upload{}, err
	}
	if err := checkUser(opt.User); err != nil {
		return Upload{}, err
	}
	_, wrapped, e, arn, err := s.newDataKey(ctx, d, key, opt.Encryption)
	if err != nil {
		return Upload{}, err
	}
	u := &upload{Key: key, Begun: s.deps.Clock.Now().UTC(), Headers: opt.Headers, User: opt.User,
		KMS: e.KMS, KeyARN: arn, Wrapped: wrapped, Algorithm: opt.Algorithm, Composite: opt.Composite}
	if err := s.deps.Guard.Check(); err != nil {
		return Upload{}, err
	}
	s.deleting.RLock()
	defer s.deleting.RUnlock()
	if !s.bucketKnown(d.ID) {
		return Upload{}, noBucket()
	}
	id := name.Hex(32)
	return u.info(id), s.deps.Index.Set(uploadKey(d.ID, id), encode(u))
}

// upload finds an upload after asking for the right to action on its object.
func (s *Service) upload(ctx context.Context, bucket, key, id string, action name.Action) (*bucketDoc, *upload, error) {
	d, err := s.bucketNow(ctx, bucket, action, objectARN(bucket, key))
	if err != nil {
		return nil, nil, err
	}
	u, err := s.getUpload(d.ID, id)
	if err == nil && u.Key != key {
		err = noUpload()
	}
	return d, u, err
}

func (s *Service) getUpload(bucketID, id string) (*upload, error) {
	raw, ok, err := s.deps.Index.Get(uploadKey(bucketID, id))
	if err == nil && !ok {
		err = noUpload()
	}
	if err != nil {
		return nil, err
	}
	u := new(upload)
	return u, json.Unmarshal(raw, u)
}

func noUpload() error {
	return NoUpload.Field("UploadId", "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.")
}

// PutPart receives one part of an upload. A part sent again replaces the first.
func (s *Service) PutPart(ctx context.Context, bucket, key, id string, number int, body io.Reader, checksum func() *Checksum) (etag string, u Upload, err error) {
	if number < 1 || number > maxObjectParts {
		return "", Upload{}, InvalidArgument.Field("PartNumber", "Part number must be an integer between 1 and %d, inclusive", maxObjectParts)
	}
	d, up, err := s.upload(ctx, bucket, key, id, "s3:PutObject")
	if err != nil {
		return "", Upload{}, err
	}
	release, err := s.admit(ctx)
	if err != nil {
		return "", Upload{}, err
	}
	defer release()
	plain, err := s.deps.Keys.OpenDataKey(ctx, up.Wrapped, keyContext(d.ID, key))
	if err != nil {
		return "", Upload{}, err
	}
	w, err := s.bytes.write(ctx, plain, body, MaxPutBytes)
	if err != nil {
		return "", Upload{}, err
	}
	defer s.bytes.unpin(w.part)
	p := &uploadPart{Part: w.part, ETag: etagOf(w.md5), Modified: s.deps.Clock.Now().UTC()}
	if checksum != nil {
		p.Checksum = checksum()
	}
	// Under the upload's lock, so that the part does not join an upload that has ended.
	mu := s.lockUpload(d.ID, id)
	mu.Lock()
	defer mu.Unlock()
	_, err = s.getUpload(d.ID, id)
	var old *uploadPart
	if err == nil {
		old, err = s.getPart(d.ID, id, number)
	}
	if err == nil {
		err = s.deps.Index.Set(partKey(d.ID, id, number), encode(p))
	}
	if err != nil {
		s.bytes.drop(w.part)
		return "", Upload{}, err
	}
	if old != nil {
		s.bytes.drop(old.Part)
	}
	return p.ETag, up.info(id), nil
}

func (s *Service) getPart(bucketID, id string, number int) (*uploadPart, error) {
	raw, ok, err := s.deps.Index.Get(partKey(bucketID, id, number))
	if err != nil || !ok {
		return nil, err
	}
	p := new(uploadPart)
	return p, json.Unmarshal(raw, p)
}

// PartInfo describes a part that was received.
type PartInfo struct {
	Number   int
	Size     int64
	ETag     string
	Modified time.Time
	Checksum *Checksum
}

// Parts lists at most limit received parts behind the number after, and whether there are more.
func (s *Service) Parts(ctx context.Context, bucket, key, id string, after, limit int) (parts []PartInfo, u Upload, more bool, err error) {
	d, up, err := s.upload(ctx, bucket, key, id, "s3:ListMultipartUploadParts")
	if err != nil {
		return nil, Upload{}, false, err
	}
	for number, p := range s.scanParts(ctx, d.ID, id, &err) {
		if number <= after {
			continue
		}
		if len(parts) == limit {
			return parts, up.info(id), true, nil
		}
		parts = append(parts, PartInfo{number, p.Part.Size, p.ETag, p.Modified, p.Checksum})
	}
	return parts, up.info(id), false, err
}

func (s *Service) scanParts(ctx context.Context, bucketID, id string, failed *error) func(func(int, *uploadPart) bool) {
	return func(yield func(int, *uploadPart) bool) {
		prefix := partsPrefix(bucketID, id)
		for e, err := range s.deps.Index.Scan(ctx, kv.Prefix(prefix)) {
			p := new(uploadPart)
			if err == nil {
				err = json.Unmarshal(e.Value, p)
			}
			if err != nil {
				*failed = err
				return
			}
			if !yield(int(binary.BigEndian.Uint32(e.Key[len(prefix):])), p) {
				return
			}
		}
	}
}

// Completed names a part of the object to be made.
type Completed struct {
	Number   int
	ETag     string // without quotes
	Checksum string // base64; empty: not checked
}

// Completion says how an upload becomes an object, and what its maker expects of it.
type Completion struct {
	Parts     []Completed
	Condition Condition
	Size      int64  // of the object; negative: not checked
	Checksum  string // of the object, base64; empty: not checked
}

// CompleteUpload makes an object of an upload's parts, in one step.
func (s *Service) CompleteUpload(ctx context.Context, bucket, key, id string, c Completion) (Info, error) {
	d, u, err := s.upload(ctx, bucket, key, id, "s3:PutObject")
	if err != nil {
		return s.completed(d, key, id, err)
	}
	list := c.Parts
	if len(list) == 0 {
		return Info{}, NoParts.Field("Parts", "You must specify at least one part")
	}
	for i := 1; i < len(list); i++ {
		if list[i].Number <= list[i-1].Number {
			return Info{}, InvalidPartOrder.New("The list of parts was not in ascending order. Parts must be ordered by part number.")
		}
	}
	mu := s.lockUpload(d.ID, id)
	mu.Lock()
	defer mu.Unlock()
	if _, err := s.getUpload(d.ID, id); err != nil {
		return s.completed(d, key, id, err) // it ended while this call waited
	}
	o := &object{Upload: id, Modified: s.deps.Clock.Now().UTC().Truncate(time.Millisecond), Headers: u.Headers, User: u.User,
		KMS: u.KMS, KeyARN: u.KeyARN, Wrapped: u.Wrapped}
	received := map[int]*uploadPart{}
	for number, p := range s.scanParts(ctx, d.ID, id, &err) {
		received[number] = p
	}
	if err != nil {
		return Info{}, err
	}
	var sums bytes.Buffer
	var used []*uploadPart
	for i, want := range list {
		p := received[want.Number]
		if p == nil || p.ETag != want.ETag || want.Checksum != "" && (p.Checksum == nil || p.Checksum.Value != want.Checksum) {
			return Info{}, InvalidPart.New("One or more of the specified parts could not be found. The part may not have been uploaded, or the specified entity tag may not match the part's entity tag.")
		}
		if i < len(list)-1 && p.Part.Size < minPartBytes {
			return Info{}, TooSmall.New("Your proposed upload is smaller than the minimum allowed size")
		}
		sum, err := hex.DecodeString(p.ETag)
		if err != nil {
			return Info{}, err
		}
		sums.Write(sum)
		o.Size += p.Part.Size
		if p.Part.Size > 0 {
			o.Parts = append(o.Parts, p.Part)
		}
		used = append(used, p)
		delete(received, want.Number)
	}
	o.ETag = fmt.Sprintf("%s-%d", etagOf(md5.Sum(sums.Bytes())), len(list)) //nolint:gosec // see the import
	if o.Checksum, err = joinChecksums(u, used); err != nil {
		return Info{}, err
	}
	if c.Size >= 0 && c.Size != o.Size {
		return Info{}, InvalidArgument.Field("MpuObjectSize", "the parts are %d bytes together, not %d", o.Size, c.Size)
	}
	if c.Checksum != "" && (o.Checksum == nil || o.Checksum.Value != c.Checksum && !strings.HasPrefix(o.Checksum.Value, c.Checksum+"-")) {
		return Info{}, BadDigest.New("The checksum you specified did not match the checksum of the parts.")
	}
	err = s.commit(d, key, o, c.Condition, func(b batch) {
		b.Delete(uploadKey(d.ID, id))
		prefix := partsPrefix(d.ID, id)
		b.DeleteRange(prefix, kv.After(prefix))
	})
	if err != nil {
		return Info{}, err
	}
	for _, p := range received { // parts the list left out
		s.bytes.drop(p.Part)
	}
	return o.info(key), nil
}

// completed returns the object that the upload has made already, so that a client whose answer was lost may
// complete it again; otherwise why the upload is not there.
func (s *Service) completed(d *bucketDoc, key, id string, missing error) (Info, error) {
	if !NoUpload.Is(missing) {
		return Info{}, missing
	}
	o, err := s.getObject(d.ID, key)
	switch {
	case err != nil:
		return Info{}, err
	case o == nil || o.Upload == "" || o.Upload != id:
		return Info{}, missing
	}
	return o.info(key), nil
}

// AbortUpload forgets an upload and its parts.
func (s *Service) AbortUpload(ctx context.Context, bucket, key, id string) error {
	d, _, err := s.upload(ctx, bucket, key, id, "s3:AbortMultipartUpload")
	if err != nil {
		return err
	}
	mu := s.lockUpload(d.ID, id)
	mu.Lock()
	defer mu.Unlock()
	var parts []part
	for _, p := range s.scanParts(ctx, d.ID, id, &err) {
		parts = append(parts, p.Part)
	}
	if err != nil {
		return err
	}
	b := s.deps.Index.NewBatch()
	b.Delete(uploadKey(d.ID, id))
	prefix := partsPrefix(d.ID, id)
	b.DeleteRange(prefix, kv.After(prefix))
	if err := b.Commit(); err != nil {
		return err
	}
	s.dropAll(parts)
	return nil
}

// Uploads lists, in the order of their keys and ids, at most limit uploads under way whose
// key has the prefix, behind an upload given by key and id, and whether there are more.
func (s *Service) Uploads(ctx context.Context, bucket, prefix, afterKey, afterID string, limit int) (uploads []Upload, more bool, err error) {
	d, err := s.bucketNow(ctx, bucket, "s3:ListBucketMultipartUploads", bucketARN(bucket))
	if err != nil {
		return nil, false, err
	}
	base := uploadKey(d.ID, "")
	for e, err := range s.deps.Index.Scan(ctx, kv.Prefix(base)) {
		u := new(upload)
		if err == nil {
			err = json.Unmarshal(e.Value, u)
		}
		if err != nil {
			return nil, false, err
		}
		id := string(e.Key[len(base):])
		behind := u.Key > afterKey || u.Key == afterKey && afterID != "" && id > afterID
		if strings.HasPrefix(u.Key, prefix) && behind {
			uploads = append(uploads, u.info(id))
		}
	}
	slices.SortFunc(uploads, func(a, b Upload) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.ID, b.ID)) })
	if len(uploads) > limit {
		return uploads[:limit], true, nil
	}
	return uploads, false, nil
}

package objects

import (
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"sync"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// bucketDoc is a bucket as stored in the control store, under its name.
type bucketDoc struct {
	ID       string // a UUID: objects lie under it
	Region   string
	Created  time.Time
	Internal bool // an area: no front shows it
	KMS      bool // default encryption under Key; else under the platform's key
	Key      string
}

type records struct {
	buckets *store.Collection[bucketDoc]
}

func register(s *store.Store) records {
	return records{buckets: store.Register(s, "objects.buckets",
		store.Unique("id", func(d *bucketDoc) []string { return []string{d.ID} }))}
}

// object is an object's metadata as stored in the index.
type object struct {
	Size     int64             `json:"s"`
	ETag     string            `json:"e"`
	Modified time.Time         `json:"m"`
	Headers  map[string]string `json:"h,omitempty"` // Content-Type and its like, by canonical name
	User     map[string]string `json:"u,omitempty"` // x-amz-meta-…, without the prefix
	Checksum *Checksum         `json:"c,omitempty"`
	KMS      bool              `json:"k,omitempty"`
	KeyARN   string            `json:"a,omitempty"`
	Wrapped  []byte            `json:"w"`
	Parts    []part            `json:"p,omitempty"`
	Upload   string            `json:"i,omitempty"` // the multipart upload that made it
}

// part is a run of frames.
type part struct {
	Salt    []byte `json:"t"`
	Size    int64  `json:"s"`
	Segment uint64 `json:"g"`
	Offset  int64  `json:"o"`
	Own     bool   `json:"w,omitempty"` // the segment holds nothing else
}

// upload is a multipart upload under way.
type upload struct {
	Key     string
	Begun   time.Time
	Headers map[string]string
	User    map[string]string
	KMS     bool
	KeyARN  string
	Wrapped []byte
	// Algorithm and Composite say which checksum the parts carry and how they make the object's.
	Algorithm string
	Composite bool
}

// uploadPart is a part of an upload under way.
type uploadPart struct {
	Part     part
	ETag     string
	Modified time.Time
	Checksum *Checksum
}

// Keys of the index. A bucket's id is a UUID and has no slash.
func objectKey(bucket, key string) []byte  { return []byte("o/" + bucket + "/" + key) }
func uploadKey(bucket, id string) []byte   { return []byte("u/" + bucket + "/" + id) }
func partsPrefix(bucket, id string) []byte { return []byte("p/" + bucket + "/" + id + "/") }

func partKey(bucket, id string, number int) []byte {
	return binary.BigEndian.AppendUint32(partsPrefix(bucket, id), uint32(number))
}

func encode(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own types always encode
	}
	return raw
}

func (s *Service) getObject(bucket, key string) (*object, error) {
	raw, ok, err := s.deps.Index.Get(objectKey(bucket, key))
	if err != nil || !ok {
		return nil, err
	}
	o := new(object)
	return o, json.Unmarshal(raw, o)
}

func (s *Service) lock(bucket, key string) *sync.Mutex { return pick(&s.keyLocks, bucket+"/"+key) }

func (s *Service) lockUpload(bucket, id string) *sync.Mutex {
	return pick(&s.uploadLocks, bucket+"/"+id)
}

func pick(locks *[256]sync.Mutex, name string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return &locks[h.Sum32()%uint32(len(locks))]
}

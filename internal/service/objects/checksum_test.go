package objects_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"hash"
	"hash/crc32"
	"testing"

	"github.com/minio/crc64nvme"

	"sluice.dev/sluice/internal/service/objects"
)

// The checksum of a whole object, made of its parts', is that of its bytes.
func TestChecksumsOfPartsJoin(t *testing.T) {
	b := newBench(t)
	for algorithm, make := range map[string]func() hash.Hash{
		"CRC32":     func() hash.Hash { return crc32.NewIEEE() },
		"CRC32C":    func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) },
		"CRC64NVME": func() hash.Hash { return crc64nvme.New() },
	} {
		for _, last := range []int{0, 1, 7, 1000, 65_537} {
			sum := func(data []byte) string {
				h := make()
				_, _ = h.Write(data) // never fails
				return base64.StdEncoding.EncodeToString(h.Sum(nil))
			}
			u, err := b.CreateUpload(b.ctx(), "bucket", "k", objects.UploadOptions{Algorithm: algorithm})
			if err != nil {
				t.Fatal(err)
			}
			var whole []byte
			var list []objects.Completed
			for i, n := range []int{5 << 20, 5<<20 + 3, last} {
				data := noise(uint64(n), n)
				etag, _, err := b.PutPart(b.ctx(), "bucket", "k", u.ID, i+1, bytes.NewReader(data),
					func() *objects.Checksum { return &objects.Checksum{Algorithm: algorithm, Value: sum(data)} })
				if err != nil {
					t.Fatal(err)
				}
				whole = append(whole, data...)
				list = append(list, objects.Completed{Number: i + 1, ETag: etag, Checksum: sum(data)})
			}
			wrong := objects.Completion{Parts: list, Size: -1, Checksum: base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, 1))}
			if _, err := b.CompleteUpload(b.ctx(), "bucket", "k", u.ID, wrong); !objects.BadDigest.Is(err) {
				t.Fatalf("%s: another checksum was taken: %v", algorithm, err)
			}
			o, err := b.CompleteUpload(b.ctx(), "bucket", "k", u.ID, objects.Completion{Parts: list, Size: -1, Checksum: sum(whole)})
			if err != nil || o.Checksum.Value != sum(whole) || o.Checksum.Composite {
				t.Fatalf("%s, a last part of %d bytes: %+v, %v; want %s", algorithm, last, o.Checksum, err, sum(whole))
			}
		}
	}
}

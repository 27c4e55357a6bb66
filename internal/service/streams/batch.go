package streams

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Record is one record of a stream.
type Record struct {
	Key    string
	Value  []byte
	Time   time.Time // of its arrival; set by the service where it is zero
	Offset int64     // set by the service
}

var errShortBatch = errors.New("streams: a record batch is shorter than it says")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// batchHead is the length of a v2 record batch in front of its records (Apache Kafka,
// "Message Format", Record Batch).
const batchHead = 61

// appendBatch encodes records as one v2 record batch behind dst. Their offsets begin with base.
func appendBatch(dst []byte, base int64, records []*Record) []byte {
	first := records[0].Time.UnixMilli()
	last := first
	for _, r := range records {
		first, last = min(first, r.Time.UnixMilli()), max(last, r.Time.UnixMilli())
	}
	at := len(dst)
	dst = append(dst, make([]byte, batchHead)...)
	for i, r := range records {
		dst = appendRecord(dst, int64(i), r.Time.UnixMilli()-first, r.Key, r.Value)
	}
	b := dst[at:]
	binary.BigEndian.PutUint64(b[0:], uint64(base))
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	b[16] = 2                                                  // magic
	binary.BigEndian.PutUint32(b[23:], uint32(len(records)-1)) // last offset delta
	binary.BigEndian.PutUint64(b[27:], uint64(first))
	binary.BigEndian.PutUint64(b[35:], uint64(last))
	for i := 43; i < 57; i++ {
		b[i] = 0xff // producer id, epoch and first sequence: none
	}
	binary.BigEndian.PutUint32(b[57:], uint32(len(records)))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return dst
}

func appendRecord(dst []byte, offsetDelta, timeDelta int64, key string, value []byte) []byte {
	body := 1 + varintLen(timeDelta) + varintLen(offsetDelta) +
		varintLen(int64(len(key))) + len(key) + varintLen(int64(len(value))) + len(value) + 1
	dst = binary.AppendVarint(dst, int64(body))
	dst = append(dst, 0) // attributes
	dst = binary.AppendVarint(dst, timeDelta)
	dst = binary.AppendVarint(dst, offsetDelta)
	dst = binary.AppendVarint(dst, int64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendVarint(dst, int64(len(value)))
	dst = append(dst, value...)
	return append(dst, 0) // headers
}

func varintLen(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

// readBatch decodes a v2 record batch. Values share raw's memory.
func readBatch(raw []byte) ([]Record, error) {
	var b kmsg.RecordBatch
	if err := b.ReadFrom(raw); err != nil {
		return nil, err
	}
	records := make([]Record, 0, b.NumRecords)
	rest := b.Records
	for range b.NumRecords {
		length, n := binary.Varint(rest)
		if n <= 0 || length < 0 || int64(len(rest)-n) < length {
			return nil, errShortBatch
		}
		var r kmsg.Record
		if err := r.ReadFrom(rest[:n+int(length)]); err != nil {
			return nil, err
		}
		rest = rest[n+int(length):]
		records = append(records, Record{
			Key: string(r.Key), Value: r.Value,
			Time:   time.UnixMilli(b.FirstTimestamp + r.TimestampDelta64).UTC(),
			Offset: b.FirstOffset + int64(r.OffsetDelta),
		})
	}
	return records, nil
}

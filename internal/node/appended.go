package node

import (
	"encoding/binary"
	"time"

	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
)

// appended is a collector's batch on its way to the node with the streams.
type appended struct {
	Region, Stream string
	Records        []collector.Record
}

// badBatch is what another node sent that is no batch.
var badBatch = &fault.Reason{Kind: fault.Invalid, Name: "BadBatch"}

// encode makes a message of a batch: the region, the stream, and of each record the seconds
// and nanoseconds of its time, its key and its value. Texts go after their length.
func (a *appended) encode() []byte {
	n := 8 + len(a.Region) + len(a.Stream)
	for _, r := range a.Records {
		n += minRecord + len(r.Key) + len(r.Value)
	}
	b := make([]byte, 0, n)
	text := func(s []byte) {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	text([]byte(a.Region))
	text([]byte(a.Stream))
	for _, r := range a.Records {
		b = binary.BigEndian.AppendUint64(b, uint64(r.Time.Unix()))
		b = binary.BigEndian.AppendUint32(b, uint32(r.Time.Nanosecond()))
		text(r.Key)
		text(r.Value)
	}
	return b
}

// minRecord is how many bytes a record has at least, so that what is decoded takes a small
// multiple of the message.
const minRecord = 8 + 4 + 4 + 4

// decodeAppended reads a batch, whose keys and values are parts of the message.
func decodeAppended(b []byte) (a appended, err error) {
	short := false
	take := func(n uint32) []byte {
		if short = short || uint64(n) > uint64(len(b)); short {
			return make([]byte, 8) // for the number that was to be read
		}
		part := b[:n:n]
		b = b[n:]
		return part
	}
	text := func() []byte { return take(binary.BigEndian.Uint32(take(4))) }
	a.Region, a.Stream = string(text()), string(text())
	for len(b) > 0 && !short {
		at := time.Unix(int64(binary.BigEndian.Uint64(take(8))), int64(binary.BigEndian.Uint32(take(4)))).UTC()
		a.Records = append(a.Records, collector.Record{Time: at, Key: text(), Value: text()})
	}
	if short {
		return appended{}, badBatch.New("a batch of records is cut short")
	}
	return a, nil
}

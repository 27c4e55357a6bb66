package node_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice.dev/sluice/internal/node"
	"sluice.dev/sluice/internal/service/gateway/plugin/collector"
)

func TestABatchGoesToAnotherNodeWhole(t *testing.T) {
	want := []collector.Record{
		{Key: []byte("k"), Value: []byte("value"), Time: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)},
		{Key: []byte{}, Value: []byte{0, 255}},
	}
	region, stream, got, err := node.Batch("eu-1", "things", want)
	if err != nil || region != "eu-1" || stream != "things" {
		t.Errorf("%q, %q, %v", region, stream, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// What a message becomes is bounded by its own size.
func FuzzBatch(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x01r\x00\x00\x00\x01s\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x01k\x00\x00\x00\x01v"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, message []byte) {
		if n, err := node.DecodeBatch(message); err == nil && n > len(message)/20 || err != nil && n > 0 {
			t.Errorf("%d records of %d bytes, %v", n, len(message), err)
		}
	})
}

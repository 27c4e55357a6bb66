package streams

import (
	"fmt"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// streamDoc is a stream as stored, under region and name.
type streamDoc struct {
	ID        string // a UUID: names the directory, so that a stream made anew starts empty
	Region    string
	Name      string
	Internal  bool // made by a service for itself; no front shows it
	Shards    []shardDoc
	Retention time.Duration
	Created   time.Time
}

// shardDoc is a shard's range of hash keys, inclusive, in decimal.
type shardDoc struct {
	Low, High string
}

type records struct {
	streams *store.Collection[streamDoc]
}

func register(s *store.Store) records {
	return records{streams: store.Register(s, "streams",
		store.Unique("id", func(d *streamDoc) []string { return []string{d.ID} }))}
}

func streamKey(region, stream string) string { return region + "/" + stream }

// shardName is how a shard is called, as Kinesis does.
func shardName(index int) string { return fmt.Sprintf("shardId-%012d", index) }

package delivery

import (
	"encoding/json"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

const collection = "delivery.streams"

// deliveryDoc is a delivery stream as stored, under region and name.
type deliveryDoc struct {
	ID      string
	Region  string
	Name    string
	Created time.Time
	Role    string // as given; shown again
	Owner   owner  // whose rights it has

	Source   string // name of the source stream; empty for direct puts
	SourceID string // id of the stream that is read
	Start    []int64

	Bucket      string
	Prefix      string
	ErrorPrefix string
	GZIP        bool
	Bytes       int64
	Interval    time.Duration
}

// owner is the part of an identity that decides rights.
type owner struct {
	Account, ARN, UserID, UserName string
	Root                           bool
}

type records struct {
	deliveries *store.Collection[deliveryDoc]
}

func register(s *store.Store) records {
	return records{deliveries: store.Register[deliveryDoc](s, collection)}
}

func deliveryKey(region, delivery string) string { return region + "/" + delivery }

type laneID struct {
	delivery string
	shard    int
}

// progress is how far a lane is.
type progress struct {
	Offset int64   // the next record to deliver
	Intent *intent // an object that is being written
}

// intent is a promise to write one range under one key.
type intent struct {
	From, To int64
	Key      string
}

func laneKey(id laneID) []byte { return fmt.Appendf(nil, "d/%s/%d", id.delivery, id.shard) }

func (l *lane) load() error {
	raw, ok, err := l.s.deps.Index.Get(laneKey(l.id))
	if err != nil {
		return err
	}
	if !ok {
		l.progress = progress{Offset: l.doc.Start[l.id.shard]}
		return nil
	}
	return json.Unmarshal(raw, &l.progress)
}

func (l *lane) save(p progress) error {
	raw, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := l.s.deps.Index.Set(laneKey(l.id), raw); err != nil {
		return err
	}
	l.progress = p
	return nil
}

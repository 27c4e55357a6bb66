package streams

import (
	"context"
	"time"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
)

// Limits of the Kinesis API (PutRecords, GetRecords).
const (
	MaxRecordBytes = 1 << 20
	MaxPutRecords  = 500
	MaxGetRecords  = 10_000
	maxGetBytes    = 10 << 20
)

// Put is a record to put.
type Put struct {
	Key          string
	ExplicitHash string // decimal; instead of the key's MD5
	Value        []byte
}

// Placed is where a record came to lie, or why it did not.
type Placed struct {
	Shard  string
	Offset int64
	Err    error
}

// PutRecords appends records as the caller in ctx. Each record stands for itself: those of
// one shard are written together, and one shard's failure is that of its records only.
func (s *Service) PutRecords(ctx context.Context, stream string, puts []Put, action name.Action) ([]Placed, error) {
	d, err := s.find(ctx, s.deps.Store.Snapshot(), stream, action)
	if err != nil {
		return nil, err
	}
	return s.put(ctx, d, puts)
}

func (s *Service) put(ctx context.Context, d *streamDoc, puts []Put) ([]Placed, error) {
	out := make([]Placed, len(puts))
	records := make([]Record, len(puts))
	groups := make([][]*Record, len(d.Shards))
	of := make([]int, len(puts))
	for i, p := range puts {
		if len(p.Value)+len(p.Key) > MaxRecordBytes {
			return nil, InvalidArgument.Field("Data", "a record has at most %d bytes with its key, this one %d", MaxRecordBytes, len(p.Value)+len(p.Key))
		}
		shard, err := d.route(p.Key, p.ExplicitHash)
		if err != nil {
			return nil, err
		}
		records[i] = Record{Key: p.Key, Value: p.Value}
		groups[shard] = append(groups[shard], &records[i])
		of[i] = shard
	}
	errs := make([]error, len(groups))
	waiting := make(chan struct{}, len(groups))
	busy := 0
	for i, g := range groups {
		if len(g) == 0 {
			continue
		}
		busy++
		write := func() {
			sh, err := s.shard(d, i)
			if err == nil {
				err = sh.append(ctx, g)
			}
			errs[i] = err
			waiting <- struct{}{}
		}
		if len(groups) == 1 {
			write() // the common case needs no other goroutine
		} else {
			go write()
		}
	}
	for range busy {
		<-waiting
	}
	for i := range out {
		out[i] = Placed{Shard: shardName(of[i]), Err: errs[of[i]]}
		if out[i].Err == nil { // else it may still be being written
			out[i].Offset = records[i].Offset
		}
	}
	return out, nil
}

// Append writes records for a service of the platform (the collector, delivery), which has
// checked for itself that it may. All are durable on return, or none is acknowledged.
func (s *Service) Append(ctx context.Context, region, stream string, records []*Record) error {
	d, ok := s.records.streams.Get(s.deps.Store.Snapshot(), streamKey(region, stream))
	if !ok {
		return s.noStream(stream)
	}
	return s.appendTo(ctx, d, records)
}

// AppendInternal is Append to a stream of EnsureInternal.
func (s *Service) AppendInternal(ctx context.Context, region, stream string, records []*Record) error {
	return s.Append(ctx, region, internalPrefix+stream, records)
}

func (s *Service) appendTo(ctx context.Context, d *streamDoc, records []*Record) error {
	if len(d.Shards) == 1 {
		sh, err := s.shard(d, 0)
		if err != nil {
			return err
		}
		return sh.append(ctx, records)
	}
	groups := make(map[int][]*Record)
	for _, r := range records {
		i, err := d.route(r.Key, "")
		if err != nil {
			return err
		}
		groups[i] = append(groups[i], r)
	}
	errs := make(chan error, len(groups))
	for i, g := range groups {
		write := func() error {
			sh, err := s.shard(d, i)
			if err != nil {
				return err
			}
			return sh.append(ctx, g)
		}
		if len(groups) == 1 {
			return write()
		}
		go func() { errs <- write() }()
	}
	var first error
	for range groups {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// Reader reads one shard for a service of the platform.
type Reader struct{ sh *shard }

// Reader opens a shard of a stream by the stream's id.
func (s *Service) Reader(streamID string, index int) (*Reader, error) {
	_, d, ok := s.records.streams.Lookup(s.deps.Store.Snapshot(), "id", streamID)
	if !ok || index >= len(d.Shards) {
		return nil, NoStream.New("the stream is gone")
	}
	sh, err := s.shard(d, index)
	if err != nil {
		return nil, err
	}
	return &Reader{sh}, nil
}

// ID returns the id and the number of shards of a stream to a caller who may read it, for a
// service that will read it for the caller.
func (s *Service) ID(ctx context.Context, stream string) (id string, shards int, err error) {
	snap := s.deps.Store.Snapshot()
	if _, err := s.find(ctx, snap, stream, "kinesis:DescribeStream"); err != nil {
		return "", 0, err
	}
	d, err := s.find(ctx, snap, stream, "kinesis:GetRecords")
	if err != nil {
		return "", 0, err
	}
	return d.ID, len(d.Shards), nil
}

// InternalID returns the id of a stream of EnsureInternal.
func (s *Service) InternalID(region, stream string) (string, error) {
	d, ok := s.records.streams.Get(s.deps.Store.Snapshot(), streamKey(region, internalPrefix+stream))
	if !ok {
		return "", s.noStream(stream)
	}
	return d.ID, nil
}

// Bounds returns the oldest kept offset and the next one to be given.
func (r *Reader) Bounds() (oldest, end int64) { return r.sh.bounds() }

// Wait returns when there is a record at offset, or when ctx ends.
func (r *Reader) Wait(ctx context.Context, offset int64) error { return r.sh.wait(ctx, offset) }

// Read returns records of [from, before) in at most about bytes, at least one if there is
// one, and where to go on. before 0 means the end.
func (r *Reader) Read(ctx context.Context, from, before int64, bytes int) ([]Record, int64, error) {
	return r.sh.read(ctx, from, readLimit{records: MaxGetRecords, bytes: bytes, before: before})
}

// From says where an iterator begins.
type From uint8

// The places of the Kinesis API's ShardIteratorType.
const (
	Oldest From = iota
	Latest
	AtOffset
	AtTime
)

// Position is a place in a shard; fronts give it out as an opaque token.
type Position struct {
	Region string
	Stream string // id
	Name   string
	Shard  int
	Offset int64
	Made   int64 // unix milliseconds
}

// positionLife is how long a position may be used (Kinesis API, GetRecords).
const positionLife = 5 * time.Minute

// ShardIterator finds a position in a shard.
func (s *Service) ShardIterator(ctx context.Context, stream, shard string, from From, offset int64, at time.Time) (Position, error) {
	d, err := s.find(ctx, s.deps.Store.Snapshot(), stream, "kinesis:GetShardIterator")
	if err != nil {
		return Position{}, err
	}
	index := -1
	for i := range d.Shards {
		if shardName(i) == shard {
			index = i
		}
	}
	if index < 0 {
		return Position{}, NoShard.Field("ShardId", "Shard %s in stream %s under account %s does not exist", shard, stream, s.cfg.Account)
	}
	sh, err := s.shard(d, index)
	if err != nil {
		return Position{}, err
	}
	oldest, end := sh.bounds()
	switch from {
	case AtOffset:
		if offset > end {
			return Position{}, InvalidArgument.Field("StartingSequenceNumber", "the sequence number did not come from shard %s of stream %s", shard, stream)
		}
	case Oldest:
		offset = oldest
	case Latest:
		offset = end
	case AtTime:
		if offset, err = sh.offsetAt(ctx, at.UnixMilli()); err != nil {
			return Position{}, err
		}
	}
	return s.position(d, index, max(offset, oldest)), nil
}

func (s *Service) position(d *streamDoc, shard int, offset int64) Position {
	return Position{Region: d.Region, Stream: d.ID, Name: d.Name, Shard: shard, Offset: offset, Made: s.deps.Clock.Now().UnixMilli()}
}

// Got is an answer of GetRecords.
type Got struct {
	Records []Record
	Next    Position
	Behind  time.Duration // how far the last record is behind the newest
}

// GetRecords reads from a position of ShardIterator or of an earlier answer.
func (s *Service) GetRecords(ctx context.Context, p Position, limit int) (Got, error) {
	if p.Region != caller.Region(ctx) {
		return Got{}, InvalidArgument.Field("ShardIterator", "Invalid ShardIterator: it was issued in the region %s", p.Region)
	}
	d, err := s.find(ctx, s.deps.Store.Snapshot(), p.Name, "kinesis:GetRecords")
	if err != nil {
		return Got{}, err
	}
	if d.ID != p.Stream || p.Shard >= len(d.Shards) {
		return Got{}, s.noStream(p.Name)
	}
	now := s.deps.Clock.Now()
	if now.Sub(time.UnixMilli(p.Made)) > positionLife {
		return Got{}, ExpiredPosition.Field("ShardIterator", "Iterator expired. The iterator was created at time %s while right now it is %s which is further in the future than the tolerated delay of %d milliseconds.",
			time.UnixMilli(p.Made).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), positionLife.Milliseconds())
	}
	sh, err := s.shard(d, p.Shard)
	if err != nil {
		return Got{}, err
	}
	if limit == 0 {
		limit = MaxGetRecords
	}
	records, next, err := sh.read(ctx, p.Offset, readLimit{records: limit, bytes: maxGetBytes})
	if err != nil {
		return Got{}, err
	}
	got := Got{Records: records, Next: s.position(d, p.Shard, next)}
	if _, end := sh.bounds(); len(records) > 0 && next < end {
		got.Behind = max(now.Sub(records[len(records)-1].Time), 0)
	}
	return got, nil
}

// Retryable reports whether the same put may succeed later.
func Retryable(err error) bool {
	switch fault.KindOf(err) {
	case fault.Throttled, fault.Unavailable, fault.Exhausted, fault.Canceled:
		return true
	}
	return false
}

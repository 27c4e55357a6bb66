package delivery

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/store"
)

// Limits of the Firehose API.
const (
	MaxRecordBytes = 1000 << 10
	MaxPutRecords  = 500
	maxBatchBytes  = 4 << 20
	maxDeliveries  = 5000
)

// Options says what a delivery stream does.
type Options struct {
	Name        string
	Source      string // stream to read; empty for direct puts
	Role        string // shown again; until roles exist, the creator's rights count
	Bucket      string
	Prefix      string
	ErrorPrefix string
	GZIP        bool
	Bytes       int64         // gather this many; 5 MiB if zero
	Interval    time.Duration // or wait this long; negative: Config's default
}

// Delivery describes a delivery stream.
type Delivery struct {
	Options
	ARN     name.ARN
	Created time.Time
	Lanes   []Status
}

// Status is how a lane is doing.
type Status struct {
	Shard     int
	Delivered int64     // records in objects
	Waiting   int64     // records in the source, not yet in an object
	LastError string    // of the last attempt; empty if it went well
	LastWrite time.Time // of an object
}

var deliveryForm = regexp.MustCompile(`^[a-zA-Z0-9_.-]{1,64}$`)

// maxInterval is the longest that records are gathered (Firehose API reference, BufferingHints).
const maxInterval = 900 * time.Second

func (o *Options) check(interval time.Duration) error {
	if o.Bytes == 0 {
		o.Bytes = 5 << 20
	}
	if o.Interval < 0 {
		o.Interval = interval
	}
	switch {
	case !deliveryForm.MatchString(o.Name):
		return InvalidArgument.Field("DeliveryStreamName", "a delivery stream's name is 1 to 64 letters, digits, _, . or -, not %q", o.Name)
	case o.Bytes < 1<<20 || o.Bytes > 128<<20:
		return InvalidArgument.Field("SizeInMBs", "buffering is 1 to 128 MiB, not %d bytes", o.Bytes)
	case o.Interval > maxInterval:
		return InvalidArgument.Field("IntervalInSeconds", "buffering is 0 to 900 seconds, not %s", o.Interval)
	case o.Bucket == "":
		return InvalidArgument.Field("BucketARN", "a bucket is needed")
	}
	if _, err := expandPrefix(o.Prefix, time.Time{}, ""); err != nil {
		return err
	}
	return nil
}

// CreateDelivery makes a delivery stream. The caller must be allowed what it will do:
// read the source, write the destination.
func (s *Service) CreateDelivery(ctx context.Context, o Options) (Delivery, error) {
	region := caller.Region(ctx)
	if err := s.deps.Auth.Authorize(ctx, "firehose:CreateDeliveryStream", s.arn(region, o.Name)); err != nil {
		return Delivery{}, err
	}
	if err := o.check(s.cfg.Interval); err != nil {
		return Delivery{}, err
	}
	if err := s.deps.Objects.Writable(ctx, o.Bucket, o.Prefix); err != nil {
		return Delivery{}, err
	}
	if s.records.deliveries.Has(s.deps.Store.Snapshot(), deliveryKey(region, o.Name)) {
		return Delivery{}, s.exists(o.Name)
	}
	who, _ := caller.From(ctx)
	d := &deliveryDoc{ID: uuid.NewString(), Region: region, Name: o.Name, Created: s.deps.Clock.Now().UTC(), Role: o.Role,
		Owner:  owner{who.Account, who.ARN, who.UserID, who.UserName, who.Root},
		Source: o.Source, Bucket: o.Bucket, Prefix: o.Prefix, ErrorPrefix: o.ErrorPrefix, GZIP: o.GZIP, Bytes: o.Bytes, Interval: o.Interval}
	shards := 1
	var err error
	if o.Source == "" {
		d.SourceID, err = s.deps.Streams.EnsureBuffer(ctx, region, d.ID)
	} else {
		d.SourceID, shards, err = s.deps.Streams.ID(ctx, o.Source)
	}
	if err != nil {
		return Delivery{}, err
	}
	if err = s.insert(ctx, d, shards); err != nil {
		if o.Source == "" {
			err = errors.Join(err, s.deps.Streams.DeleteBuffer(context.WithoutCancel(ctx), region, d.ID))
		}
		return Delivery{}, err
	}
	return s.describe(d), nil
}

// insert stores a delivery stream that begins with what comes from now on (Firehose
// developer guide, "Writing to Firehose using Kinesis Data Streams").
func (s *Service) insert(ctx context.Context, d *deliveryDoc, shards int) error {
	for shard := range shards {
		src, err := s.deps.Streams.Source(d.SourceID, shard)
		if err != nil {
			return err
		}
		_, end := src.Bounds()
		d.Start = append(d.Start, end)
	}
	return s.deps.Store.Update(ctx, func(tx *store.Tx) error {
		if s.records.deliveries.Has(tx, deliveryKey(d.Region, d.Name)) {
			return s.exists(d.Name)
		}
		if s.records.deliveries.Len(tx) >= maxDeliveries {
			return LimitExceeded.New("the account may have %d delivery streams", maxDeliveries)
		}
		return s.records.deliveries.Insert(tx, deliveryKey(d.Region, d.Name), d)
	})
}

func (s *Service) exists(delivery string) error {
	return DeliveryExists.Field("DeliveryStreamName", "Firehose %s under accountId %s already exists", delivery, s.cfg.Account)
}

func (s *Service) describe(d *deliveryDoc) Delivery {
	out := Delivery{ARN: s.arn(d.Region, d.Name), Created: d.Created, Options: Options{Name: d.Name, Source: d.Source, Role: d.Role,
		Bucket: d.Bucket, Prefix: d.Prefix, ErrorPrefix: d.ErrorPrefix, GZIP: d.GZIP, Bytes: d.Bytes, Interval: d.Interval}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for shard := range d.Start {
		if l := s.lanes[laneID{d.ID, shard}]; l != nil {
			out.Lanes = append(out.Lanes, l.status())
		}
	}
	return out
}

func (s *Service) find(ctx context.Context, r store.Reader, delivery string, action name.Action) (*deliveryDoc, error) {
	region := caller.Region(ctx)
	if err := s.deps.Auth.Authorize(ctx, action, s.arn(region, delivery)); err != nil {
		return nil, err
	}
	d, ok := s.records.deliveries.Get(r, deliveryKey(region, delivery))
	if !ok {
		return nil, NoDelivery.Field("DeliveryStreamName", "Firehose %s under account %s not found.", delivery, s.cfg.Account)
	}
	return d, nil
}

// DescribeDelivery returns a delivery stream with the state of its lanes.
func (s *Service) DescribeDelivery(ctx context.Context, delivery string) (Delivery, error) {
	d, err := s.find(ctx, s.deps.Store.Snapshot(), delivery, "firehose:DescribeDeliveryStream")
	if err != nil {
		return Delivery{}, err
	}
	return s.describe(d), nil
}

// Deliveries returns the state of every delivery stream, for metrics.
func (s *Service) Deliveries() []Delivery {
	var out []Delivery
	for _, d := range s.records.deliveries.All(s.deps.Store.Snapshot(), "") {
		out = append(out, s.describe(d))
	}
	return out
}

// ListDeliveries returns at most limit names behind the name after, of direct or stream
// sources or both (kind empty), and whether there are more.
func (s *Service) ListDeliveries(ctx context.Context, after string, limit int, direct, stream bool) (names []string, more bool, err error) {
	if err := s.deps.Auth.Authorize(ctx, "firehose:ListDeliveryStreams", name.Any); err != nil {
		return nil, false, err
	}
	for _, d := range s.records.deliveries.Prefix(s.deps.Store.Snapshot(), caller.Region(ctx)+"/") {
		if d.Name <= after || (d.Source == "" && !direct) || (d.Source != "" && !stream) {
			continue
		}
		if len(names) == limit {
			return names, true, nil
		}
		names = append(names, d.Name)
	}
	return names, false, nil
}

// DeleteDelivery removes a delivery stream. What it has not delivered of its own log is lost.
func (s *Service) DeleteDelivery(ctx context.Context, delivery string) error {
	var d *deliveryDoc
	err := s.deps.Store.Update(ctx, func(tx *store.Tx) (err error) {
		if d, err = s.find(ctx, tx, delivery, "firehose:DeleteDeliveryStream"); err != nil {
			return err
		}
		_, err = s.records.deliveries.Delete(tx, deliveryKey(d.Region, d.Name))
		return err
	})
	if err == nil && d.Source == "" {
		err = s.deps.Streams.DeleteBuffer(ctx, d.Region, d.ID)
	}
	return err
}

// Put appends records to a delivery stream that takes direct puts.
func (s *Service) Put(ctx context.Context, delivery string, values [][]byte, action name.Action) error {
	d, err := s.find(ctx, s.deps.Store.Snapshot(), delivery, action)
	if err != nil {
		return err
	}
	if d.Source != "" {
		return NotDirect.New("This operation is not permitted on KinesisStreamAsSource delivery stream type.")
	}
	total := 0
	for _, v := range values {
		if len(v) > MaxRecordBytes {
			return InvalidArgument.Field("Data", "a record has at most %d bytes, this one %d", MaxRecordBytes, len(v))
		}
		total += len(v)
	}
	if total > maxBatchBytes {
		return InvalidArgument.Field("Records", "records exceed %d bytes together", maxBatchBytes)
	}
	return s.deps.Streams.AppendBuffer(ctx, d.Region, d.ID, values)
}

// expandPrefix makes the part of a key in front of the object's name (Firehose developer
// guide, "Understand custom prefixes for Amazon S3 objects"). Without expressions the time
// of the first record is added as YYYY/MM/DD/HH/.
func expandPrefix(prefix string, t time.Time, unique string) (string, error) {
	t = t.UTC()
	if !strings.Contains(prefix, "!{") {
		return prefix + t.Format("2006/01/02/15/"), nil
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(prefix, "!{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		expr, rest, closed := strings.Cut(after, "}")
		kind, arg, _ := strings.Cut(expr, ":")
		switch {
		case closed && kind == "timestamp":
			b.WriteString(t.Format(javaLayout.Replace(arg)))
		case closed && kind == "firehose" && arg == "random-string":
			b.WriteString(unique)
		default:
			return "", InvalidArgument.Field("Prefix", "the expression !{%s} is not served; !{timestamp:…} and !{firehose:random-string} are", expr)
		}
		prefix = rest
	}
}

// javaLayout turns the fields of Java's DateTimeFormatter that prefixes use into Go's.
var javaLayout = strings.NewReplacer("yyyy", "2006", "MM", "01", "dd", "02", "HH", "15", "mm", "04", "ss", "05", "'", "")
